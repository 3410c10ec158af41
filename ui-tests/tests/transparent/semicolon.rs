// Must offer to remove the semicolon.
use verrou::Error;

#[verrou::locked("t")]
pub async fn f() -> Result<u8, Error> {
    Ok(1);
}

fn main() {}
