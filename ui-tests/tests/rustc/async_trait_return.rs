// Must say of the same return types, below `#[async_trait]`, that they cannot carry a lock error.
use verrou::locked;

pub struct Mine;

#[async_trait::async_trait]
pub trait Jobs {
    #[locked("t")]
    async fn option(&self) -> Option<u64> {
        None
    }

    #[locked("t")]
    async fn error(&self) -> Result<u64, Mine> {
        Err(Mine)
    }
}

fn main() {}
