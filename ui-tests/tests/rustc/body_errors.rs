// Must blame the user's own tokens: the `;` to remove, the moved variable by its name.
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

fn main() {}
