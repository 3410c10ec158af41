// Must blame the user's own tokens: the `;` to remove, the moved variable by its name, the wrong type of the tail.
use verrou::{Error, locked};

#[locked("t")]
pub async fn semicolon() -> Result<u8, Error> {
    Ok(1);
}

#[locked("t:<id>")]
pub async fn moved(id: String) -> Result<String, Error> {
    drop(id);
    Ok(id)
}

#[locked("t")]
pub async fn wrong() -> Result<u8, Error> {
    Ok("x")
}

fn main() {}
