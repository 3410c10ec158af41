// Must point at the name, and say to return `Result<(), E>` with `E: From<verrou::Error>`.
use verrou::locked;

#[locked("t")]
async fn nothing() {}

#[locked("t")]
async fn unit() -> () {}

fn main() {}
