// Must say the same of a value in parentheses, at the value.
#![allow(unused_parens)]
use verrou::{Error, locked};

#[locked("t", wait = ("5"), attempts = (0), store = (""), renew = (("no")), on_busy = (7))]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", attempts = (1), delay = ("1s"))]
async fn together() -> Result<(), Error> {
    Ok(())
}

macro_rules! job {
    ($wait:expr) => {
        #[locked("t", wait = $wait)]
        async fn by_macro() -> Result<(), Error> {
            Ok(())
        }
    };
}

job!(("5"));

fn main() {}
