//! An address that leads to one server, and later to another.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Leads new connections to another port of the loopback, and leaves those that are there, as a failover does that moves a name.
#[derive(Debug)]
pub struct Switch {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Switch {
    /// Leads to `target` at first.
    ///
    /// # Panics
    /// If there is no port to listen on.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (port, listener) =
            bound.unwrap_or_else(|error| panic!("cannot listen for a switch: {error}"));
        let target = Arc::new(AtomicU16::new(target));
        let leads = target.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let port = leads.load(Ordering::SeqCst);
                // The client sees a server that is not there.
                let _ = join(client, port);
            }
        });
        Self { port, target }
    }

    /// Leads to `target` from now on.
    pub fn turn(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn join(client: TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
    Ok(())
}
