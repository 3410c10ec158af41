// Must point at the body that returns nothing.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64) -> Result<u64, Error> {
    let _ = id + 1;
}

fn main() {}
