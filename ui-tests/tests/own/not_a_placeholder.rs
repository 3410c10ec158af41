// Must say for each what a placeholder is: an argument or a field path. `<>` is called empty.
use verrou::{Error, locked};

#[locked("a:<id.len()>", "b:<id[0]>", "c:<1x>", "d:< id>", "e:<&id>", "f:<>", "g:< >")]
async fn f(id: &str) -> Result<usize, Error> {
    Ok(id.len())
}

#[locked("a:<id.self>")]
async fn g(id: &str) -> Result<usize, Error> {
    Ok(id.len())
}

fn main() {}
