// Must say to put it on the implementations, at `fn`.
use verrou::{Error, locked};

trait Jobs {
    #[locked("t")]
    async fn run(&self) -> Result<(), Error>;
}

fn main() {}
