// Must say that `Inner` cannot be part of a lock key, at the literal.
use verrou::{Error, locked};

pub struct Account {
    pub inner: Inner,
}
pub struct Inner;

#[locked("t:<account.inner>")]
pub async fn f(account: &Account) -> Result<(), Error> {
    let Inner = account.inner;
    Ok(())
}

fn main() {}
