//! What a process of the load is told, and the resource that its locks protect.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::HOT;

/// The variable of the environment in which a process of the load finds its [`Order`]: not an argument, for the URL has
/// a password, and arguments are shown to everybody on the machine.
pub const VARIABLE: &str = "VERROU_TEST_LOAD";

/// What one process of the load has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Order {
    /// The store; `memory:` for one that the tasks of the process share.
    pub url: String,
    /// Keeps the keys of runs apart.
    pub namespace: String,
    /// Its number in the history.
    pub process: u32,
    /// Where histories, mail and the resource are.
    pub folder: PathBuf,
    /// What it does follows from this, as far as it does not depend on what others do.
    pub seed: u64,
    /// How many things it does at a time.
    pub tasks: u32,
    /// The length of its leases in milliseconds.
    pub ttl_ms: u64,
    /// How many in a hundred of its locks are not renewed, and kept until they are lost.
    pub lost: u32,
    /// The bound of its store calls in milliseconds.
    pub request_timeout_ms: u64,
}

/// How many other keys there are; half of them differ from the other half by their case only.
pub const MANY: u32 = 8;
/// How many keys there are that are taken together.
pub const SEVERAL: u32 = 5;
/// How many keys there are that are handed over.
pub const GIVEN: u32 = 4;

/// One of the many.
#[must_use]
pub fn many(number: u32) -> String {
    let letter = if number.is_multiple_of(2) { 'k' } else { 'K' };
    format!("{letter}{}", number / 2)
}

/// One of those that are taken together.
#[must_use]
pub fn several(number: u32) -> String {
    format!("s{number}")
}

/// One of those that are handed over.
#[must_use]
pub fn given(number: u32) -> String {
    format!("g{number}")
}

/// All keys of a run.
#[must_use]
pub fn keys() -> Vec<String> {
    let mut keys = vec![HOT.to_owned()];
    keys.extend((0..MANY).map(many));
    keys.extend((0..SEVERAL).map(several));
    keys.extend((0..GIVEN).map(given));
    keys
}

/// The file by which a process says that it has nothing left to do.
#[must_use]
pub fn idle(folder: &Path, process: u32) -> PathBuf {
    folder.join(format!("{process}.idle"))
}

/// The file by which processes are told that all is over.
#[must_use]
pub fn over(folder: &Path) -> PathBuf {
    folder.join("over")
}

/// The guarded write that the documentation shows, to a file for each key: accepted if no greater token was there
/// before.
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path, key: &str, token: u64) -> std::io::Result<bool> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file: File = options.open(folder.join(format!("{key}.resource")))?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let fence: u64 = text.trim().parse().unwrap_or(0);
    if fence > token {
        return Ok(false);
    }
    file.rewind()?;
    // Tokens have as many digits as microseconds of this century; a shorter one is padded, so nothing of the last is left.
    file.write_all(format!("{token:<20}").as_bytes())?;
    Ok(true)
}
