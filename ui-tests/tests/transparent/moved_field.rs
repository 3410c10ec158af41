// Must name the field that was moved out of an argument.
use verrou::Error;

pub struct Pair {
    pub a: String,
    pub b: String,
}

#[verrou::locked("t:<pair.b>")]
pub async fn f(pair: Pair) -> Result<Pair, Error> {
    drop(pair.a);
    Ok(pair)
}

fn main() {}
