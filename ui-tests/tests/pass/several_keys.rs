//! Several templates, field paths, tuple fields, doubled brackets, raw strings, plain braces.
#![deny(warnings)]

use verrou::{Error, locked};

pub struct Account {
    pub id: (u64, Inner),
    pub owner: Box<Owner>,
}
pub struct Inner(pub u8, pub u8);
pub struct Owner {
    pub name: String,
    pub r#type: u8,
}

#[locked("a:<from.id.0>", "a:<to.id.1.0>", r#"o:"<from.owner.name>":<to.owner.type>"#, "{}<<{id}>>\t\\<from.id.0>")]
pub async fn transfer(from: &Account, to: Account) -> Result<u64, Error> {
    let Account { id, owner } = to;
    Ok(from.id.0 + id.0 + owner.name.len() as u64)
}

pub fn main() {}
