// Must say that `skip` does not know what to return, at the return type.
use verrou::{Error, locked};

#[locked("t", on_busy = skip)]
pub async fn f() -> Result<u8, Error> {
    Ok(1)
}

fn main() {}
