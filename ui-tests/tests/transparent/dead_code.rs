// Must report the functions that nobody calls.
#![deny(dead_code)]
use verrou::Error;

#[verrou::locked("t")]
async fn never_called() -> Result<(), Error> {
    Ok(())
}

struct Service;

impl Service {
    #[verrou::locked("t")]
    async fn method(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {
    let _ = Service;
}
