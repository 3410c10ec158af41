// Must say that a key is a string literal, at each of the literals that are none.
use verrou::{Error, locked};

#[locked(c"x", 'x', 1.5, true, r"raw", r#"also <id>"#)]
async fn f(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
