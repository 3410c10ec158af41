//! What `#[locked]` and `key!` expand to: no part of the public API, and free to change with the macro.
//!
//! Compile errors of users quote lines of this file, and so do the fixtures of `ui-tests/rustc`. Bounds and `impl`
//! heads therefore stand on short lines of their own; a change here means reading those fixtures again.

use std::fmt::{self, Display, Write};
use std::future::{Future, ready};

pub use crate::body::Body as Hold;
pub use crate::error::Error;
pub use crate::guard::LockGuard;
use crate::lock::Lock;
pub use crate::options::{LockOptions, OnLost, Wait};
use crate::registry::Verrou;
pub use crate::scope::current;
use crate::store::erased::Boxed;

/// The instance of `verrou = EXPR`; by reference, so that a field may be named.
///
/// # Errors
/// None: the same type as [`current`].
pub fn given(verrou: &Verrou) -> Result<Verrou, Error> {
    Ok(verrou.clone())
}

/// Acquires what the templates have rendered to. Reads in which bodies it is called, so it is called inside of the poll.
///
/// In a box, because it is larger than most bodies, and would make the future of every locked function that large.
///
/// # Errors
/// As [`Lock::acquire`](crate::Lock::acquire), those of `verrou` and of the keys, and an unknown store.
#[must_use]
pub fn acquire<const N: usize>(
    verrou: Result<Verrou, Error>,
    store: Option<&str>,
    options: LockOptions,
    keys: [Key; N],
) -> Boxed<Result<LockGuard, Error>> {
    match lock(verrou, store, keys) {
        Ok(lock) => Box::pin(lock.options(options).acquire()),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

fn lock<const N: usize>(
    verrou: Result<Verrou, Error>,
    store: Option<&str>,
    keys: [Key; N],
) -> Result<Lock, Error> {
    let verrou = verrou?;
    let named = store.map(|name| verrou.store(name)).transpose()?;
    let store = named.as_ref().unwrap_or_else(|| verrou.default_store());
    let mut keys = keys.into_iter().map(Key::finish);
    if keys.len() == 1
        && let Some(key) = keys.next()
    {
        return Ok(store.create_lock(key?));
    }
    let keys: Result<Vec<String>, Error> = keys.collect();
    Ok(store.create_lock_all(keys?))
}

/// Polls `body` while the lock is held; just so with `when = false`.
pub fn hold<F: Future>(guard: Option<&LockGuard>, body: F) -> Hold<'_, F> {
    Hold::new(guard, body)
}

/// Releases after the body has ended, whose result wins.
pub async fn release(guard: Option<LockGuard>) {
    if let Some(guard) = guard {
        guard.finish().await;
    }
}

/// What a locked function may return: something with room for a lock error.
#[diagnostic::on_unimplemented(
    message = "a `#[locked]` function must be able to return `verrou::Error`, and `{Self}` cannot",
    label = "this return type cannot carry a lock error",
    note = "return `Result<T, E>` where `E: From<verrou::Error>`"
)]
pub trait Output: Sized {
    fn from_lock_error(error: Error) -> Self;
}

impl<T, E> Output for Result<T, E>
where
    E: FromLockError,
{
    fn from_lock_error(error: Error) -> Self {
        Err(E::from_lock_error(error))
    }
}

/// The error of a locked function. A trait of our own, because rustc would answer a missing `From` with a list of
/// the unrelated ones.
#[diagnostic::on_unimplemented(
    message = "the error type `{Self}` of a `#[locked]` function cannot be made from `verrou::Error`",
    label = "`From<verrou::Error>` is not implemented for `{Self}`",
    note = "add `impl From<verrou::Error> for {Self}`, or a variant with `#[from] verrou::Error` if it uses `thiserror`"
)]
pub trait FromLockError: Sized {
    fn from_lock_error(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E> FromLockError for E
where
    E: From<Error>,
{
    fn from_lock_error(error: Error) -> Self {
        E::from(error)
    }
}

/// What `on_busy = skip` can return.
#[diagnostic::on_unimplemented(
    message = "`on_busy = skip` does not know which `{Self}` means \"skipped\"",
    label = "neither `Result<Option<T>, E>` nor `Result<(), E>`",
    note = "say what to return instead: `on_busy = EXPR`"
)]
pub trait Skip: Sized {
    fn skipped() -> Self;
}

impl<T, E> Skip for Result<Option<T>, E> {
    fn skipped() -> Self {
        Ok(None)
    }
}

impl<E> Skip for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// A value that can stand in a key. Without `do_not_recommend`, so that rustc adds the bound `T: Display` as its help.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a lock key",
    label = "`{Self}` does not implement `Display`",
    note = "name one of its fields, as in `<arg.id>`, or pass what one of its methods gives: `.display()` of a path, the inside of an `Option`"
)]
pub trait KeyPart {
    fn write(&self, out: &mut dyn Write) -> fmt::Result;
}

impl<T> KeyPart for T
where
    T: Display + ?Sized,
{
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// A key in the making.
///
/// A value that cannot be used is remembered and comes out of [`finish`](Key::finish): the macro has one place for
/// errors, after all keys are rendered.
#[derive(Debug)]
pub struct Key {
    text: String,
    flaw: Option<Flaw>,
}

/// The first placeholder that made no text.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    Empty(&'static str),
    Unwritable(&'static str),
}

impl Key {
    /// With room for what the macro expects.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            flaw: None,
        }
    }

    /// Text of the template, as it stands.
    pub fn lit(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The value of the placeholder `<name>`, escaped.
    pub fn part<T>(&mut self, name: &'static str, value: &T)
    where
        T: KeyPart + ?Sized,
    {
        let before = self.text.len();
        let written = value.write(&mut Escaped(&mut self.text));
        let flaw = match written {
            Err(fmt::Error) => Flaw::Unwritable(name),
            Ok(()) if self.text.len() == before => Flaw::Empty(name),
            Ok(()) => return,
        };
        self.flaw.get_or_insert(flaw);
    }

    /// # Errors
    /// [`Error::InvalidKey`] if a value was empty, or its `Display` failed.
    pub fn finish(self) -> Result<String, Error> {
        let reason = match self.flaw {
            None => return Ok(self.text),
            Some(Flaw::Empty(name)) => format!("the value of `<{name}>` is empty"),
            Some(Flaw::Unwritable(name)) => format!("`Display` failed for `<{name}>`"),
        };
        Err(Error::invalid_key(&self.text, reason))
    }
}

/// Writes every ASCII character but letters, digits, `-`, `.`, `_` and `~` as `%XX`.
///
/// So a value never contains a separator of the template, and no two lists of values make one key.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, value: &str) -> fmt::Result {
        const HEX: [u8; 16] = *b"0123456789ABCDEF";
        let special =
            |byte: u8| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte);
        let mut rest = value;
        while let Some(at) = rest.bytes().position(special) {
            // `at` is the index of an ASCII byte, so both cuts are between characters.
            let byte = rest.as_bytes()[at];
            self.0.push_str(&rest[..at]);
            self.0.push('%');
            self.0.push(HEX[usize::from(byte >> 4)].into());
            self.0.push(HEX[usize::from(byte & 15)].into());
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;
    impl Display for Silent {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    struct Failing;
    impl Display for Failing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }

    fn rendered(value: &dyn Display) -> Result<String, Error> {
        let mut key = Key::with_capacity(0);
        key.lit("<t>:");
        key.part("a", value);
        key.finish()
    }

    #[test]
    fn only_unreserved_characters_stay_as_they_are() -> Result<(), Error> {
        assert_eq!(rendered(&"aZ09-._~")?, "<t>:aZ09-._~");
        assert_eq!(rendered(&"a:b/c%\n\0\x7f")?, "<t>:a%3Ab%2Fc%25%0A%00%7F");
        assert_eq!(rendered(&"\u{e9}\u{1f512} ")?, "<t>:\u{e9}\u{1f512}%20");
        Ok(())
    }

    #[test]
    fn a_value_without_text_names_its_placeholder() {
        for (value, reason) in [
            (&"" as &dyn Display, "the value of `<a>` is empty"),
            (&Silent, "the value of `<a>` is empty"),
            (&Failing, "`Display` failed for `<a>`"),
        ] {
            match rendered(value) {
                Err(Error::InvalidKey { reason: given, .. }) => assert_eq!(given, reason),
                other => panic!("expected InvalidKey, got {other:?}"),
            }
        }
    }
}
