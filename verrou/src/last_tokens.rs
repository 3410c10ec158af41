//! The last token that each key was granted with, as far as this process remembers.

use std::sync::{Mutex, PoisonError};

use crate::key::StoredKey;
use crate::token::FencingToken;

/// Of so many keys: a number that costs nothing, for what is never promised. One key pushes out another.
const PLACES: usize = 512;

/// Made when it is first used: a store of one process cannot be wrong here, and is not asked.
#[derive(Default)]
pub(crate) struct LastTokens {
    /// The hash of a key, and its last token.
    places: Mutex<Vec<(u64, FencingToken)>>,
}

impl LastTokens {
    /// Remembers a grant. Then the token of the last one, if that is not below.
    pub(crate) fn granted(&self, key: &StoredKey, token: FencingToken) -> Option<FencingToken> {
        let hash = key.hashed();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(PLACES, (0, FencingToken::MAX));
        }
        let place = usize::try_from(hash % places.len() as u64).unwrap_or(0);
        let last = places.get_mut(place)?;
        let (whose, before) = std::mem::replace(last, (hash, token));
        (whose == hash && before >= token).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_does_not_rise_is_found_and_one_that_does_is_not() -> Result<(), crate::Error> {
        let tokens = LastTokens::default();
        let (one, other) = (StoredKey::new("", "one")?, StoredKey::new("", "other")?);
        let token = |number| FencingToken::new(number).unwrap_or(FencingToken::MAX);
        assert_eq!(tokens.granted(&one, token(5)), None);
        assert_eq!(tokens.granted(&one, token(6)), None);
        assert_eq!(tokens.granted(&other, token(1)), None);
        assert_eq!(tokens.granted(&other, token(1)), Some(token(1)));
        Ok(())
    }
}
