// Must point at `const`.
use verrou::locked;

#[locked("t")]
const fn f() -> u8 {
    1
}

fn main() {}
