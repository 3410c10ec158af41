//! A lock on its way to another process.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::wall_micros;
use crate::error::Error;
use crate::hold::Hold;
use crate::key::StoredKey;
use crate::options::{MAX_TTL, MIN_TTL};
use crate::store::Owner;
use crate::token::FencingToken;

/// The first field of the text; another one means another version.
const VERSION: &str = "verrou1";
/// The last field: without it the text was cut.
const END: &str = "end";

/// A held lock as text: made by [`LockGuard::into_serialized`](crate::LockGuard::into_serialized), taken up by
/// `restore_lock`, once.
///
/// The text names store and namespace and is refused elsewhere. It is a **bearer secret**: whoever has it has the lock.
/// `Debug` shows nothing of it; serde and [`expose`](Self::expose) do.
#[derive(Clone, PartialEq, Eq)]
pub struct SerializedLock {
    pub(crate) store: String,
    pub(crate) key: StoredKey,
    pub(crate) owner: Owner,
    pub(crate) token: FencingToken,
    pub(crate) ttl: Duration,
    pub(crate) renew: bool,
    /// What was left of `max_hold` when the lock was given.
    max_hold: Option<Duration>,
    /// What was left of `min_hold` when the lock was given.
    min_hold: Duration,
    /// When that was, in microseconds of the wall clock: the boot-time clock means nothing elsewhere.
    given: u64,
}

impl SerializedLock {
    pub(crate) fn of(hold: &Hold) -> Self {
        Self {
            store: hold.registered.name.clone(),
            key: hold.key.clone(),
            owner: hold.owner,
            token: hold.token,
            ttl: hold.terms.ttl,
            renew: hold.terms.renew,
            max_hold: hold.terms.max_hold.map(|_| hold.cap().remaining()),
            min_hold: hold.min_hold_left(),
            given: wall_micros(),
        }
    }

    /// What is left of `max_hold` by now. As good as the wall clocks of giver and taker agree.
    pub(crate) fn max_hold_left(&self) -> Option<Duration> {
        self.max_hold
            .map(|left| left.saturating_sub(self.under_way()))
    }

    /// What is left of `min_hold` by now.
    pub(crate) fn min_hold_left(&self) -> Duration {
        self.min_hold.saturating_sub(self.under_way())
    }

    fn under_way(&self) -> Duration {
        Duration::from_micros(wall_micros().saturating_sub(self.given))
    }

    /// The text, secret and all.
    #[must_use]
    pub fn expose(&self) -> String {
        let Self {
            store,
            key,
            owner,
            token,
            ttl,
            renew,
            max_hold,
            min_hold,
            given,
        } = self;
        let mut text = String::from(VERSION);
        for field in [store.as_str(), key.namespace(), key.key()] {
            text.push(':');
            escape(field, &mut text);
        }
        text.push(':');
        for byte in owner.as_bytes() {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let renew = u8::from(*renew);
        let max_hold = max_hold.map_or_else(String::new, |left| left.as_micros().to_string());
        let _ = write!(
            text,
            ":{token}:{}:{renew}:{max_hold}:{}:{given}:{END}",
            ttl.as_micros(),
            min_hold.as_micros()
        );
        text
    }
}

impl FromStr for SerializedLock {
    type Err = Error;

    /// Reads what [`expose`](Self::expose) wrote.
    ///
    /// # Errors
    /// [`Error::InvalidSerialized`] for anything else; nothing of the text is shown in it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || {
            Error::invalid_serialized(
                "it is damaged; take the text exactly as `into_serialized` gave it",
            )
        };
        let mut fields = text.split(':');
        if fields.next() != Some(VERSION) {
            return Err(Error::invalid_serialized(
                "it is not the text of a lock, or of another version of verrou",
            ));
        }
        let mut field = || fields.next().ok_or_else(malformed);
        let store = unescape(field()?).ok_or_else(malformed)?;
        let namespace = unescape(field()?).ok_or_else(malformed)?;
        let key = unescape(field()?).ok_or_else(malformed)?;
        let key = StoredKey::new(&namespace, &key).map_err(|_| malformed())?;
        let owner = read_owner(field()?).ok_or_else(malformed)?;
        let token = field()?
            .parse()
            .ok()
            .and_then(FencingToken::new)
            .ok_or_else(malformed)?;
        let ttl = micros(field()?)
            .filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl))
            .ok_or_else(malformed)?;
        let renew = match field()? {
            "0" => false,
            "1" => true,
            _ => return Err(malformed()),
        };
        let max_hold = match field()? {
            "" => None,
            left => Some(micros(left).ok_or_else(malformed)?),
        };
        let min_hold = micros(field()?)
            .filter(|left| *left <= ttl)
            .ok_or_else(malformed)?;
        let given = field()?.parse().map_err(|_| malformed())?;
        if field()? != END || fields.next().is_some() {
            return Err(malformed());
        }
        Ok(Self {
            store,
            key,
            owner,
            token,
            ttl,
            renew,
            max_hold,
            min_hold,
            given,
        })
    }
}

impl fmt::Debug for SerializedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SerializedLock(..)")
    }
}

impl Serialize for SerializedLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for SerializedLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

fn escape(field: &str, text: &mut String) {
    for character in field.chars() {
        if matches!(character, ':' | '%') || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(text, "%{byte:02X}");
            }
        } else {
            text.push(character);
        }
    }
}

fn unescape(field: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(hex_byte(digits)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn read_owner(field: &str) -> Option<Owner> {
    let digits = field.as_bytes();
    let mut bits = [0; 16];
    if digits.len() != 2 * bits.len() {
        return None;
    }
    for (bit, pair) in bits.iter_mut().zip(digits.chunks_exact(2)) {
        *bit = hex_byte([pair[0], pair[1]])?;
    }
    Some(Owner::from_bytes(bits))
}

fn hex_byte(digits: [u8; 2]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()
}

fn micros(field: &str) -> Option<Duration> {
    field.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Result<SerializedLock, Error> {
        Ok(SerializedLock {
            store: "a:b%".into(),
            key: StoredKey::new("shop", "k:1\n%3A\u{e9}")?,
            owner: Owner::from_bytes([7; 16]),
            token: FencingToken::MAX,
            ttl: Duration::from_secs(20),
            renew: true,
            max_hold: None,
            min_hold: Duration::from_millis(3),
            given: 7,
        })
    }

    #[test]
    fn what_is_written_reads_back() -> Result<(), Error> {
        let mut lock = lock()?;
        assert!(lock.expose().parse::<SerializedLock>()? == lock);
        lock.max_hold = Some(Duration::from_secs(1));
        lock.renew = false;
        assert!(lock.expose().parse::<SerializedLock>()? == lock);
        Ok(())
    }

    #[test]
    fn anything_else_is_refused_and_not_shown() -> Result<(), Error> {
        let good = lock()?.expose();
        let mut bad = vec![
            String::new(),
            "verrou2:x".into(),
            format!("{good}:1"),
            good.replace(":1:", ":2:"),
        ];
        bad.extend(
            (0..good.len())
                .filter(|at| good.is_char_boundary(*at))
                .map(|at| good[..at].to_owned()),
        );
        for text in bad {
            let Err(error) = text.parse::<SerializedLock>() else {
                panic!("accepted {text}")
            };
            assert!(
                matches!(error, Error::InvalidSerialized { .. }),
                "{error:?}"
            );
            assert!(!error.to_string().contains("0707"), "{error}");
        }
        assert_eq!(format!("{:?}", lock()?), "SerializedLock(..)");
        Ok(())
    }
}
