// Must name the argument that was probably meant, and draw a caret under the placeholder.
use verrou::{Error, locked};

#[locked("transfer:<form>")]
async fn transfer(from: u64, to: u64) -> Result<u64, Error> {
    Ok(from + to)
}

fn main() {}
