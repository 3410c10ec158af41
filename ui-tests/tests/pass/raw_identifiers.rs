//! Raw identifiers on either side.
#![deny(warnings)]

use verrou::locked;

#[locked("<type>:<r#match>:<plain>:<r#type.r#fn>", "<type.fn>", guard = r#loop)]
pub async fn r#async(r#type: Kind, r#match: u8, r#plain: u8) -> Result<u8, verrou::Error> {
    r#loop.check()?;
    Ok(r#type.r#fn + r#match + plain)
}

pub struct Kind {
    pub r#fn: u8,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.r#fn.fmt(f)
    }
}

pub fn main() {}
