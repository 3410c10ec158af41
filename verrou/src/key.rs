//! The name of a lock, and the form in which stores see it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use crate::error::Error;
use crate::sabotage::Bug;

/// The longest key, in bytes of UTF-8.
pub(crate) const MAX_KEY: usize = 512;
/// The longest namespace, in bytes.
pub(crate) const MAX_NAMESPACE: usize = 64;

/// A namespace and a key, joined by `:`; what a driver compares, byte for byte.
///
/// A namespace cannot contain `:`, so no key can reach out of its own. At most 577 bytes, never empty, without NUL.
/// Cheap to clone. `Debug` and `Display` escape control characters.
#[derive(Clone)]
pub struct StoredKey {
    text: Arc<str>,
    /// Of the text: every table of this process needs it, and it is made once.
    hash: u64,
}

/// Seeded anew in each process, so that nobody can make keys that meet in one place of a table.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for StoredKey {}

impl PartialOrd for StoredKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StoredKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// For tables of stored keys, which are hashed already.
pub(crate) type Hashed = BuildHasherDefault<AsItIs>;

/// Takes a hash for what it is.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not what a stored key calls.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

impl StoredKey {
    /// Joins `namespace` and `key`.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a key that is empty, longer than 512 bytes or holds a NUL;
    /// [`Error::InvalidOption`] for a namespace that is longer than 64 bytes or has anything but `A-Z a-z 0-9 . _ -`.
    pub fn new(namespace: &str, key: &str) -> Result<Self, Error> {
        check_namespace(namespace)?;
        check_key(key)?;
        Ok(Self::join(namespace, key))
    }

    /// For a namespace that was checked when the instance was built.
    pub(crate) fn checked(namespace: &str, key: &str) -> Result<Self, Error> {
        check_key(key)?;
        Ok(Self::join(namespace, key))
    }

    fn join(namespace: &str, key: &str) -> Self {
        let mut text = String::with_capacity(namespace.len() + 1 + key.len());
        text.push_str(namespace);
        text.push(':');
        text.push_str(key);
        if Bug::KeysFolded.is_loose() {
            text.make_ascii_lowercase();
        }
        let hash = SEED.hash_one(text.as_str());
        let text = text.into();
        Self { text, hash }
    }

    /// Which of `parts` this key belongs to, in a table that is cut into as many. Not the bits that the tables themselves
    /// go by.
    pub(crate) fn part_of(&self, parts: usize) -> usize {
        (self.hash >> 32) as u32 as usize % parts
    }

    /// The same for equal keys, in this process.
    pub(crate) fn hashed(&self) -> u64 {
        self.hash
    }

    /// Reads back what a driver has stored. `None` if it is no stored key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (namespace, key) = text.split_once(':')?;
        Self::new(namespace, key).ok()
    }

    /// The bytes that a driver stores and compares.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Namespace, `:` and key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the first `:`; empty if the instance has no namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text
            .split_once(':')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The key as people wrote it.
    #[must_use]
    pub fn key(&self) -> &str {
        self.text
            .split_once(':')
            .map_or(&*self.text, |(_, key)| key)
    }
}

impl fmt::Display for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(&self.text), f)
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKey({self})")
    }
}

/// A key as it may stand in a message or a log line: one line, no terminal sequences.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for character in self.0.chars() {
            if character.is_control()
                || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}')
            {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > MAX_KEY {
        "it is longer than 512 bytes"
    } else if key.contains('\0') {
        "it contains a NUL character"
    } else {
        return Ok(());
    };
    Err(Error::invalid_key(
        key,
        format!("{reason}; a key has 1 to 512 bytes and no NUL"),
    ))
}

pub(crate) fn check_namespace(namespace: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if namespace.len() > MAX_NAMESPACE {
        return Err(Error::invalid_option(
            "namespace",
            "it is longer than 64 bytes",
        ));
    }
    if !namespace.bytes().all(plain) {
        return Err(Error::invalid_option(
            "namespace",
            "only the characters `A-Z a-z 0-9 . _ -` are allowed, so that no key can reach into another namespace",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_512_bytes_and_no_nul() {
        for bad in ["", "a\0b", &"k".repeat(513), &"\u{e9}".repeat(257)] {
            assert!(
                matches!(StoredKey::new("", bad), Err(Error::InvalidKey { .. })),
                "{bad:?}"
            );
        }
        for good in ["k", " ", "a:b", "\u{1f512}", &"k".repeat(512)] {
            assert!(StoredKey::new("", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_key_cannot_leave_its_namespace() -> Result<(), Error> {
        assert_ne!(StoredKey::new("", "shop:a")?, StoredKey::new("shop", "a")?);
        assert_eq!(StoredKey::new("", "shop:a")?.key(), "shop:a");
        assert!(StoredKey::new("a:b", "c").is_err());
        Ok(())
    }

    #[test]
    fn what_is_stored_reads_back() -> Result<(), Error> {
        let key = StoredKey::new("shop", "transfer:1")?;
        assert_eq!(StoredKey::from_bytes(key.as_bytes()), Some(key));
        assert_eq!(StoredKey::from_bytes(b"no separator"), None);
        assert_eq!(StoredKey::from_bytes(b"\xff:x"), None);
        Ok(())
    }

    #[test]
    fn a_shown_key_is_one_line() -> Result<(), Error> {
        let key = StoredKey::new("", "a\nb\x1b[31m")?;
        assert_eq!(key.to_string(), r":a\u{a}b\u{1b}[31m");
        Ok(())
    }
}
