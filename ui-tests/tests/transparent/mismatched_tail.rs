// Must expect the return type, at the tail.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64) -> Result<String, Error> {
    let text = id;
    Ok(text)
}

fn main() {}
