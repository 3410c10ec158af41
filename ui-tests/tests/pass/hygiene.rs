//! No prelude, all warnings denied, and names that a macro might use for itself.
#![no_implicit_prelude]
#![deny(warnings)]

use ::verrou::locked;

#[allow(non_upper_case_globals)]
pub const __key: u8 = 0;
#[allow(non_upper_case_globals)]
pub const guard: u8 = 0;
#[allow(non_upper_case_globals)]
pub static output: u8 = 0;
#[allow(non_camel_case_types)]
pub struct body;
#[allow(non_camel_case_types)]
pub struct bool;
pub struct Ok;
pub struct Err;
pub struct Some;
pub struct None;
pub struct Option;
pub struct Duration;
pub mod core {}
pub mod std {}

pub trait ToString {
    fn to_string(&self) -> u8 {
        0
    }
    fn write(&self) {}
    fn part(&self) {}
}
impl<T: ?::core::marker::Sized> ToString for T {}

type Result = ::core::result::Result<u8, ::verrou::Error>;

#[locked("<key>:<error>:<options>:<verrou>", ttl = "1s", renew = false, attempts = 3, when = true, on_busy = ::core::result::Result::Ok(key))]
pub async fn f(key: u8, error: u8, options: u8, verrou: u8) -> Result {
    ::core::result::Result::Ok(key + error + options + verrou)
}

#[locked("<value>", guard = held, wait = ::core::time::Duration::from_secs(1))]
pub async fn g(value: &u8) -> Result {
    held.check()?;
    ::core::result::Result::Ok(*value)
}

pub fn text() -> ::core::result::Result<::std::string::String, ::verrou::Error> {
    let key = 1_u8;
    ::verrou::key!("<a>:<key>", a = key, key)
}

pub fn main() {}
