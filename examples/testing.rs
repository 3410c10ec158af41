//! Production code on `#[locked]`, and its test on a store in memory: nothing in the code changes.
//!
//! Run it: `cargo test -p examples --example testing`, or with `run` to see the same by hand.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::atomic::{AtomicU32, Ordering};

use verrou::{Verrou, drivers::MemoryStore, locked};

/// Production code: reads, thinks, writes. Without the lock, two of them would overwrite each other.
#[locked("stock:<item>", wait = "5s")]
async fn take_one(item: &str, stock: &AtomicU32) -> Result<bool, verrou::Error> {
    let left = stock.load(Ordering::Relaxed);
    tokio::task::yield_now().await;
    if left == 0 {
        return Ok(false);
    }
    stock.store(left - 1, Ordering::Relaxed);
    Ok(true)
}

/// An instance for one test, which shares nothing with the others.
fn in_memory() -> Result<Verrou, verrou::Error> {
    Verrou::builder().store("jobs", MemoryStore::new()).build()
}

async fn sell_out() -> Result<u32, verrou::Error> {
    let stock = AtomicU32::new(3);
    let buyers = tokio::join!(
        take_one("lamp", &stock),
        take_one("lamp", &stock),
        take_one("lamp", &stock),
        take_one("lamp", &stock)
    );
    let sold = [buyers.0?, buyers.1?, buyers.2?, buyers.3?];
    Ok(sold.into_iter().map(u32::from).sum())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), verrou::Error> {
    let sold = in_memory()?.scope(sell_out()).await?;
    println!("4 buyers, 3 lamps, {sold} sold");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_lamp_is_sold_twice() -> Result<(), verrou::Error> {
        assert_eq!(in_memory()?.scope(sell_out()).await?, 3);
        Ok(())
    }

    #[tokio::test]
    async fn a_lamp_that_is_being_sold_is_waited_for() -> Result<(), verrou::Error> {
        let verrou = in_memory()?;
        let selling = verrou.create_lock("stock:lamp").acquire().await?;
        let stock = AtomicU32::new(1);
        let buyer = verrou.scope(take_one("lamp", &stock));
        let mut buyer = std::pin::pin!(buyer);
        tokio::select! {
            biased;
            bought = &mut buyer => panic!("bought {bought:?} while another was selling"),
            () = tokio::task::yield_now() => {}
        }
        selling.release().await?;
        assert!(buyer.await?);
        Ok(())
    }
}
