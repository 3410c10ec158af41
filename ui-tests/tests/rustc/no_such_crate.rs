// Must say that the crate is not there, at the path of `crate`.
use verrou::{Error, locked};

#[locked("t", crate = missing)]
async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}
