// Must say that `<self.tenant>` needs a method.
use verrou::{Error, locked};

#[locked("t:<self.tenant>")]
async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}
