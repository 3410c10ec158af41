//! The proof of ownership that a store compares.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;

/// 128 random bits, made afresh for each acquisition; whoever has them can renew, hand over and release the lock.
///
/// Never printed: `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner([u8; 16]);

impl Owner {
    /// A new owner from the system's random source.
    ///
    /// # Errors
    /// When the system has no random source, which no supported system reports in normal operation.
    pub fn random() -> std::io::Result<Self> {
        Self::random_at(Moment::now())
    }

    /// [`random`](Self::random) for who knows what time it is.
    pub(crate) fn random_at(now: Moment) -> std::io::Result<Self> {
        // A thread that is ending has no stock any more.
        let drawn = STOCK.try_with(|stock| stock.borrow_mut().draw(now));
        drawn.unwrap_or_else(|_| Stock::new().draw(now))
    }

    /// The owner with these bits.
    #[must_use]
    pub const fn from_bytes(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The bits, as a driver stores them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// So many owners are asked of the system at a time: a call of it costs as much as all the rest of a lock in memory.
const OWNERS: usize = 64;
/// How long the last look at the process id holds good.
const SAME_PROCESS: Duration = Duration::from_micros(100);

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock::new()) };
}

/// Random bits that nobody has seen yet; each is given out once, and no copy of it stays here.
///
/// A child of `fork` has a copy of the stock of the thread that forked. It finds that it is another process, but asking for
/// its id is a call of the system too, and so is not done for each owner: what two processes may draw from the same stock
/// within that time differs by the nanosecond at which they draw.
struct Stock {
    bits: [u128; OWNERS],
    left: usize,
    process: u32,
    /// When `process` was last looked at.
    looked: Moment,
}

impl Stock {
    const fn new() -> Self {
        Self {
            bits: [0; OWNERS],
            left: 0,
            process: 0,
            looked: Moment::from_nanos(0),
        }
    }

    fn draw(&mut self, now: Moment) -> std::io::Result<Owner> {
        if now >= self.looked.after(SAME_PROCESS) {
            let process = std::process::id();
            if process != self.process {
                (self.left, self.process) = (0, process);
            }
            self.looked = now;
        }
        if self.left == 0 {
            self.fill()?;
        }
        self.left -= 1;
        let bits = std::mem::take(&mut self.bits[self.left]);
        Ok(Owner((bits ^ u128::from(now.as_nanos())).to_ne_bytes()))
    }

    #[cold]
    fn fill(&mut self) -> std::io::Result<()> {
        let mut fresh = [[0; 16]; OWNERS];
        getrandom::fill(fresh.as_flattened_mut()).map_err(std::io::Error::other)?;
        self.bits = fresh.map(u128::from_ne_bytes);
        self.left = OWNERS;
        Ok(())
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_differ_and_are_never_printed() -> std::io::Result<()> {
        let (one, other) = (Owner::random()?, Owner::random()?);
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "Owner(..)");
        Ok(())
    }

    #[test]
    fn no_two_owners_are_the_same_within_a_thread_or_between_two() -> std::io::Result<()> {
        let draw =
            || -> std::io::Result<Vec<Owner>> { (0..1000).map(|_| Owner::random()).collect() };
        let others = std::thread::spawn(draw);
        let mut all = draw()?;
        match others.join() {
            Ok(others) => all.extend(others?),
            Err(_) => panic!("the other thread"),
        }
        let different: std::collections::HashSet<_> = all.iter().map(Owner::as_bytes).collect();
        assert_eq!(different.len(), 2000);
        Ok(())
    }

    #[test]
    fn a_copy_of_the_stock_in_another_process_gives_other_owners() -> std::io::Result<()> {
        let now = Moment::now();
        let mut parent = Stock::new();
        parent.draw(now)?;
        let copy = |process| Stock {
            bits: parent.bits,
            left: parent.left,
            process,
            looked: now,
        };
        let (mut soon, mut later) = (copy(parent.process), copy(parent.process.wrapping_add(1)));
        let next = parent.draw(now)?;
        assert_ne!(soon.draw(now.after(Duration::from_nanos(1)))?, next);
        later.draw(now.after(SAME_PROCESS))?;
        assert_eq!(later.left, OWNERS - 1, "it has asked for bits of its own");
        Ok(())
    }
}
