//! What a store is asked for, and answers, when its held keys are listed: a page at a time.

use std::num::NonZeroU32;

use super::{Holding, Sent, StoredKey};

/// How many keys a page looks at, unless it is told otherwise.
const PAGE: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// Asks for one page of the held keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListRequest {
    /// What the listed keys begin with: bytes of the stored key, no pattern.
    pub prefix: String,
    /// Where the page before has ended; `None` asks for the first one.
    pub after: Option<Cursor>,
    /// About how many keys the call may look at, held or not: what bounds its time.
    pub limit: NonZeroU32,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl ListRequest {
    /// A request for the first page, of 1000 keys.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            limit: PAGE,
            sent: Sent::default(),
        }
    }
}

/// Where a page has ended, in the words of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// For drivers: a place in their own words.
    pub fn new(place: impl Into<Vec<u8>>) -> Self {
        Self(place.into())
    }

    /// The driver's words.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Some of the held keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Those that were found, in any order; none says nothing of the next page.
    pub listed: Vec<Listed>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<Cursor>,
}

impl Page {
    /// A page.
    #[must_use]
    pub fn new(listed: Vec<Listed>, next: Option<Cursor>) -> Self {
        Self { listed, next }
    }
}

/// A held key and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The key.
    pub key: StoredKey,
    /// Its holder.
    pub holding: Holding,
}

impl Listed {
    /// An entry.
    #[must_use]
    pub fn new(key: StoredKey, holding: Holding) -> Self {
        Self { key, holding }
    }
}
