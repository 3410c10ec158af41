// Must list the arguments there are; the second says that there are none, the third that there is only `self`,
// the fourth names the only one.
use verrou::{Error, locked};

#[locked("t:<zzz>")]
async fn two(account: u64, amount: u64) -> Result<u64, Error> {
    Ok(account + amount)
}

#[locked("t:<x>")]
async fn none() -> Result<(), Error> {
    Ok(())
}

struct Service;

impl Service {
    #[locked("t:<x>")]
    async fn method(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[locked("t:<zzz>")]
async fn one(account: u64) -> Result<u64, Error> {
    Ok(account)
}

fn main() {}
