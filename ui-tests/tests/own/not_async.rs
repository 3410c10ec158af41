// Must point at `fn`, and say to write `async fn load`.
use verrou::{Error, locked};

#[locked("t")]
fn load() -> Result<(), Error> {
    Ok(())
}

fn main() {}
