// Must say that the block borrows the argument, which does not live long enough, and to write `move`.
use verrou::{Error, locked};

#[locked("t:<id>")]
pub fn f(id: u64) -> impl Future<Output = Result<u64, Error>> {
    async { Ok(id) }
}

fn main() {}
