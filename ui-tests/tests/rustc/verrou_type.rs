// Must expect a `Verrou`, at the value.
use verrou::{Error, locked};

#[locked("t", verrou = name)]
pub async fn f(name: String) -> Result<String, Error> {
    Ok(name)
}

fn main() {}
