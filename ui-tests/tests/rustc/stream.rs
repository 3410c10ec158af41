// Must say that an iterator, or a stream, cannot carry a lock error: it would outlive the lock.
use verrou::locked;

#[locked("t")]
pub async fn numbers() -> impl Iterator<Item = u8> {
    [1, 2, 3].into_iter()
}

fn main() {}
