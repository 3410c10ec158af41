// Must name the two lifetimes.
use verrou::Error;

#[verrou::locked("t:<a>")]
pub async fn f<'a, 'b>(a: &'a str, b: &'b str) -> Result<&'a str, Error> {
    Ok(if a.is_empty() { b } else { a })
}

fn main() {}
