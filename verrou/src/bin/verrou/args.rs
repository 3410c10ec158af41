//! What the program is told: arguments, their help, and the variables of the environment.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use verrou::Wait;

use crate::exit::{Code, Failure};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  export VERROU_URL=redis://127.0.0.1/
  verrou run nightly-report -- ./report.sh      one at a time, over all machines
  verrou run --wait never backup -- ./backup    exit 75 if somebody else holds it
  verrou list order: --json                     who holds what begins with `order:`
  verrou inspect order:42                       who holds it, since when
  verrou release order:42 --force               free it; its holder is known to be dead

Exit codes: 0 done, 64 wrong usage, 69 the store cannot be reached or used, 75 somebody else holds
the key, 76 the lock was lost; of `run` else that of the command, 128 + N if signal N has ended it.";

/// Locks of verrou, from a shell: on Redis, Postgres, MySQL or MariaDB, and SQLite.
#[derive(Debug, Parser)]
#[command(name = "verrou", version, bin_name = "verrou", after_help = EXAMPLES)]
pub(crate) struct Usage {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the locks are.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// Where: redis:// rediss:// postgres:// mysql:// sqlite://PATH. With a password, better in VERROU_URL: others see arguments
    #[arg(
        long,
        value_name = "URL",
        env = "VERROU_URL",
        hide_env_values = true,
        global = true
    )]
    pub(crate) store: Option<String>,
    /// The namespace of the application, if it has one
    #[arg(long, value_name = "NS", env = "VERROU_NAMESPACE", global = true)]
    pub(crate) namespace: Option<String>,
    /// The table, if it is not `verrou_locks`; on Redis the prefix, if it is not `verrou`
    #[arg(long, value_name = "NAME", env = "VERROU_TABLE", global = true)]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command while holding a lock
    Run(Run),
    /// List the keys that are held
    List(List),
    /// Say who holds a key
    Inspect(Inspect),
    /// Wait until nobody holds a key, and take nothing
    Wait(WaitFor),
    /// Free a key whoever holds it
    Release(Release),
    /// Remove the rows of keys that are free and were not used for long
    Purge(Purge),
    /// Print the statement that creates the table
    Schema(Schema),
    /// Connect, and say what about this store breaks or weakens a promise, and what a lock costs
    Check,
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Run a command while holding a lock.
///
/// The lock is renewed while the command runs and released at once when it ends, however it ends. The command gets the
/// variables VERROU_KEY and VERROU_TOKEN, the fencing token of KEY. Signals are passed on.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  verrou run nightly-report -- ./report.sh --all
  verrou run account:1 --also account:2 --ttl 10s --wait forever -- ./transfer
  verrou run deploy --wait never -- sh -c 'psql -c \"UPDATE .. AND fence <= $VERROU_TOKEN\"'

If the lock is lost (the store stays away, or somebody has freed it by force), the command gets a TERM, and a KILL a tenth of
the ttl later, before the lease can be anybody else's; the exit code is 76. Unless its input is a terminal, it and what it has
started get them as a process group. A kill -9 of verrou itself kills the command too (on Linux), but not what that has
started: let a script `exec` its last command.")]
pub(crate) struct Run {
    /// The key of the lock
    pub(crate) key: String,
    /// One key more; may be repeated. All or none are taken, in an order in which nobody can wait for each other
    #[arg(long, value_name = "KEY")]
    pub(crate) also: Vec<String>,
    /// The length of the lease: so long the key stays taken after a crash
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
    /// How long to wait for the lock: a time, `never` or `forever`
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = waiting)]
    pub(crate) wait: Wait,
    /// What to do when the lock is lost: end the command, or say so and let it go on
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = WhenLost::Kill)]
    pub(crate) on_lost: WhenLost,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenLost {
    /// TERM, then KILL; the exit code is 76
    Kill,
    /// A line on stderr; the exit code is the command's
    Warn,
}

/// List the keys that are held.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  verrou list
  verrou list order: --json | jq -r '.[].key'
  verrou --namespace shop list --watch

A store with many keys is asked for a page at a time, none of which holds it up. With --watch at most two a second: a line of JSON
for each look with --json.")]
pub(crate) struct List {
    /// What the keys begin with; by default all of the namespace
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// As JSON: an array of {key, holder, token, since, held_ms, remaining_ms}
    #[arg(long)]
    pub(crate) json: bool,
    /// Look again and again, until it is interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Say who holds a key.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The key
    pub(crate) key: String,
    /// As JSON: {key, held, holder, token, since, held_ms, remaining_ms}, or {key, held: false}
    #[arg(long)]
    pub(crate) json: bool,
}

/// Wait until nobody holds a key, and take nothing. Exit 75 if it is still held then.
#[derive(Args, Debug)]
pub(crate) struct WaitFor {
    /// The key
    pub(crate) key: String,
    /// How long to wait: a time, `never` or `forever`
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = waiting)]
    pub(crate) wait: Wait,
}

/// Free a key whoever holds it.
///
/// For a holder that is known to be dead. One that lives hears of it at its next renewal, and works on until then, beside
/// whoever has taken the key: what it writes is only told apart by the fencing token.
#[derive(Args, Debug)]
pub(crate) struct Release {
    /// The key
    pub(crate) key: String,
    /// Yes, though its holder may live
    #[arg(long)]
    pub(crate) force: bool,
}

/// Remove the rows of keys that are free and were not used for long, of all namespaces.
///
/// Rows stay when their lock is released, for they keep its fencing token. Redis forgets free keys by itself.
#[derive(Args, Debug)]
#[command(after_help = "Example: verrou purge --idle 30d")]
pub(crate) struct Purge {
    /// Not used for so long; more than the server's clock could ever be set back
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) idle: Duration,
}

/// Print the statement that creates the table. Connects to nothing.
#[derive(Args, Debug)]
#[command(after_help = "Example: verrou schema postgres --table app.locks | psql")]
pub(crate) struct Schema {
    /// Of which database
    #[arg(value_enum)]
    pub(crate) database: Database,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Database {
    Postgres,
    Mysql,
    Sqlite,
}

/// Reads `arguments`; what is wrong with them, or the help that they ask for, is told here.
pub(crate) fn read(arguments: &[OsString]) -> Result<Usage, Code> {
    let wrong = match Usage::try_parse_from(arguments) {
        Ok(usage) => return Ok(usage),
        Err(wrong) => wrong,
    };
    let text = wrong.render().to_string();
    if wrong.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return Err(Code::USAGE);
    }
    if wrong.use_stderr() {
        Failure::usage(one_sentence(&without_urls(&text, arguments))).tell();
        return Err(Code::USAGE);
    }
    // A closed pipe is nobody to tell.
    let _ = output::print(&text);
    Err(Code::DONE)
}

/// What is wrong, of a text that goes on with how it would be right.
fn one_sentence(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    let sentence = lines.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    format!(
        "{sentence}; `verrou --help` says more, `verrou COMMAND --help` has the options of a command"
    )
}

/// `text` without what may be a URL, and a password in it, wherever it was put by mistake.
fn without_urls(text: &str, arguments: &[OsString]) -> String {
    let given = std::env::var_os("VERROU_URL");
    let mut text = text.to_owned();
    for argument in arguments.iter().skip(1).chain(&given) {
        let argument = argument.to_string_lossy();
        let parts = [
            &*argument,
            argument.split_once('=').map_or("", |(_, value)| value),
        ];
        for part in parts
            .into_iter()
            .filter(|part| part.contains("://") || part.contains('@'))
        {
            text = text.replace(part, "URL");
        }
    }
    text
}

/// Reads a time to wait.
fn waiting(text: &str) -> Result<Wait, String> {
    match text {
        "never" => Ok(Wait::Never),
        "forever" => Ok(Wait::Forever),
        text => humantime::parse_duration(text)
            .map(Wait::For)
            .map_err(|error| format!("{error}; it is a time as `30s`, `never` or `forever`")),
    }
}

/// Prints what makes `shell` complete our arguments.
pub(crate) fn completions(shell: Shell) -> Result<Code, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Usage::command(), "verrou", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Code::DONE)
}

/// A command as people wrote it, for a message.
pub(crate) fn shown(command: &OsStr) -> String {
    output::one_line(&command.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Usage::command().debug_assert();
    }

    #[test]
    fn a_url_is_not_said_back_wherever_it_stands() {
        let url = "redis://user:secret@host/";
        for arguments in [
            vec!["verrou", url],
            vec!["verrou", "--stor", url],
            vec!["verrou", "list", "--json", "x", url],
        ] {
            let arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
            let wrong = Usage::try_parse_from(&arguments)
                .map(|_| ())
                .map_err(|wrong| without_urls(&wrong.render().to_string(), &arguments));
            assert!(
                wrong.is_err_and(|text| !text.contains("secret")),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn a_wait_is_a_time_or_a_word() {
        assert_eq!(waiting("never"), Ok(Wait::Never));
        assert_eq!(waiting("forever"), Ok(Wait::Forever));
        assert_eq!(waiting("1m 5s"), Ok(Wait::For(Duration::from_secs(65))));
        assert!(waiting("30 parsecs").is_err());
        assert!(waiting("30").is_err());
    }
}
