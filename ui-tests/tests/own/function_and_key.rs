// Must report, for each function, what is wrong with it and the misspelt placeholder, in one compile.
use verrou::{Error, locked};

#[locked("t:<idd>", tll = "1s")]
fn not_async(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[locked("t:<idd>")]
const fn constant(id: u64) -> u64 {
    id
}

#[locked("t:<idd>")]
async fn returns_nothing(id: u64) {
    let _ = id;
}

#[locked("t:<idd>")]
#[locked("u")]
async fn twice(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    let _ = (not_async(1), constant(1));
}
