// Must report the lints of the user's own code as without the attribute: unused variable, `mut`, result.
#![deny(unused_variables, unused_mut, unused_must_use)]
use verrou::{Error, locked};

#[locked("t")]
pub async fn f(unused: u8) -> Result<u8, Error> {
    let mut number = 1;
    Err::<(), u8>(number);
    Ok(number)
}

fn main() {}
