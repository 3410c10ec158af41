// Must say of a path, a list and `()` that they cannot be part of a key, at the parameter, and name what can.
use std::path::PathBuf;

use verrou::{Error, locked};

#[locked("t:<path>")]
pub async fn path(path: PathBuf) -> Result<usize, Error> {
    Ok(path.as_os_str().len())
}

#[locked("t:<list>")]
pub async fn list(list: &[u8]) -> Result<usize, Error> {
    Ok(list.len())
}

fn main() {}
