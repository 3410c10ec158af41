//! The fencing token of a grant.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number that rises with every grant of a key: 1 to 2<sup>63</sup>-1.
///
/// A lock is a lease, and the holder of a lease can be paused past its end without noticing. So give the token along
/// with each write, and let the resource refuse a token smaller than one it has seen:
///
/// ```sql
/// UPDATE account SET balance = $1, fence = $token WHERE id = $2 AND fence <= $token
/// ```
///
/// A fence column starts at 0. Tokens of different keys have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(NonZeroU64);

impl FencingToken {
    /// The greatest token: 2<sup>63</sup>-1, so that it fits a signed `BIGINT` column.
    pub const MAX: Self = match Self::new(i64::MAX as u64) {
        Some(token) => token,
        None => panic!("2^63-1 is a token"),
    };

    /// The token `value`; `None` for 0 and above 2<sup>63</sup>-1.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value > i64::MAX as u64 {
            return None;
        }
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The number as a signed column takes it; never negative.
    #[must_use]
    #[expect(
        clippy::cast_possible_wrap,
        reason = "at most i64::MAX by construction"
    )]
    pub const fn as_i64(self) -> i64 {
        self.0.get() as i64
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FencingToken({})", self.0)
    }
}

impl Serialize for FencingToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for FencingToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| {
            de::Error::invalid_value(
                de::Unexpected::Unsigned(value),
                &"a fencing token from 1 to 2^63-1",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_from_1_to_i64_max() {
        assert_eq!(FencingToken::new(0), None);
        assert_eq!(FencingToken::new(1).map(FencingToken::as_i64), Some(1));
        assert_eq!(FencingToken::MAX.as_i64(), i64::MAX);
        assert_eq!(FencingToken::new(i64::MAX as u64 + 1), None);
    }
}
