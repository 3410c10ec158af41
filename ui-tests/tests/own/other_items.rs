// Must say what it goes on, at the first token of each item; a function that is declared elsewhere has no body.
#![allow(unused)]
use verrou::locked;

#[locked("t")]
pub enum Kind {}

#[locked("t")]
trait Jobs {}

#[locked("t")]
static KEY: &str = "t";

#[locked("t")]
type Alias = u8;

#[locked("t")]
macro_rules! job {
    () => {};
}

unsafe extern "C" {
    #[locked("t")]
    safe fn declared();
}

fn main() {}
