//! How the program ends: a code for scripts, and one line for people.

use std::error::Error as _;
use std::fmt::Display;
use std::process::ExitCode;

use verrou::{ConnectKind, Error};

use crate::output::one_line;

/// What a shell sees. The numbers are those of `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    pub(crate) const DONE: Self = Self(0);
    /// The arguments, the URL or a key cannot be used.
    pub(crate) const USAGE: Self = Self(64);
    /// The store cannot be reached or used.
    pub(crate) const STORE: Self = Self(69);
    /// A fault of this program or of the system it runs on.
    pub(crate) const SYSTEM: Self = Self(71);
    /// Somebody else holds the key.
    pub(crate) const BUSY: Self = Self(75);
    /// The lock was lost while the command ran.
    pub(crate) const LOST: Self = Self(76);
    /// The command is there, but cannot be run.
    pub(crate) const NOT_RUNNABLE: Self = Self(126);
    /// There is no such command.
    pub(crate) const NO_COMMAND: Self = Self(127);

    /// Ended by a signal, as shells write it.
    pub(crate) fn by_signal(signal: i32) -> Self {
        Self(u8::try_from(128 + signal).unwrap_or(u8::MAX))
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        code.0.into()
    }
}

/// Why it did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// Empty: there is nobody left to tell, or everything was said.
    text: String,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Display) -> Self {
        Self {
            code,
            text: one_line(&text.to_string()),
        }
    }

    pub(crate) fn usage(text: impl Display) -> Self {
        Self::new(Code::USAGE, text)
    }

    pub(crate) fn of_system(attempted: &str, error: &std::io::Error) -> Self {
        Self::new(Code::SYSTEM, format!("cannot {attempted}: {error}"))
    }

    pub(crate) fn silent(code: Code) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Says it on stderr, in one line.
    pub(crate) fn tell(&self) {
        if !self.text.is_empty() {
            eprintln!("verrou: {}", self.text);
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Connect { kind, .. } if *kind == ConnectKind::Url => Code::USAGE,
            error if error.is_store() => Code::STORE,
            error if error.is_busy() => Code::BUSY,
            Error::Lost { .. } | Error::NotHeld { .. } => Code::LOST,
            Error::InvalidKey { .. } | Error::InvalidOption { .. } | Error::Config { .. } => {
                Code::USAGE
            }
            _ => Code::SYSTEM,
        };
        let mut text = error.to_string();
        if let Error::Connect { driver, kind, .. } = &error
            && *kind == ConnectKind::Schema
        {
            text = format!("{text}: `verrou schema {driver}`");
        }
        let mut source = error.source();
        while let Some(cause) = source {
            // Some causes say again what their own cause says.
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self::new(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_its_cause_says() {
        let failure = Failure::usage("a\nb\u{1b}[2J");
        assert_eq!(failure.text, r"a\nb\u{1b}[2J");
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(Code::by_signal(15), Code(143));
        assert_eq!(Code::by_signal(500), Code(255));
    }
}
