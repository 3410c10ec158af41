// Must expect the return type, at the value of `return`, and show where it is said.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64) -> Result<u64, Error> {
    if id > 0 {
        return id;
    }
    Ok(id)
}

fn main() {}
