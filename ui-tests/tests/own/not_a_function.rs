// Must say what it goes on, at the first token of each item.
use verrou::locked;

#[locked("t")]
struct Lock;

#[locked("t")]
impl Lock {}

#[locked("t")]
pub mod inner {}

#[locked("t")]
const KEY: &str = "t";

fn main() {
    let _ = (Lock, KEY);
}
