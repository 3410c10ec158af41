// Must say to write `async fn` and `#[tokio::test]`, and nothing of an attribute that took the `async` away.
#![allow(unused)]
use verrou::{Error, locked};

#[locked("t")]
#[test]
fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}
