// Must report every lint of the user's own code: arguments, variables, `mut`, results, imports, unreachable code. An
// argument is unused also where a field, a local or a lifetime has its name.
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

pub struct P {
    pub id: u64,
}

#[verrou::locked("t")]
pub async fn field(id: u64, p: P) -> Result<u64, Error> {
    Ok(p.id)
}

#[verrou::locked("t")]
pub async fn shadow(id: u64) -> Result<u64, Error> {
    let id = 1;
    Ok(id)
}

#[verrou::locked("t")]
pub async fn lifetime<'a>(a: u64, s: &'a str) -> Result<&'a str, Error> {
    let x: &'a str = s;
    Ok(x)
}

fn main() {}
