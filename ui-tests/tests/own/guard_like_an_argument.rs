// Must say that `id` is the name of an argument, at the value of `guard`.
use verrou::{Error, locked};

#[locked("t:<id>", guard = id)]
async fn f(id: u64) -> Result<(), Error> {
    id.check()
}

fn main() {}
