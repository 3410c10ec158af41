// Must say that format options are not supported, and that `Display` writes the value.
use verrou::{Error, locked};

#[locked("a:<id:?>", "b:<id:08>")]
async fn f(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
