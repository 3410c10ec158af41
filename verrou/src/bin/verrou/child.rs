//! The command that runs while the lock is held: started, told, ended.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::args::shown;
use crate::exit::{Code, Failure};

/// The first argument with which this program becomes a command, instead of what it is: nothing that a user says.
const BECOME: &str = "--become-the-command-of";

/// A running command.
#[derive(Debug)]
pub(crate) struct Child {
    child: tokio::process::Child,
    pid: Pid,
    /// It and what it starts can be told together. Not at a terminal: only one group may read from it.
    leads_group: bool,
}

impl Child {
    /// Starts `command`, with `variables` in its environment.
    ///
    /// On Linux it is killed when the calling thread ends, and so by a `kill -9` of this process.
    pub(crate) fn start(
        command: &[OsString],
        variables: &[(&str, String)],
    ) -> Result<Self, Failure> {
        let leads_group = !io::stdin().is_terminal();
        let mut starting = starting(command);
        starting.envs(variables.iter().map(|(name, value)| (*name, value)));
        if leads_group {
            starting.process_group(0);
        }
        let mut starting = tokio::process::Command::from(starting);
        // However this program goes on: the command does not outlive what attends it.
        let started = starting.kill_on_drop(true).spawn();
        let child = started.map_err(|error| not_started(command, &error))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let pid = pid.ok_or_else(|| Failure::new(Code::SYSTEM, "the command has no process"))?;
        Ok(Self {
            child,
            pid,
            leads_group,
        })
    }

    /// Its end.
    ///
    /// Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let ended = self.child.wait().await;
        ended.map_err(|error| Failure::of_system("wait for the command", &error))
    }

    /// Passes on a signal that this process got.
    pub(crate) fn pass_on(&self, signal: Signal) {
        let from_terminal = matches!(signal, Signal::INT | Signal::QUIT);
        // At a terminal the command is in our group, and got it there.
        if self.leads_group || !from_terminal {
            self.tell(signal);
        }
    }

    /// TERM, and KILL if that does not end it within `patience`; nothing of its group is left afterwards.
    pub(crate) async fn end(&mut self, patience: Duration) -> Result<(), Failure> {
        self.tell(Signal::TERM);
        // One that was stopped does not hear it.
        self.tell(Signal::CONT);
        let ended = tokio::time::timeout(patience, self.ended()).await;
        self.tell(Signal::KILL);
        match ended {
            Ok(ended) => ended.map(drop),
            Err(_) => self.ended().await.map(drop),
        }
    }

    fn tell(&self, signal: Signal) {
        // It may have ended: then there is nobody to tell.
        let _ = match self.leads_group {
            true => kill_process_group(self.pid, signal),
            // Once it was waited for, its number may be somebody else's.
            false if self.child.id().is_none() => Ok(()),
            false => kill_process(self.pid, signal),
        };
    }
}

/// What a shell would say of such an end.
pub(crate) fn code_of(status: ExitStatus) -> Code {
    match (status.code(), status.signal()) {
        (Some(code), _) => Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Code::by_signal(signal),
        (None, None) => Code::SYSTEM,
    }
}

/// The process is this program at first: only the process itself can say that it is to end with its parent, and it must do so
/// before it is the command.
#[cfg(target_os = "linux")]
fn starting(command: &[OsString]) -> std::process::Command {
    let mut starting = std::process::Command::new("/proc/self/exe");
    starting.arg(BECOME).arg(std::process::id().to_string());
    starting.args(command);
    starting
}

#[cfg(not(target_os = "linux"))]
fn starting(command: &[OsString]) -> std::process::Command {
    let (program, arguments) = parts(command);
    let mut starting = std::process::Command::new(program);
    starting.args(arguments);
    starting
}

/// Whether this process was started to become a command: that of the parent with this number.
pub(crate) fn to_become(arguments: &[OsString]) -> Option<&[OsString]> {
    match arguments {
        [_, first, rest @ ..] if first == BECOME => Some(rest),
        _ => None,
    }
}

/// Becomes the command, unless the parent has ended already; answers only if it cannot.
pub(crate) fn become_it(parent_and_command: &[OsString]) -> Code {
    let Some((parent, command)) = parent_and_command.split_first() else {
        return Code::USAGE;
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        let failure = Failure::of_system("end the command with verrou", &error.into());
        failure.tell();
        return failure.code();
    }
    // One that has ended before that tells nobody any more.
    let is_alive = rustix::process::getppid()
        .is_some_and(|pid| parent.to_str() == Some(&pid.as_raw_pid().to_string()));
    if !is_alive {
        return Code::SYSTEM;
    }
    let (program, arguments) = parts(command);
    let error = std::process::Command::new(program).args(arguments).exec();
    let failure = not_started(command, &error);
    failure.tell();
    failure.code()
}

fn parts(command: &[OsString]) -> (&OsStr, &[OsString]) {
    match command.split_first() {
        Some((program, arguments)) => (program, arguments),
        None => (OsStr::new(""), &[]),
    }
}

fn not_started(command: &[OsString], error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NO_COMMAND,
        _ => Code::NOT_RUNNABLE,
    };
    Failure::new(
        code,
        format!(
            "cannot run `{}`: {error}; the lock is released",
            shown(parts(command).0)
        ),
    )
}
