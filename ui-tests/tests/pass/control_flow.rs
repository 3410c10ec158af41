//! Ways to leave a body, and what looks like one: loops, labels, closures, blocks.
#![deny(warnings)]
#![allow(clippy::never_loop, clippy::needless_continue, clippy::needless_return, clippy::option_if_let_else, reason = "the case")]

use verrou::{Error, locked};

#[locked("t")]
pub async fn labels(values: Vec<u8>) -> Result<u8, Error> {
    let found = 'outer: loop {
        for value in &values {
            match value {
                0 => continue,
                1 => break 'outer 1,
                2 => break,
                3 => return Ok(3),
                4 => Err(Error::NotInitialized)?,
                _ => {}
            }
        }
        let nested = 'block: {
            if values.is_empty() {
                break 'block 5;
            }
            6
        };
        break nested;
    };
    Ok(found)
}

#[locked("t")]
pub async fn closures(values: Vec<u8>) -> Result<Option<u8>, Error> {
    let first = |values: &[u8]| -> Option<u8> {
        let first = values.first()?;
        return Some(*first + 1);
    };
    let inner = async {
        let value = first(&values)?;
        Some(value)
    };
    Ok(inner.await)
}

#[locked("t")]
pub async fn only_a_match(value: Option<u8>) -> Result<u8, Error> {
    match value {
        Some(value) => Ok(value),
        None => Err(Error::NotInitialized),
    }
}

#[locked("t")]
pub async fn only_an_if(value: bool) -> Result<u8, Error> {
    if value { Ok(1) } else { Err(Error::NotInitialized) }
}

#[locked("t")]
pub async fn empty_block() -> Result<(), Error> {
    {}
    Ok(())
}

pub fn main() {}
