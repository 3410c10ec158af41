//! The proof of ownership that a store compares.

use std::fmt;

/// 128 random bits, made afresh for each acquisition; whoever has them can renew, hand over and release the lock.
///
/// Never printed: `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner([u8; 16]);

impl Owner {
    /// A new owner from the system's random source.
    ///
    /// # Errors
    /// When the system has no random source, which no supported system reports in normal operation.
    pub fn random() -> std::io::Result<Self> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(std::io::Error::other)?;
        Ok(Self(bits))
    }

    /// The owner with these bits.
    #[must_use]
    pub const fn from_bytes(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The bits, as a driver stores them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_differ_and_are_never_printed() -> std::io::Result<()> {
        let (one, other) = (Owner::random()?, Owner::random()?);
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "Owner(..)");
        Ok(())
    }
}
