//! `key!` wherever an expression may stand.
#![deny(warnings)]

use verrou::{Error, Verrou, key};

pub struct Account {
    pub id: (u64, Owner),
}
pub struct Owner {
    pub r#type: &'static str,
}

pub fn fields(account: &Account) -> Result<String, Error> {
    key!("<account.id.0>:<account.id.1.type>", account)
}

pub fn short_and_long(row: &str, number: Option<u8>) -> Result<String, Error> {
    key!("seat:<row>:<number>:<next>", row, number = number.unwrap_or(1), next = { number.map_or(0, |n| n + 1) },)
}

pub fn keyword(r#type: u8) -> Result<String, Error> {
    key!("<type>:<fn>", type = r#type, fn = "x".to_owned())
}

pub fn borrows_only(text: String) -> Result<(String, String), Error> {
    let key = key!("t:<text>", text)?;
    Ok((key, text))
}

pub fn in_a_closure() -> impl Fn(u8) -> Result<String, Error> {
    |id| key!("t:<id>", id)
}

pub async fn as_an_argument(verrou: &Verrou, id: u64) -> Result<bool, Error> {
    verrou.create_lock(key!("t:<id>", id)?).is_locked().await
}

macro_rules! account_key {
    ($id:expr) => {
        key!("account:<id>", id = $id)
    };
}

pub fn main() -> Result<(), Error> {
    assert_eq!(account_key!(1 + 1)?, "account:2");
    let name = "a";
    let nested = key!("<outer>", outer = key!("<name>:b", name)?)?;
    assert_eq!(nested, "a%3Ab");
    let (__verrou_key, __verrou_0) = ("x", "y");
    assert_eq!(key!("<a>:<b>", a = __verrou_0, b = __verrou_key)?, "y:x");
    Ok(())
}
