// Must report the future and the result that are dropped.
#![deny(unused_must_use)]
use verrou::Error;

#[must_use = "it counts"]
#[verrou::locked("t")]
pub async fn f() -> Result<u8, Error> {
    Ok(1)
}

pub async fn caller() {
    f();
    f().await;
}

fn main() {}
