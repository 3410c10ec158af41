//! The locks of every store from a shell: `verrou --help`.
//!
//! A user of the library like any other: nothing here knows what is not public.

#![allow(clippy::print_stderr, reason = "it is a program")]

#[cfg(not(unix))]
compile_error!(
    "the program `verrou` is for Unix: it passes signals on, and ends a command whose lock is lost"
);

mod args;
mod check;
mod child;
mod exit;
mod inspect;
mod list;
mod output;
mod place;
mod purge;
mod release;
mod run;
mod schema;
mod signals;
mod wait;

use std::process::ExitCode;

use crate::args::{Command, Usage};
use crate::exit::Failure;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(command) = child::to_become(&arguments) {
        return child::become_it(command).into();
    }
    let usage = match args::read(&arguments) {
        Ok(usage) => usage,
        Err(code) => return code.into(),
    };
    // One thread, the first one: the system ends a command with the thread that has started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(usage)),
        Err(error) => Err(Failure::of_system("start", &error)),
    };
    match done {
        Ok(code) => code.into(),
        Err(failure) => {
            failure.tell();
            failure.code().into()
        }
    }
}

async fn dispatch(usage: Usage) -> Result<exit::Code, Failure> {
    let Usage { target, command } = usage;
    match command {
        Command::Run(options) => run::run(&target, &options).await,
        Command::List(options) => list::list(&target, &options).await,
        Command::Inspect(options) => inspect::inspect(&target, &options).await,
        Command::Wait(options) => wait::wait(&target, &options).await,
        Command::Release(options) => release::release(&target, &options).await,
        Command::Purge(options) => purge::purge(&target, &options).await,
        Command::Schema(options) => schema::schema(&target, &options),
        Command::Check => check::check(&target).await,
        Command::Completions { shell } => args::completions(shell),
    }
}
