//! The scripts, and the names of what they touch.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Arg, Cmd, ToRedisArgs};

use crate::error::Error;
use crate::store::{
    AcquireRequest, AdoptRequest, Owner, PassRequest, ReleaseRequest, RenewRequest, StoredKey,
};

/// In how many channels the wake-ups of a store are divided.
pub(super) const CHANNELS: u32 = 16;

/// How long a waiter is known to those who release, unless it is heard of again.
pub(super) const WAITER_KNOWN: Duration = Duration::from_secs(10);

/// How many arguments of a call come before its keys.
const LEAD: usize = 3;

/// A script that the server may know by its hash.
pub(super) struct Script {
    source: String,
    hash: String,
}

impl Script {
    /// The steps that scripts share are written out in each: to make a function costs more than to run it.
    fn new(text: &str) -> Self {
        let source = text
            .replace("--[[acquire_step]]", include_str!("acquire_step.lua"))
            .replace("--[[release_step]]", include_str!("release_step.lua"))
            .replace("{known}", &millis(WAITER_KNOWN).to_string());
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*

        /// All of them, to be loaded when a store is set up.
        pub(super) fn all() -> Vec<&'static str> {
            vec![$(&$name.source),*]
        }
    };
}

scripts! {
    ACQUIRE = "acquire.lua";
    RENEW = "renew.lua";
    ADOPT = "adopt.lua";
    RELEASE = "release.lua";
    MANY = "many.lua";
    FORCE_RELEASE = "force_release.lua";
    INSPECT = "inspect.lua";
}

/// One script with its keys and arguments.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    /// `parts` is how many keys and arguments follow.
    fn new(script: &'static Script, keys: usize, parts: usize) -> Self {
        let mut command = Cmd::with_capacity(LEAD + parts, 64 + parts * 32);
        command.arg("EVALSHA").arg(&script.hash).arg(keys);
        Self { script, command }
    }

    fn arg(&mut self, part: impl ToRedisArgs) -> &mut Self {
        self.command.arg(part);
        self
    }

    /// By the hash, which a server that was restarted does not know.
    pub(super) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// With the source, which the server knows by its hash afterwards.
    pub(super) fn by_source(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script.source);
        for part in self.command.args_iter().skip(LEAD - 1) {
            if let Arg::Simple(part) = part {
                command.arg(part);
            }
        }
        command
    }
}

/// Makes the names and calls of a store.
///
/// Lock and waiters of a key are `<prefix>:{k<stored key>}lock` and `..waiters`. What stands between the braces decides the
/// slot of a cluster: it begins with a constant byte, so it is never empty, and a `}` of the key is a NUL in it, which no key
/// contains, so no key ends it early. The counter of all keys is `<prefix>:fence`; on a cluster each key has its own, `..fence`,
/// for a script sees one slot only.
pub(super) struct Names {
    prefix: String,
    /// How the name of each key begins.
    stem: Vec<u8>,
    /// The counter of all keys, unless each has its own.
    counter: Option<Vec<u8>>,
    channels: Vec<Vec<u8>>,
    grace: u64,
}

impl Names {
    pub(super) fn new(prefix: &str, grace: Duration, cluster: bool) -> Result<Self, Error> {
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
            stem: format!("{prefix}:{{k").into_bytes(),
            counter: (!cluster).then(|| format!("{prefix}:fence").into_bytes()),
            channels: (0..CHANNELS)
                .map(|number| channel(prefix, number).into_bytes())
                .collect(),
            grace: millis(grace),
        })
    }

    pub(super) fn acquire(&self, request: &AcquireRequest) -> Call {
        self.acquires(&request.key, &request.owner, request.ttl, &request.holder)
    }

    /// An acquire that takes the key from `request.from`, and from nobody else.
    pub(super) fn pass(&self, request: &PassRequest) -> Call {
        let mut call = self.acquires(&request.key, &request.owner, request.ttl, &request.holder);
        call.arg(proof(&request.from).as_slice());
        call
    }

    fn acquires(&self, key: &StoredKey, owner: &Owner, ttl: Duration, holder: &str) -> Call {
        let mut call = Call::new(&ACQUIRE, 3, 8);
        let mut name = self.lock(key);
        call.arg(&name);
        match &self.counter {
            Some(counter) => call.arg(counter),
            None => call.arg(turned(&mut name, b"fence")),
        };
        call.arg(turned(&mut name, b"waiters"));
        call.arg(proof(owner).as_slice())
            .arg(millis(ttl))
            .arg(holder);
        call.arg(self.grace);
        call
    }

    /// All of `requests`, each with its own answer.
    pub(super) fn renew(&self, requests: &[RenewRequest]) -> Call {
        let mut call = Call::new(&RENEW, requests.len(), requests.len() * 3);
        for request in requests {
            call.arg(self.lock(&request.key));
        }
        for request in requests {
            call.arg(proof(&request.owner).as_slice())
                .arg(millis(request.ttl));
        }
        call
    }

    pub(super) fn adopt(&self, request: &AdoptRequest) -> Call {
        let mut call = Call::new(&ADOPT, 1, 5);
        call.arg(self.lock(&request.key));
        call.arg(proof(&request.from).as_slice())
            .arg(proof(&request.owner).as_slice());
        call.arg(millis(request.ttl)).arg(&*request.holder);
        call
    }

    pub(super) fn release(&self, request: &ReleaseRequest) -> Call {
        let mut call = Call::new(&RELEASE, 2, 5);
        let channel = self.lock_and_waiters(&mut call, &request.key);
        call.arg(proof(&request.owner).as_slice())
            .arg(millis(request.keep));
        call.arg(channel);
        call
    }

    /// All of these, each of another key and with its own answer. Not for a cluster.
    pub(super) fn many(&self, acquires: &[&AcquireRequest], releases: &[&ReleaseRequest]) -> Call {
        let count = acquires.len() + releases.len();
        let mut call = Call::new(&MANY, 2 * count + 1, 5 * count + 3);
        for request in acquires {
            self.lock_and_waiters(&mut call, &request.key);
        }
        let channels: Vec<&[u8]> = releases
            .iter()
            .map(|request| self.lock_and_waiters(&mut call, &request.key))
            .collect();
        call.arg(self.counter.as_deref().unwrap_or_default());
        call.arg(self.grace).arg(acquires.len());
        for request in acquires {
            call.arg(proof(&request.owner).as_slice())
                .arg(millis(request.ttl));
            call.arg(&*request.holder);
        }
        for (request, channel) in releases.iter().zip(channels) {
            call.arg(proof(&request.owner).as_slice())
                .arg(millis(request.keep));
            call.arg(channel);
        }
        call
    }

    pub(super) fn force_release(&self, key: &StoredKey) -> Call {
        let mut call = Call::new(&FORCE_RELEASE, 2, 3);
        let channel = self.lock_and_waiters(&mut call, key);
        call.arg(channel);
        call
    }

    pub(super) fn inspect(&self, key: &StoredKey) -> Call {
        let mut call = Call::new(&INSPECT, 1, 1);
        call.arg(self.lock(key));
        call
    }

    /// Names both, and says on which channel the release is told.
    fn lock_and_waiters(&self, call: &mut Call, key: &StoredKey) -> &[u8] {
        let mut name = self.lock(key);
        let channel = self.channels.get(channel_of(&name) as usize);
        call.arg(&name).arg(turned(&mut name, b"waiters"));
        channel.map(Vec::as_slice).unwrap_or_default()
    }

    /// Makes a waiter known that only watches.
    pub(super) fn mark_waiter(&self, lock: &[u8]) -> Cmd {
        let mut name = lock.to_vec();
        let mut command = redis::cmd("SET");
        command
            .arg(turned(&mut name, b"waiters"))
            .arg("")
            .arg("PX")
            .arg(millis(WAITER_KNOWN));
        command
    }

    /// What holds the lock of `key`: also what a wake-up says.
    pub(super) fn lock(&self, key: &StoredKey) -> Vec<u8> {
        let mut name = self.named(key.as_bytes());
        name.extend_from_slice(b"}lock");
        name
    }

    /// The key that the lock of this name is for.
    pub(super) fn key_of(&self, lock: &[u8]) -> Option<StoredKey> {
        let text = lock
            .strip_prefix(self.stem.as_slice())?
            .strip_suffix(b"}lock")?;
        let bytes: Vec<u8> = text
            .iter()
            .map(|&byte| if byte == 0 { b'}' } else { byte })
            .collect();
        StoredKey::from_bytes(&bytes)
    }

    /// A pattern for the names of the locks whose stored key begins with `prefix`, and of few others.
    pub(super) fn pattern(&self, prefix: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.named(prefix.as_bytes()) {
            if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.extend_from_slice(b"*}lock");
        pattern
    }

    pub(super) fn channel(&self, number: u32) -> String {
        channel(&self.prefix, number)
    }

    fn named(&self, key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.stem.len() + key.len() + b"}waiters".len());
        name.extend_from_slice(&self.stem);
        name.extend(key.iter().map(|&byte| if byte == b'}' { 0 } else { byte }));
        name
    }
}

fn channel(prefix: &str, number: u32) -> String {
    format!("{prefix}:wake:{number}")
}

/// Turns the name of a lock, or of what else belongs to its key, into that of another `kind`.
fn turned<'a>(name: &'a mut Vec<u8>, kind: &[u8]) -> &'a [u8] {
    let stem = name.iter().rposition(|&byte| byte == b'}');
    name.truncate(stem.map_or(0, |at| at + 1));
    name.extend_from_slice(kind);
    name
}

/// The channel on which the release of a lock is told: the same in every process.
pub(super) fn channel_of(lock: &[u8]) -> u32 {
    let fnv = lock.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    fnv % CHANNELS
}

/// How a lock begins that `owner` holds. One that is kept for nobody begins with another byte.
fn proof(owner: &Owner) -> [u8; 17] {
    let mut proof = [b'o'; 17];
    proof[1..].copy_from_slice(owner.as_bytes());
    proof
}

/// Whole milliseconds, never fewer than asked for.
fn millis(time: Duration) -> u64 {
    let begun = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    time.as_secs().saturating_mul(1000).saturating_add(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Result<Names, Error> {
        Names::new("verrou", Duration::from_secs(600), false)
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
        assert_eq!(millis(Duration::from_micros(10_001)), 11);
        assert_eq!(millis(Duration::ZERO), 0);
    }

    #[test]
    fn a_prefix_without_braces_is_taken() {
        for bad in ["", "a{b", "a}", "a b", "\u{e9}", &"p".repeat(65)] {
            assert!(
                Names::new(bad, Duration::from_secs(1), false).is_err(),
                "{bad}"
            );
        }
        assert!(Names::new("verrou", Duration::ZERO, false).is_err());
    }
}
