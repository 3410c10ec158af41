// Must say that `Option<u64>` and `u8` cannot carry a lock error, at the whole return type, once each.
use verrou::locked;

#[locked("t")]
pub async fn option() -> Option<u64> {
    None
}

#[locked("t")]
pub async fn number() -> u8 {
    1
}

fn main() {}
