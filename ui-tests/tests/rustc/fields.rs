// Must say what is wrong with each field, at the literal: private, not in the tuple, of a type without fields, in another field. The help
// of rustc to call the method of that name, or to write another expression for the literal, is of no use here.
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

pub struct Shop {
    pub owner: (u64, u64),
    pub address: Address,
}

pub struct Address {
    pub street: String,
}

#[locked("t:<shop.address.stret>")]
pub async fn misspelt(shop: Shop) -> Result<String, Error> {
    Ok(shop.address.street)
}

#[locked("t:<shop.owner.x>")]
pub async fn nested(shop: Shop) -> Result<u64, Error> {
    Ok(shop.owner.0)
}

fn main() {}
