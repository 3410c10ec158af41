// Must ask for a `Result`, at the name of the function, for each way to return nothing.
use verrou::locked;

#[locked("t")]
async fn unit() -> () {}

macro_rules! returning {
    ($name:ident, $ret:ty) => {
        #[locked("t")]
        async fn $name() -> $ret {}
    };
}

returning!(by_macro, ());

#[locked("t")]
#[allow(unused_parens)]
async fn in_parentheses() -> (()) {}

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
