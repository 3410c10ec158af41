// Must show both borrows, by the variable's name.
use verrou::Error;

#[verrou::locked("t")]
pub async fn f(mut list: Vec<u8>) -> Result<u8, Error> {
    let first = &list[0];
    list.push(1);
    Ok(*first)
}

fn main() {}
