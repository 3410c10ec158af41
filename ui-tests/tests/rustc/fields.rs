// Must say what is wrong with each field, at the literal: private, not in the tuple, of a type without fields. The help
// of rustc to call the method of that name is of no use here.
use verrou::{Error, locked};

mod inner {
    #[derive(Default)]
    pub struct Account {
        id: u64,
    }
    impl Account {
        pub fn id(&self) -> u64 {
            self.id
        }
    }
}

#[locked("t:<account.id>")]
pub async fn private(account: inner::Account) -> Result<u64, Error> {
    Ok(account.id())
}

#[locked("t:<pair.2>")]
pub async fn tuple(pair: (u64, u64)) -> Result<u64, Error> {
    Ok(pair.0)
}

#[locked("t:<id.value>")]
pub async fn none(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
