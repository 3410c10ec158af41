// Must ask for a box, at the function.
use verrou::Error;

#[verrou::locked("t:<n>")]
pub async fn f(n: u8) -> Result<u8, Error> {
    if n == 0 { Ok(0) } else { f(n - 1).await }
}

fn main() {}
