// Must say that different arguments would make one key, which characters separate, and show an example.
use verrou::{Error, locked};

#[locked("<a><b>", "t:<a>-<b>", "t:<a>%<b>/<a>x<b>")]
async fn f(a: &str, b: &str) -> Result<usize, Error> {
    Ok(a.len() + b.len())
}

fn main() {}
