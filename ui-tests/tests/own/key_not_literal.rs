// Must say that a key is a string literal, at what is none; must say that keys come first.
use verrou::{Error, locked};

#[locked(42, b"x", KEY, concat!("a", "b"), format!("a"), "a".len())]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("a", ttl = "1s", "b")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}
