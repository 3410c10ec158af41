// Must ask for `unsafe`, where it is needed.
use verrou::Error;

#[verrou::locked("t")]
pub async fn f(pointer: &*const u8) -> Result<u8, Error> {
    Ok(**pointer)
}

fn main() {}
