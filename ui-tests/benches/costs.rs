//! What `#[locked]` costs, as the page of the attribute says: `cargo bench -p ui-tests`.
//!
//! What can be counted is in `tests/costs.rs`. Everything is compared within one run: a figure by itself is the machine's.
//! The compile times are those of crates that are written for it, in a folder of the build, and are CPU time of all that
//! cargo starts (Linux only).

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use verrou::drivers::MemoryStore;
use verrou::{Verrou, key, locked};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "the figures")]
fn say(what: &str, figure: impl std::fmt::Display, bound: &str) {
    println!("{what:<58} {figure:>10}   {bound}");
}

fn main() -> Result<()> {
    rendering()?;
    overhead()?;
    if cfg!(target_os = "linux") {
        compiling()?;
    }
    Ok(())
}

/// The best of several rounds: the others were interrupted.
fn best(rounds: u32, mut round: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        best = best.min(round()?);
    }
    Ok(best)
}

fn rendering() -> Result<()> {
    const CALLS: u32 = 200_000;
    let (from, name) = (123_456_u64, "alice");
    let time = best(7, || {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(key!(
                "transfer:<from>:<name>",
                from = black_box(from),
                name = black_box(name)
            )?);
        }
        Ok(start.elapsed() / CALLS)
    })?;
    say("a key of two arguments", format!("{time:?}"), "<= 100ns");
    Ok(())
}

fn overhead() -> Result<()> {
    #[locked("t:<id>", verrou = verrou)]
    async fn attribute(verrou: &Verrou, id: u64) -> Result<u64> {
        Ok(black_box(id))
    }

    async fn by_hand(verrou: &Verrou, id: u64) -> Result<u64> {
        let lock = verrou.create_lock(format!("t:{id}"));
        lock.run(async |_| Ok(black_box(id))).await?
    }

    async fn timed<F: Future<Output = Result<u64>>>(call: impl Fn(u64) -> F) -> Result<Duration> {
        const CALLS: u32 = 20_000;
        let start = Instant::now();
        for id in 0..CALLS {
            black_box(call(id.into()).await?);
        }
        Ok(start.elapsed() / CALLS)
    }

    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut with, mut without) = (Duration::MAX, Duration::MAX);
    // In turns, so that both see the same machine.
    for _ in 0..30 {
        without = without.min(runtime.block_on(timed(|id| by_hand(&verrou, id)))?);
        with = with.min(runtime.block_on(timed(|id| attribute(&verrou, id)))?);
    }
    say(
        "`lock.run(..)` on the memory store",
        format!("{without:?}"),
        "",
    );
    say("the attribute on the memory store", format!("{with:?}"), "");
    let nanoseconds = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    let more = nanoseconds(with) - nanoseconds(without);
    say("  more than by hand", format!("{more} ns"), "<= 100 ns");
    Ok(())
}

const FUNCTIONS: u32 = 1000;

fn compiling() -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("costs");
    let _ = fs::remove_dir_all(&folder);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    for (name, attribute) in [
        ("plain", ""),
        ("locked", "#[verrou::locked(\"transfer:<from>\")]\n"),
    ] {
        write_crate(&folder.join(name), name, attribute, &repository)?;
    }
    fs::write(
        folder.join("Cargo.toml"),
        "[workspace]\nmembers = [\"plain\", \"locked\"]\nresolver = \"3\"\n",
    )?;
    fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock"))?;

    let from_nothing = cargo(&folder, &["build", "-p", "verrou-macros"])?;
    say(
        "building verrou-macros from nothing, CPU",
        format!("{from_nothing:.1?}"),
        "<= 5s",
    );

    cargo(&folder, &["check"])?;
    let (mut with, mut without) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        without = without.min(checked(&folder, "plain")?);
        with = with.min(checked(&folder, "locked")?);
    }
    let each = with.saturating_sub(without) / FUNCTIONS;
    say(
        "checking 1000 plain functions of 10 lines, CPU",
        format!("{without:.2?}"),
        "",
    );
    say(
        "checking them with the attribute, CPU",
        format!("{with:.2?}"),
        "",
    );
    say("  more for each function", format!("{each:.1?}"), "<= 5ms");
    Ok(())
}

/// A crate of [`FUNCTIONS`] functions.
fn write_crate(folder: &Path, name: &str, attribute: &str, repository: &Path) -> Result<()> {
    let mut source = String::from("async fn tick() {}\n");
    for number in 0..FUNCTIONS {
        write!(
            source,
            "
{attribute}pub async fn f{number}(from: u64, to: u64, name: &str) -> Result<u64, verrou::Error> {{
    let mut total = from + to;
    for step in 0..to {{
        total += step;
        tick().await;
    }}
    if name.is_empty() {{ return Ok(total); }}
    let text = format!(\"{{name}}:{{total}}\");
    tick().await;
    total += text.len() as u64;
    Ok(total)
}}
"
        )?;
    }
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), source)?;
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\nverrou = {{ path = {:?} }}\n",
        repository.join("verrou")
    );
    Ok(fs::write(folder.join("Cargo.toml"), manifest)?)
}

/// Checks `package` of the workspace in `folder` again; its dependencies are built.
fn checked(folder: &Path, package: &str) -> Result<Duration> {
    let source = folder.join(package).join("src/lib.rs");
    fs::write(&source, fs::read(&source)?)?;
    cargo(folder, &["check", "-p", package])
}

/// The CPU time that cargo takes, with all that it starts.
fn cargo(folder: &Path, arguments: &[&str]) -> Result<Duration> {
    let before = cpu_of_children()?;
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .args(["--offline", "--quiet", "--target-dir", "target"])
        .current_dir(folder);
    command.env("CARGO_INCREMENTAL", "0");
    for inherited in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
    ] {
        command.env_remove(inherited);
    }
    if !command.status()?.success() {
        return Err(format!("cargo {arguments:?} has failed").into());
    }
    Ok(cpu_of_children()? - before)
}

/// User and system time of the children that have ended, from `/proc/self/stat`: hundredths of seconds.
fn cpu_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let mut times = fields.split_whitespace().skip(13);
    let mut next = || -> Result<u64> { Ok(times.next().ok_or("too few fields")?.parse()?) };
    Ok(Duration::from_millis(10 * (next()? + next()?)))
}
