//! Lifetimes in arguments, returns, receivers and bounds.
#![deny(warnings)]

use std::borrow::Cow;
use std::collections::HashMap;

use verrou::{Error, locked};

pub struct View<'a> {
    name: &'a str,
    map: HashMap<&'a str, String>,
}

impl<'a> View<'a> {
    #[locked("t:<self.name>")]
    pub async fn elided(&self) -> Result<&str, Error> {
        Ok(self.name)
    }

    #[locked("t:<self.name>")]
    pub async fn named(&self) -> Result<&'a str, Error> {
        Ok(self.name)
    }

    #[locked("t:<self.name>:<key>")]
    pub async fn entry<'s>(&'s mut self, key: &'a str) -> Result<&'s mut String, Error> {
        Ok(self.map.entry(key).or_default())
    }

    #[locked("t:<key>")]
    pub async fn two<'k>(&self, key: &'k str) -> Result<(Cow<'k, str>, Cow<'_, str>), Error> {
        Ok((key.into(), self.name.into()))
    }
}

#[locked("t:<a>")]
pub async fn longest<'l>(a: &'l str, b: &'l str) -> Result<&'l str, Error> {
    Ok(if a.len() > b.len() { a } else { b })
}

#[locked("t")]
pub async fn higher_ranked<F>(f: F) -> Result<usize, Error>
where
    F: for<'x> Fn(&'x str) -> &'x str,
{
    Ok(f("x").len())
}

#[locked("t:<text>")]
pub async fn a_reference_to_a_reference(text: &&str, list: &mut Vec<&'static str>) -> Result<(), Error> {
    list.push("x");
    Ok(())
}

pub fn main() {}
