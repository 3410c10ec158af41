// Must say to write `async fn` with the name of the method, in an impl and in a trait.
use verrou::{Error, locked};

struct Service;

impl Service {
    #[locked("t")]
    fn run(&self) -> Result<(), Error> {
        Ok(())
    }
}

trait Jobs {
    #[locked("t")]
    fn by_default(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {
    let _ = Service.run();
}
