// Must say which local does not live long enough.
use verrou::Error;

#[verrou::locked("t")]
pub async fn f<'a>() -> Result<&'a str, Error> {
    let text = String::new();
    Ok(&text)
}

fn main() {}
