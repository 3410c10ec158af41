// Must say that there is no field `idd`, at the literal, and must not offer to replace the literal.
use verrou::{Error, locked};

pub struct Account {
    pub id: u64,
}

#[locked("t:<account.idd>")]
pub async fn f(account: Account) -> Result<u64, Error> {
    Ok(account.id)
}

fn main() {}
