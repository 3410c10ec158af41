// Must expect the function's return type, at the value.
use verrou::{Error, locked};

#[locked("t", on_busy = Some(1))]
pub async fn f() -> Result<u8, Error> {
    Ok(1)
}

fn main() {}
