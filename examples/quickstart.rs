//! One at a time, in a few lines. Run it: `cargo run -p examples --example quickstart`

use verrou::{Verrou, drivers::MemoryStore, locked};

#[locked("greeting:<name>")]
async fn greet(name: &str) -> Result<usize, verrou::Error> {
    Ok(name.len()) // nobody else is in here with the same name
}

#[tokio::main]
async fn main() -> Result<(), verrou::Error> {
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    verrou::init(verrou)?;
    let (one, other) = tokio::try_join!(greet("ada"), greet("ada"))?;
    assert_eq!((one, other), (3, 3));
    Ok(())
}
