//! The scripts, and the names of what they touch.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Cmd;

use crate::drivers::group::Errand;
use crate::error::Error;
use crate::store::{
    AcquireRequest, AdoptRequest, Owner, PassRequest, ReleaseRequest, RenewRequest, StoredKey,
};

/// In how many channels the wake-ups of a store are divided.
pub(super) const CHANNELS: u32 = 16;

/// How long a waiter is known to those who release, unless it is heard of again.
pub(super) const WAITER_KNOWN: Duration = Duration::from_secs(10);

/// The kinds of keys that a lock has.
const ALL: [&str; 3] = ["lock", "fence", "waiters"];

/// A script that the server may know by its hash.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }
}

macro_rules! scripts {
    ($($name:ident = $($file:literal),+;)*) => {
        $(static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)*

        /// All of them, to be loaded when a store is set up.
        pub(super) fn all() -> Vec<&'static str> {
            vec![$($name.source),*]
        }
    };
}

scripts! {
    ACQUIRE = "steps.lua", "acquire.lua";
    RENEW = "renew.lua";
    ADOPT = "adopt.lua";
    RELEASE = "steps.lua", "release.lua";
    MANY = "steps.lua", "many.lua";
    FORCE_RELEASE = "steps.lua", "force_release.lua";
    INSPECT = "inspect.lua";
}

/// One script with its keys and arguments.
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    /// By the hash, which a server that was restarted does not know.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// With the source, which the server knows by its hash afterwards.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.arguments) {
            command.arg(part.as_slice());
        }
        command
    }
}

/// Makes the names and calls of a store.
///
/// Lock, counter and waiters of a key are `<prefix>:{k<stored key>}lock`, `..fence` and `..waiters`. What stands between
/// the braces decides the slot of a cluster: it begins with a constant byte, so it is never empty, and a `}` of the key
/// is a NUL in it, which no key contains, so no key ends it early.
pub(super) struct Names {
    prefix: String,
    grace: Duration,
}

impl Names {
    pub(super) fn new(prefix: &str, grace: Duration) -> Result<Self, Error> {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err(Error::invalid_option(
                "prefix",
                "a prefix has 1 to 64 of the characters `A-Z a-z 0-9 . _ - :`",
            ));
        }
        let limit = Duration::from_secs(10 * 365 * 24 * 3600);
        if grace < Duration::from_millis(1) || grace > limit {
            return Err(Error::invalid_option(
                "token_grace",
                "a counter is kept from 1 ms to 10 years",
            ));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            grace,
        })
    }

    pub(super) fn acquire(&self, request: &AcquireRequest) -> Call {
        Call {
            script: &ACQUIRE,
            keys: self.keys(&request.key, &ALL),
            arguments: self.acquires(&request.owner, request.ttl, &request.holder),
        }
    }

    /// An acquire that takes the key from `request.from`, and from nobody else.
    pub(super) fn pass(&self, request: &PassRequest) -> Call {
        let mut arguments = self.acquires(&request.owner, request.ttl, &request.holder);
        arguments.push(proof(&request.from));
        Call {
            script: &ACQUIRE,
            keys: self.keys(&request.key, &ALL),
            arguments,
        }
    }

    /// All of `requests`, each with its own answer.
    pub(super) fn renew(&self, requests: &[RenewRequest]) -> Call {
        let mut keys = Vec::with_capacity(requests.len() * 2);
        let mut arguments = Vec::with_capacity(requests.len() * 4);
        for request in requests {
            keys.extend(self.keys(&request.key, &["lock", "fence"]));
            arguments.push(proof(&request.owner));
            arguments.extend(self.lasts(request.ttl));
        }
        Call {
            script: &RENEW,
            keys,
            arguments,
        }
    }

    pub(super) fn adopt(&self, request: &AdoptRequest) -> Call {
        let mut arguments = vec![proof(&request.from), proof(&request.owner)];
        arguments.extend(self.lasts(request.ttl));
        arguments.push(request.holder.as_bytes().to_vec());
        Call {
            script: &ADOPT,
            keys: self.keys(&request.key, &["lock", "fence"]),
            arguments,
        }
    }

    pub(super) fn release(&self, request: &ReleaseRequest) -> Call {
        let keys = self.keys(&request.key, &ALL);
        Call {
            script: &RELEASE,
            arguments: self.releases(request, &keys),
            keys,
        }
    }

    /// All of `errands`, each of another key and with its own answer.
    pub(super) fn many(&self, errands: &[Errand]) -> Call {
        let mut keys = Vec::with_capacity(errands.len() * 3);
        let mut arguments = Vec::with_capacity(errands.len() * 7);
        for errand in errands {
            let its_keys = self.keys(errand.key(), &ALL);
            match errand {
                Errand::Acquire(request) => {
                    arguments.push(b"a".to_vec());
                    arguments.extend(self.acquires(&request.owner, request.ttl, &request.holder));
                }
                Errand::Release(request) => {
                    arguments.push(b"r".to_vec());
                    arguments.extend(self.releases(request, &its_keys));
                }
            }
            keys.extend(its_keys);
        }
        Call {
            script: &MANY,
            keys,
            arguments,
        }
    }

    pub(super) fn force_release(&self, key: &StoredKey) -> Call {
        let lock = self.lock(key);
        Call {
            script: &FORCE_RELEASE,
            arguments: vec![
                millis(self.grace),
                self.channel(channel_of(&lock)).into_bytes(),
            ],
            keys: self.keys(key, &ALL),
        }
    }

    pub(super) fn inspect(&self, key: &StoredKey) -> Call {
        Call {
            script: &INSPECT,
            keys: vec![self.lock(key)],
            arguments: Vec::new(),
        }
    }

    /// Makes a waiter known that only watches.
    pub(super) fn mark_waiter(&self, lock: &[u8]) -> Cmd {
        let mut waiters = lock.strip_suffix(b"lock").unwrap_or(lock).to_vec();
        waiters.extend_from_slice(b"waiters");
        let mut command = redis::cmd("SET");
        command
            .arg(waiters)
            .arg("")
            .arg("PX")
            .arg(millis(WAITER_KNOWN));
        command
    }

    /// What holds the lock of `key`: also what a wake-up says.
    pub(super) fn lock(&self, key: &StoredKey) -> Vec<u8> {
        let mut name = self.stem(key.as_bytes());
        name.extend_from_slice(b"}lock");
        name
    }

    /// The key that the lock of this name is for.
    pub(super) fn key_of(&self, lock: &[u8]) -> Option<StoredKey> {
        let stem = self.stem(b"");
        let text = lock.strip_prefix(stem.as_slice())?.strip_suffix(b"}lock")?;
        let bytes: Vec<u8> = text
            .iter()
            .map(|&byte| if byte == 0 { b'}' } else { byte })
            .collect();
        StoredKey::from_bytes(&bytes)
    }

    /// A pattern for the names of the locks whose stored key begins with `prefix`, and of few others.
    pub(super) fn pattern(&self, prefix: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.stem(prefix.as_bytes()) {
            if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.extend_from_slice(b"*}lock");
        pattern
    }

    pub(super) fn channel(&self, number: u32) -> String {
        format!("{}:wake:{number}", self.prefix)
    }

    fn acquires(&self, owner: &Owner, ttl: Duration, holder: &str) -> Vec<Vec<u8>> {
        let [ttl, counter, care] = self.lasts(ttl);
        let known = millis(WAITER_KNOWN);
        vec![
            proof(owner),
            ttl,
            counter,
            care,
            holder.as_bytes().to_vec(),
            known,
        ]
    }

    fn releases(&self, request: &ReleaseRequest, keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let channel = keys.first().map_or(0, |lock| channel_of(lock));
        vec![
            proof(&request.owner),
            millis(request.keep),
            millis(self.grace),
            self.channel(channel).into_bytes(),
        ]
    }

    /// How long lock and counter last, and whether the release has to shorten the life of the counter.
    fn lasts(&self, ttl: Duration) -> [Vec<u8>; 3] {
        let care: &[u8] = if ttl > self.grace { b"c" } else { b"-" };
        [millis(ttl), millis(ttl + self.grace), care.to_vec()]
    }

    fn stem(&self, key: &[u8]) -> Vec<u8> {
        let mut name = format!("{}:{{k", self.prefix).into_bytes();
        name.extend(key.iter().map(|&byte| if byte == b'}' { 0 } else { byte }));
        name
    }

    fn keys(&self, key: &StoredKey, kinds: &[&str]) -> Vec<Vec<u8>> {
        let stem = self.stem(key.as_bytes());
        let named = |kind: &&str| [stem.as_slice(), b"}", kind.as_bytes()].concat();
        kinds.iter().map(named).collect()
    }
}

/// The channel on which the release of a lock is told: the same in every process.
pub(super) fn channel_of(lock: &[u8]) -> u32 {
    let fnv = lock.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    fnv % CHANNELS
}

/// How a lock begins that `owner` holds. One that is kept for nobody begins with another byte.
fn proof(owner: &Owner) -> Vec<u8> {
    [b"o", owner.as_bytes().as_slice()].concat()
}

/// Whole milliseconds, never fewer than asked for, as text.
fn millis(time: Duration) -> Vec<u8> {
    time.as_nanos().div_ceil(1_000_000).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Result<Names, Error> {
        Names::new("verrou", Duration::from_secs(600))
    }

    #[test]
    fn a_brace_in_a_key_does_not_end_the_tag() -> Result<(), Error> {
        let names = names()?;
        for key in ["a}b", "}", "{x}", "}{", "{}"] {
            let key = StoredKey::new("", key)?;
            let lock = names.lock(&key);
            let braces = lock.iter().filter(|&&byte| byte == b'}').count();
            assert_eq!(braces, 1, "{key}");
            assert_eq!(names.key_of(&lock), Some(key));
        }
        assert_eq!(names.key_of(b"verrou:{k:a}fence"), None);
        assert_eq!(names.key_of(b"other:{k:a}lock"), None);
        Ok(())
    }

    #[test]
    fn a_pattern_takes_a_prefix_by_the_letter() -> Result<(), Error> {
        let pattern = names()?.pattern(":a*[b]?\\");
        assert_eq!(pattern, br"verrou:{k:a\*\[b]\?\\*}lock");
        Ok(())
    }

    #[test]
    fn milliseconds_are_never_fewer() {
        assert_eq!(millis(Duration::from_micros(10_001)), b"11");
        assert_eq!(millis(Duration::ZERO), b"0");
    }

    #[test]
    fn a_prefix_without_braces_is_taken() {
        for bad in ["", "a{b", "a}", "a b", "\u{e9}", &"p".repeat(65)] {
            assert!(Names::new(bad, Duration::from_secs(1)).is_err(), "{bad}");
        }
        assert!(Names::new("verrou", Duration::ZERO).is_err());
    }
}
