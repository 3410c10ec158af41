// Must be rustc's own error alone: the item stays, and whoever calls it goes on type-checking.
use verrou::{Error, locked};

#[locked("t:<id>")]
async fn f(id: u64) -> Result<u64, Error> {
    let doubled = ;
    Ok(id)
}

async fn caller() -> Result<u64, Error> {
    f(1).await
}

fn main() {
    drop(caller());
}
