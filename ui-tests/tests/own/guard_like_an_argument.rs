// Must say that `id` is the name of an argument, at the value of `guard`; in the body it is the argument.
use verrou::{Error, locked};

#[locked("t:<id>", guard = id)]
async fn f(id: u64) -> Result<u64, Error> {
    Ok(id + 1)
}

fn main() {}
