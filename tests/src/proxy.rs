//! A link that can be broken: a TCP proxy between a store and its server, told from any thread what it does to them.
//!
//! It runs on a thread of its own, whatever the runtime of the test does.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

/// What a proxy does, to connections that exist and to new ones alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "the tests handle all of them")]
pub enum Link {
    /// Passes everything on.
    Open,
    /// Closes every connection, new ones at once. What was on its way is gone.
    Cut,
    /// A black hole: takes connections and what is sent, and passes nothing on in either direction; nobody sees a
    /// connection end. When it is over, all of it arrives late, as after a partition that heals.
    Silent,
    /// Passes requests on, and keeps the replies until it is over.
    Deaf,
    /// Passes each reply on that much later, in the order in which they came.
    Delayed(Duration),
}

/// What has gone through a proxy since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a test reads all of it")]
pub struct Traffic {
    /// Connections taken, those closed at once by [`Link::Cut`] too.
    pub connections: u64,
    /// Of these, how many are there now.
    pub open: u64,
    /// Bytes that have arrived at the server.
    pub requested: u64,
    /// Bytes that have arrived at the clients.
    pub replied: u64,
    /// Replies thrown away by [`Proxy::swallow_next_reply_and_cut`].
    pub swallowed: u64,
}

/// A port of the loopback that leads to another one. When it is dropped, every connection through it ends.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    target: u16,
    shared: Arc<Shared>,
    state: watch::Sender<State>,
    /// Dropping it ends the thread.
    leash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    link: Link,
    /// Where new connections lead.
    target: u16,
    /// How often it was cut: a connection does not live through one, however short.
    cuts: u64,
}

#[derive(Debug, Default)]
struct Shared {
    swallow: AtomicBool,
    connections: AtomicU64,
    open: AtomicU64,
    requested: AtomicU64,
    replied: AtomicU64,
    swallowed: AtomicU64,
}

impl Proxy {
    /// One in front of `port` of the loopback, open.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn to(port: u16) -> Self {
        match Self::start(port) {
            Ok(proxy) => proxy,
            Err(error) => panic!("no proxy to port {port}: {error}"),
        }
    }

    fn start(target: u16) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        };
        let port = listener.local_addr()?.port();
        let link = Link::Open;
        let (state, seen) = watch::channel(State {
            link,
            target,
            cuts: 0,
        });
        let (leash, released) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let serving = serve(listener, seen, shared.clone());
        let thread = std::thread::Builder::new().name("proxy".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = released => {}
                    () = serving => {}
                }
            });
        })?;
        Ok(Self {
            port,
            target,
            shared,
            state,
            leash: Some(leash),
            thread: Some(thread),
        })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the server, through the proxy.
    ///
    /// # Panics
    /// If it does not name the server's port.
    #[must_use]
    pub fn through(&self, url: &str) -> String {
        let (direct, through) = (format!(":{}", self.target), format!(":{}", self.port));
        assert!(url.contains(&direct), "the URL names another port");
        url.replacen(&direct, &through, 1)
    }

    /// Leads new connections to another port; those that are there stay, as after a failover that moves a name.
    pub fn lead_to(&self, port: u16) {
        self.state.send_modify(|state| state.target = port);
    }

    /// What it does from now on.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| {
            state.link = link;
            state.cuts += u64::from(link == Link::Cut);
        });
    }

    /// What it does now.
    #[must_use]
    pub fn link(&self) -> Link {
        self.state.borrow().link
    }

    /// Throws the next reply away, whichever connection it comes on, and closes that connection: the request was executed,
    /// and nobody knows. Once.
    pub fn swallow_next_reply_and_cut(&self) {
        self.shared.swallow.store(true, Ordering::SeqCst);
    }

    /// What has gone through so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Traffic {
            connections: read(&self.shared.connections),
            open: read(&self.shared.open),
            requested: read(&self.shared.requested),
            replied: read(&self.shared.replied),
            swallowed: read(&self.shared.swallowed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.leash.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, state: watch::Receiver<State>, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, or a client that has gone already.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut state = state.clone();
        let begun = *state.borrow_and_update();
        if begun.link == Link::Cut {
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            let mut cut = state.clone();
            tokio::select! {
                _ = cut.wait_for(|state| state.cuts != begun.cuts) => {}
                _ = pass(client, begun.target, state, &shared) => {}
            }
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One connection, until both sides have ended it, or one of them has failed.
async fn pass(
    mut client: TcpStream,
    target: u16,
    mut state: watch::Receiver<State>,
    shared: &Shared,
) -> io::Result<()> {
    // Nobody there hears of a connection made in silence.
    gate(&mut state, |link| link != Link::Silent).await;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ((requests, mut asked), (replies, mut answered)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let up = read(&mut from_client, requests, || false);
    let down = read(&mut from_server, replies, || {
        let swallow = shared.swallow.swap(false, Ordering::SeqCst);
        shared
            .swallowed
            .fetch_add(u64::from(swallow), Ordering::SeqCst);
        swallow
    });
    let mut gates = (state.clone(), state);
    let ask = async {
        while let Some((_, bytes)) = asked.recv().await {
            gate(&mut gates.0, |link| link != Link::Silent).await;
            deliver(&mut to_server, &bytes, &shared.requested).await?;
        }
        gate(&mut gates.0, |link| link != Link::Silent).await;
        to_server.shutdown().await
    };
    let answer = async {
        while let Some((came, bytes)) = answered.recv().await {
            reply_is_due(&mut gates.1, came).await;
            deliver(&mut to_client, &bytes, &shared.replied).await?;
        }
        reply_is_due(&mut gates.1, Instant::now()).await;
        to_client.shutdown().await
    };
    tokio::try_join!(up, down, ask, answer).map(drop)
}

type Bytes = (Instant, Vec<u8>);

/// Reads all there is, until the end or until `stop` says so of what has come.
async fn read(
    from: &mut (impl AsyncRead + Unpin),
    into: mpsc::UnboundedSender<Bytes>,
    stop: impl Fn() -> bool,
) -> io::Result<()> {
    let mut bytes = vec![0; 65536];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if stop() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        // The other half has failed, and ends the connection.
        let _ = into.send((Instant::now(), bytes[..count].to_vec()));
    }
}

async fn deliver(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    counter: &AtomicU64,
) -> io::Result<()> {
    to.write_all(bytes).await?;
    counter.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Ok(())
}

/// Waits for a link that `passes`; at the end of the proxy nothing does.
async fn gate(state: &mut watch::Receiver<State>, passes: impl Fn(Link) -> bool) {
    if state.wait_for(|state| passes(state.link)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until a reply that `came` then may be passed on.
async fn reply_is_due(state: &mut watch::Receiver<State>, came: Instant) {
    loop {
        let link = state.borrow_and_update().link;
        match link {
            Link::Open => return,
            Link::Delayed(delay) => {
                tokio::select! {
                    () = tokio::time::sleep_until((came + delay).into()) => return,
                    _ = state.changed() => {}
                }
            }
            Link::Cut | Link::Silent | Link::Deaf => gate(state, passes_replies).await,
        }
    }
}

fn passes_replies(link: Link) -> bool {
    matches!(link, Link::Open | Link::Delayed(_))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// Says back what it hears, and counts how much that was.
    fn echo() -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(AtomicU64::new(0));
        let counter = heard.clone();
        std::thread::spawn(move || {
            while let Ok((mut one, _)) = listener.accept() {
                let counter = counter.clone();
                std::thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(count @ 1..) = one.read(&mut bytes) {
                        counter.fetch_add(count as u64, Ordering::SeqCst);
                        if one.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (port, heard)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        client.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        client
    }

    fn hears(client: &mut TcpStream, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected.as_bytes());
    }

    fn hears_nothing(client: &mut TcpStream) {
        client.set_read_timeout(Some(SHORT)).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        client.set_read_timeout(Some(crate::DEADLINE)).unwrap();
    }

    fn is_closed(client: &mut TcpStream) -> bool {
        // An end, or a reset if something was on its way; never a timeout.
        match client.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn until(what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < crate::DEADLINE, "in vain until {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn an_open_link_passes_all_on_and_counts_it() {
        let proxy = Proxy::to(echo().0);
        let (mut one, mut other) = (connect(&proxy), connect(&proxy));
        one.write_all(b"one").unwrap();
        other.write_all(b"other").unwrap();
        hears(&mut other, "other");
        hears(&mut one, "one");
        let traffic = proxy.traffic();
        assert_eq!((traffic.connections, traffic.open), (2, 2));
        // A reply is counted once it was written, which may be after it is read.
        until("all is counted", || proxy.traffic().replied == 8);
        assert_eq!((traffic.requested, traffic.swallowed), (8, 0));
        drop(one);
        until("the end goes through", || proxy.traffic().open == 1);
        drop(proxy);
        assert!(is_closed(&mut other));
    }

    #[test]
    fn a_cut_ends_old_connections_and_new_ones_however_short_it_is() {
        let proxy = Proxy::to(echo().0);
        let mut old = connect(&proxy);
        old.write_all(b"old").unwrap();
        hears(&mut old, "old");
        proxy.set(Link::Cut);
        assert!(is_closed(&mut connect(&proxy)));
        assert!(is_closed(&mut old));
        proxy.set(Link::Open);
        let mut new = connect(&proxy);
        new.write_all(b"new").unwrap();
        hears(&mut new, "new");
        proxy.set(Link::Cut);
        proxy.set(Link::Open);
        assert!(is_closed(&mut new));
    }

    #[test]
    fn what_is_said_in_silence_arrives_late() {
        let (port, heard) = echo();
        let proxy = Proxy::to(port);
        let mut old = connect(&proxy);
        old.write_all(b"old").unwrap();
        hears(&mut old, "old");
        proxy.set(Link::Silent);
        let mut new = connect(&proxy);
        old.write_all(b"late").unwrap();
        new.write_all(b"new").unwrap();
        hears_nothing(&mut old);
        hears_nothing(&mut new);
        assert_eq!(heard.load(Ordering::SeqCst), 3);
        proxy.set(Link::Open);
        hears(&mut old, "late");
        hears(&mut new, "new");
    }

    #[test]
    fn a_deaf_link_passes_requests_only() {
        let (port, heard) = echo();
        let proxy = Proxy::to(port);
        proxy.set(Link::Deaf);
        let mut client = connect(&proxy);
        client.write_all(b"request").unwrap();
        until("the request is there", || heard.load(Ordering::SeqCst) == 7);
        hears_nothing(&mut client);
        proxy.set(Link::Open);
        hears(&mut client, "request");
    }

    #[test]
    fn delayed_replies_keep_their_order_and_do_not_add_up() {
        let proxy = Proxy::to(echo().0);
        proxy.set(Link::Delayed(SHORT));
        let mut client = connect(&proxy);
        let begun = Instant::now();
        for _ in 0..20 {
            client.write_all(b"a").unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        hears(&mut client, "a");
        assert!(begun.elapsed() >= SHORT);
        hears(&mut client, &"a".repeat(19));
        assert!(begun.elapsed() < 10 * SHORT, "{:?}", begun.elapsed());
        proxy.set(Link::Delayed(crate::DEADLINE * 2));
        client.write_all(b"b").unwrap();
        hears_nothing(&mut client);
        proxy.set(Link::Open);
        hears(&mut client, "b");
    }

    #[test]
    fn a_swallowed_reply_was_a_reply_to_an_executed_request() {
        let (port, heard) = echo();
        let proxy = Proxy::to(port);
        let (mut client, mut other) = (connect(&proxy), connect(&proxy));
        proxy.swallow_next_reply_and_cut();
        client.write_all(b"executed").unwrap();
        assert!(is_closed(&mut client));
        assert_eq!(heard.load(Ordering::SeqCst), 8);
        other.write_all(b"other").unwrap();
        hears(&mut other, "other");
        assert_eq!(proxy.traffic().swallowed, 1);
    }

    #[test]
    fn a_url_leads_through_it() {
        let proxy = Proxy::to(echo().0);
        let (direct, port) = (proxy.target, proxy.port());
        assert_eq!(
            proxy.through(&format!("redis://:secret@127.0.0.1:{direct}/1")),
            format!("redis://:secret@127.0.0.1:{port}/1")
        );
    }
}
