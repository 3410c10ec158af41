// Must suggest the option that was meant, and know those of other libraries for none of its own.
use verrou::{Error, locked};

#[locked("t", Ttl = "1s", on_bussy = skip, sotre = "a", maxhold = "1s", verou = x)]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", expiration = "1s")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}
