//! A free function, with arguments that the key names and others.
#![deny(warnings)]

use verrou::locked;

#[locked("transfer:<from>")]
pub async fn transfer(from: u64, to: u64, amount: i64) -> Result<i64, verrou::Error> {
    Ok(amount + i64::try_from(from + to).unwrap_or(0))
}

#[locked("nightly")]
async fn nightly() -> Result<(), verrou::Error> {
    Ok(())
}

pub fn main() {
    drop(transfer(1, 2, 3));
    drop(nightly());
}
