// Must say `Account` cannot be part of a lock key, at the parameter, and what to name instead. Once for each argument.
use verrou::{Error, locked};

pub struct Account {
    pub id: u64,
}

#[locked("t:<account>:<tags>")]
pub async fn f(account: Account, tags: Option<u8>) -> Result<u64, Error> {
    Ok(account.id + u64::from(tags.is_some()))
}

#[locked("t:<value>")]
pub async fn generic<T>(value: T) -> Result<T, Error> {
    Ok(value)
}

fn main() {}
