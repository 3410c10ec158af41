// Must ask for `mut`, at the argument and at the local.
use verrou::Error;

#[verrou::locked("t:<list.len>")]
pub async fn f(list: List) -> Result<List, Error> {
    let count = 0;
    count += 1;
    list.len = count;
    Ok(list)
}

pub struct List {
    pub len: u8,
}

fn main() {}
