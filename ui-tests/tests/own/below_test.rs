// Must say to put `#[locked]` above that attribute, at that attribute.
#![allow(unused)]
use verrou::{Error, locked};

#[tokio::test]
#[locked("t")]
async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}
