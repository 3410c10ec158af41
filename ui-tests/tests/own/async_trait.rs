// Must report the same mistakes below `#[async_trait]`, and know the names in patterns.
use verrou::{Error, locked};

#[async_trait::async_trait]
trait Jobs {
    #[locked("t:<rigth>", tll = "1s")]
    async fn run(&self, (left, right): (u8, u8)) -> Result<u8, Error> {
        Ok(left + right)
    }

    #[locked("t")]
    async fn nothing(&self) {}

    #[locked("t")]
    async fn declared(&self) -> Result<u8, Error>;
}

fn main() {}
