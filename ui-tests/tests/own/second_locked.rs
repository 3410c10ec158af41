// Must say that it can deadlock and to name all keys in one, at the second: by its path, under another name, behind a
// `cfg_attr`, with an attribute in between.
use verrou::locked as exclusive;
use verrou::{Error, locked};

#[locked("a")]
#[locked("b")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
#[verrou::locked("b")]
async fn g() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
#[exclusive("b", guard = guard)]
async fn renamed() -> Result<(), Error> {
    guard.check()
}

#[exclusive("a", guard = guard)]
#[exclusive("b")]
async fn both_renamed() -> Result<(), Error> {
    guard.check()
}

#[locked("a")]
#[cfg_attr(all(), exclusive("b"))]
async fn conditional() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
#[tracing::instrument]
#[exclusive("b")]
async fn in_between() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
#[exclusive("b")]
fn returned() -> impl Future<Output = Result<(), Error>> {
    async move { Ok(()) }
}

fn main() {}
