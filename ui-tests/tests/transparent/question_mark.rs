// Must say that `?` cannot make the function's error of the other, at the `?`.
use verrou::Error;

#[verrou::locked("t:<text>")]
pub async fn f(text: &str) -> Result<u8, Mine> {
    let number: u8 = text.parse()?;
    Ok(number)
}

pub struct Mine;
impl From<Error> for Mine {
    fn from(_: Error) -> Self {
        Self
    }
}

fn main() {}
