// Must ask for a `Result`, at the name of the function, for each way to return nothing.
use verrou::locked;

#[locked("t")]
async fn unit() -> () {}

struct Service;

impl Service {
    #[locked("t")]
    async fn method(&self) {}
}

#[locked("t")]
fn boxed() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {})
}

fn main() {
    drop(Service.method());
}
