// Must say that this function has no `self`; that `slef` is probably `self`, with the whole placeholder.
use verrou::{Error, locked};

struct Service {
    id: u64,
}

impl Service {
    #[locked("t:<self.id>")]
    async fn open(id: u64) -> Result<Self, Error> {
        Ok(Self { id })
    }

    #[locked("t:<slef.id>")]
    async fn run(&self) -> Result<u64, Error> {
        Ok(self.id)
    }
}

fn main() {}
