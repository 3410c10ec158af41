//! The signals that this process gets.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::exit::Failure;

/// Those that tell a program to end, or that mean what the program wants them to.
const PASSED_ON: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// From its making on these signals do not end this process, but are told.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listened = PASSED_ON.map(|one| Ok((one, signal(SignalKind::from_raw(one.as_raw()))?)));
        let listened: io::Result<_> = listened.into_iter().collect();
        let listened = listened.map_err(|error| Failure::of_system("listen to signals", &error))?;
        Ok(Self(listened))
    }

    /// The next one.
    ///
    /// Cancel safe: one that has come is told later.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
