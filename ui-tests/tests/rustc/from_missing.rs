// Must say that `Mine` cannot be made from `verrou::Error`, at the whole return type, once.
use verrou::locked;

pub struct Mine;

#[locked("t")]
pub async fn f() -> Result<u8, Mine> {
    Err(Mine)
}

fn main() {}
