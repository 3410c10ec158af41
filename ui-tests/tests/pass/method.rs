//! Inherent methods with every kind of receiver; a borrowed return.
#![deny(warnings)]

use std::pin::Pin;
use std::sync::Arc;

use verrou::{Error, locked};

pub struct Cart {
    id: u64,
    items: Vec<String>,
}

impl Cart {
    #[locked("cart:<self.id>")]
    pub async fn first(&self) -> Result<Option<&str>, Error> {
        Ok(self.items.first().map(String::as_str))
    }

    #[locked("cart:<self.id>")]
    pub async fn last_mut(&mut self) -> Result<&mut String, Error> {
        if self.items.is_empty() {
            self.items.push(String::new());
        }
        let last = self.items.len() - 1;
        Ok(&mut self.items[last])
    }

    #[locked("cart:<self.id>:<item>")]
    pub async fn with(mut self, item: String) -> Result<Self, Error> {
        self.items.push(item);
        Ok(self)
    }

    #[locked("cart:<self.id>")]
    pub async fn shared(self: Arc<Self>) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    #[locked("cart:<self.id>")]
    pub async fn pinned(self: Pin<&mut Self>) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    #[locked("cart:<id>")]
    pub async fn open(id: u64) -> Result<Self, Error> {
        Ok(Self { id, items: Vec::new() })
    }

    #[locked("cart:<self>")]
    pub async fn whole(&self) -> Result<Self, Error> {
        Ok(Self { id: self.id, items: self.items.clone() })
    }
}

impl std::fmt::Display for Cart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

pub fn main() {}
