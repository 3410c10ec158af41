// Must say to put `#[locked]` above the attribute that took the `async` away.
use verrou::{Error, locked};

#[tokio::main]
#[locked("t")]
async fn main() -> Result<(), Error> {
    Ok(())
}
