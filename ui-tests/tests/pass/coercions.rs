//! Tails, `return` and `?` that rely on knowing the return type.
#![deny(warnings)]

use std::error::Error as StdError;
use std::fmt::Debug;

use verrou::locked;

type Failure = Box<dyn StdError + Send + Sync>;

#[locked("t")]
pub async fn boxed(early: bool) -> Result<Box<dyn Debug + Send>, Failure> {
    if early {
        return Ok(Box::new(1));
    }
    Ok(Box::new("x"))
}

#[locked("t")]
pub async fn error_from_text() -> Result<(), Failure> {
    Err("no")?;
    Err("no".into())
}

#[locked("t")]
pub async fn collected(texts: &[&str]) -> Result<Vec<u8>, Failure> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

#[locked("t")]
pub async fn pointer() -> Result<fn(u8) -> u8, Failure> {
    Ok(|x| x + 1)
}

#[locked("t")]
pub async fn slice() -> Result<&'static [u8], Failure> {
    Ok(&[1, 2, 3])
}

#[locked("t")]
pub async fn nameless(n: u32) -> Result<impl Iterator<Item = u32>, Failure> {
    Ok((0..n).map(|x| x * 2))
}

#[locked("t")]
pub async fn nested_nameless(n: u32) -> Result<(Option<impl Debug>, Vec<impl Debug + use<>>), Failure> {
    Ok((Some(n), vec![n]))
}

pub fn main() {}
