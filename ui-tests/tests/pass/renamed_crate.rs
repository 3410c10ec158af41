//! The library under another name.
#![deny(warnings)]

pub extern crate verrou as renamed;

pub mod reexported {
    pub use renamed as locks;
}

#[renamed::locked("t:<id>", crate = renamed)]
pub async fn by_name(id: u64) -> Result<u64, renamed::Error> {
    Ok(id)
}

#[renamed::locked("t:<id>", crate = crate::reexported::locks, when = id > 1, on_lost = continue)]
pub async fn by_path(id: u64) -> Result<u64, renamed::Error> {
    Ok(id)
}

fn main() {
    let _ = renamed::key!("t:<a>", a = 1, crate = ::verrou);
}
