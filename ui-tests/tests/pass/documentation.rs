//! The examples in the documentation of `#[locked]` and `key!`, word for word.
#![deny(warnings)]

use verrou::FencingToken;

type BankError = Box<dyn std::error::Error + Send + Sync>;
type ReportError = BankError;

pub struct Account {
    id: u64,
}

async fn withdraw(_: u64, _: i64) -> Result<(), BankError> {
    Ok(())
}

async fn deposit(_: u64, _: i64) -> Result<(), BankError> {
    Ok(())
}

async fn book(_: &Account, _: &Account, _: i64, _: FencingToken) -> Result<(), BankError> {
    Ok(())
}

async fn build_report(_: &str) -> Result<(), ReportError> {
    Ok(())
}

pub mod single {
    use super::*;

    use verrou::locked;

    #[locked("transfer:<from>")]
    pub async fn transfer(from: u64, to: u64, amount: i64) -> Result<(), BankError> {
        withdraw(from, amount).await?;
        deposit(to, amount).await?;
        Ok(())
    }
}

pub mod several {
    use super::*;

    use verrou::locked;

    #[locked("account:<from.id>", "account:<to.id>", ttl = "10s", wait = "2s", guard = lock)]
    pub async fn transfer(from: &Account, to: &Account, amount: i64) -> Result<(), BankError> {
        book(from, to, amount, lock.token()).await?;
        lock.check()?;
        Ok(())
    }

    /// One worker of the fleet builds the report; the others have nothing to do.
    #[locked("report:<day>", wait = never, on_busy = skip, store = "jobs")]
    pub async fn nightly_report(day: &str) -> Result<(), ReportError> {
        build_report(day).await
    }
}

pub mod expanded {
    use super::*;

    use verrou::__private::{hold, release};
    use verrou::key;

    pub async fn transfer(from: u64, to: u64, amount: i64) -> Result<(), BankError> {
        let lock = verrou::current()?.create_lock(key!("transfer:<from>", from)?);
        let guard = lock.acquire().await?;
        let body = async move {
            // Never so; but now rustc knows what the body returns, for `?` and coercions.
            if let Some(output) = None::<Result<(), BankError>> {
                return output;
            }
            withdraw(from, amount).await?;
            deposit(to, amount).await?;
            Ok(())
        };
        // Polls the body where it stands; drops it if the lock is lost.
        let output = match hold(Some(&guard), body).await {
            Ok(output) => output,
            Err(lost) => Err(lost.into()),
        };
        release(Some(guard)).await;
        output
    }
}

pub fn main() -> Result<(), BankError> {
    use verrou::key;

    let key = key!("seat:<row>:<number>", row = "a:b", number = 7)?;
    assert_eq!(key, "seat:a%3Ab:7");
    Ok(())
}
