//! Names bound by patterns in the arguments, `mut` arguments, `_`.
#![deny(warnings)]
#![allow(clippy::toplevel_ref_arg, reason = "the case")]

use verrou::{Error, locked};

pub struct Point {
    pub x: u8,
    pub y: u8,
}
pub struct Path<T>(pub T);

#[locked("<a>:<b>:<x>:<renamed>:<first>:<whole.0>:<part>:<number>:<byref>")]
#[allow(clippy::too_many_arguments)]
pub async fn f(
    (a, Path((b, _))): (u8, Path<(u8, u8)>),
    Point { x, y: renamed }: Point,
    [first, ..]: [u8; 3],
    whole @ (part, _): (u8, u8),
    &number: &u8,
    ref byref: String,
    mut counter: u8,
    _: u8,
    _ignored: u8,
) -> Result<u8, Error> {
    counter += a + b + x + renamed + first + part + number;
    counter += whole.0 + u8::from(byref.is_empty());
    Ok(counter)
}

pub fn main() {}
