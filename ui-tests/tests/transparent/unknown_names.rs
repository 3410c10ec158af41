// Must say what is not there: a variable, a function, a method, a type.
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64) -> Result<u64, Error> {
    let a = idd;
    let b = missing(id);
    let c: Missing = id.missing();
    Ok(a + b + c)
}

fn main() {}
