//! Constants and unit structs named like locals: a pattern would compare with them.
#![deny(warnings)]
#![allow(non_upper_case_globals, non_camel_case_types)]

use verrou::{Error, locked};

pub const key: u8 = 1;
pub const keys: u8 = 1;
pub const lock: u8 = 1;
pub const result: u8 = 1;
pub const error: u8 = 1;
pub const ret: u8 = 1;
pub struct held;
pub struct released;

#[locked("<a>")]
pub async fn f(a: u8) -> Result<u8, Error> {
    let (_, _) = (held, released);
    Ok(a + key + keys + lock + result + error + ret)
}

pub fn main() {}
