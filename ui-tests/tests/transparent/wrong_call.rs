// Must show the function's own signature to who calls it wrongly.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64, name: &str) -> Result<usize, Error> {
    Ok(name.len() + id as usize)
}

async fn caller() -> Result<usize, Error> {
    f("x").await
}

fn main() {
    drop(caller());
}
