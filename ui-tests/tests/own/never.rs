// Must point at `!`.
use verrou::locked;

#[locked("t")]
async fn f() -> ! {
    std::process::exit(0)
}

fn main() {}
