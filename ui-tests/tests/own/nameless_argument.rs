// Must say that the argument at position 2 has no name.
use verrou::{Error, locked};

#[locked("a:<_>")]
async fn f(id: u64, _: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
