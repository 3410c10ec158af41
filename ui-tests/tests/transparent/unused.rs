// Must report every lint of the user's own code: arguments, variables, `mut`, results, imports, unreachable code.
#![deny(unused)]
use verrou::Error;

#[verrou::locked("t:<id>")]
pub async fn f(id: u64, unused: u8) -> Result<u64, Error> {
    use std::rc::Rc;
    let mut number = id;
    let extra = 1;
    Err::<(), u64>(number);
    Ok(number)
}

#[verrou::locked("t")]
pub async fn g() -> Result<u64, Error> {
    return Ok(1);
    let _ = 2;
}

fn main() {}
