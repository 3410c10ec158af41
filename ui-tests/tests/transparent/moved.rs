// Must name the moved variable and show the move.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: String) -> Result<String, Error> {
    drop(id);
    Ok(id)
}

fn main() {}
