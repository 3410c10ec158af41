//! `verrou check`: what a store is worth, and what a lock costs on it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use verrou::store::{Doubt, Owner, RenewRequest, StoredKey};
use verrou::{LockFactory, LockStore, Wait};

use crate::args::Target;
use crate::exit::{Code, Failure};
use crate::output::print;
use crate::place::{IfMissing, Place};

/// As many cycles are measured, or as many as there are in `LONGEST`.
const CYCLES: usize = 200;
const LONGEST: Duration = Duration::from_secs(3);

pub(crate) async fn check(target: &Target) -> Result<Code, Failure> {
    let begun = Instant::now();
    let place = Place::connect(target, IfMissing::Fail).await?;
    let connected = begun.elapsed();
    let locks = place.locks(target)?;
    let times = cycles(&locks).await?;
    let mut findings = match &place {
        Place::Redis(store) => store.warnings().iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let doubts = match &place {
        Place::Redis(store) => doubts(store).await,
        Place::Postgres(store) => doubts(store).await,
        Place::MySql(store) => doubts(store).await,
        Place::Sqlite(store) => doubts(store).await,
    };
    // A warning of the set-up and a doubt of the first renewal may be one and the same.
    findings.extend(
        doubts
            .into_iter()
            .filter(|doubt| !is_a_warning(*doubt))
            .map(said),
    );
    print(&report(&place, connected, &times, &findings))?;
    let _ = locks.close().await;
    Ok(Code::DONE)
}

/// How long each of some cycles of a free lock takes, in order.
async fn cycles(locks: &LockFactory) -> Result<Vec<Duration>, Failure> {
    // Nobody else's, and gone with its lease if this process is.
    let key = format!("verrou-check-{}-{:?}", std::process::id(), Instant::now());
    let lock = locks.create_lock(key).wait(Wait::Never);
    let begun = Instant::now();
    let mut times = Vec::new();
    // The first one opens connections and prepares statements.
    lock.acquire().await?.release().await?;
    while times.len() < CYCLES && (begun.elapsed() < LONGEST || times.is_empty()) {
        let cycle = Instant::now();
        lock.acquire().await?.release().await?;
        times.push(cycle.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// What a renewal tells of the server, beside its answer; this one is of a lease that nobody has.
async fn doubts(store: &impl LockStore) -> Vec<Doubt> {
    let (Ok(key), Ok(owner)) = (StoredKey::new("", "verrou-check"), Owner::random()) else {
        return Vec::new();
    };
    let renewal = RenewRequest::new(key, owner, Duration::from_secs(1));
    store.renew_many(vec![renewal]).await;
    store.doubts()
}

fn is_a_warning(doubt: Doubt) -> bool {
    matches!(
        doubt,
        Doubt::MayEvict | Doubt::WeakPersistence | Doubt::AsynchronousFailover
    )
}

fn said(doubt: Doubt) -> String {
    match doubt {
        Doubt::ClockSetForward { by } => {
            format!("the server's clock was set forward by {by:?}: leases ended too early")
        }
        Doubt::ClockSetBack { by } => {
            format!("the server's clock was set back by {by:?}: leases end too late")
        }
        Doubt::OtherServer => {
            "the server was started anew, or another one has taken over, a moment ago".to_owned()
        }
        doubt => format!("{doubt:?}"),
    }
}

/// What no look at a server can tell: it is so with every one of its kind.
fn remember(place: &Place) -> &'static str {
    match place {
        Place::Redis(_) => {
            "a failover, a power cut or a step of the server's clock may give a key two holders"
        }
        Place::Postgres(_) => {
            "a failover to an asynchronous standby or a step of the server's clock may give a key two holders"
        }
        Place::MySql(_) => {
            "a failover to a lagging replica or a step of the server's clock may give a key two holders"
        }
        Place::Sqlite(_) => {
            "the locks are those of one machine: the file must not be on a network file system"
        }
    }
}

fn report(place: &Place, connected: Duration, times: &[Duration], findings: &[String]) -> String {
    let at = |percent: usize| {
        times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
    };
    let mut text = format!(
        "store      {}\nconnected  in {connected:.1?}\n",
        place.name()
    );
    // Nothing that is written to a `String` fails.
    let _ = writeln!(
        text,
        "cycle      p50 {:.1?}, p99 {:.1?} over {} cycles of a free lock, one after the other",
        at(50).copied().unwrap_or_default(),
        at(99).copied().unwrap_or_default(),
        times.len()
    );
    for finding in findings {
        let _ = writeln!(text, "weak       {finding}");
    }
    if findings.is_empty() {
        text.push_str("found      nothing that weakens a promise\n");
    }
    let _ = writeln!(
        text,
        "remember   {}; docs: guarantees, fencing",
        remember(place)
    );
    text
}
