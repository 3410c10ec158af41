//! `verrou run`: a command that runs while a lock is held.

use std::process::ExitStatus;
use std::time::Duration;

use verrou::{Error, LockFactory, LockGuard};

use crate::args::{Run, Target, WhenLost};
use crate::child::{Child, code_of};
use crate::exit::{Code, Failure};
use crate::place::{IfMissing, Place};
use crate::signals::Signals;

/// A command has at most so long between TERM and KILL.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn run(target: &Target, options: &Run) -> Result<Code, Failure> {
    let place = Place::connect(target, IfMissing::Create).await?;
    let locks = place.locks(target)?;
    let done = held(&locks, options).await;
    // Ends what the library has begun: a try that a signal has interrupted, a release that has failed.
    let _ = locks.close().await;
    done
}

async fn held(locks: &LockFactory, options: &Run) -> Result<Code, Failure> {
    let mut signals = Signals::listen()?;
    let keys = std::iter::once(&options.key).chain(&options.also);
    let lock = locks
        .create_lock_all(keys)
        .ttl(options.ttl)
        .wait(options.wait);
    let guard = tokio::select! {
        guard = lock.acquire() => guard?,
        signal = signals.next() => return Ok(Code::by_signal(signal.as_raw())),
    };
    let token = guard
        .token_of(&options.key)
        .unwrap_or_else(|| guard.token());
    let variables = [
        ("VERROU_KEY", options.key.clone()),
        ("VERROU_TOKEN", token.to_string()),
    ];
    let ended = match Child::start(&options.command, &variables) {
        Ok(child) => attend(child, &guard, &mut signals, options).await,
        Err(failure) => Err(failure),
    };
    let released = guard.release().await;
    match (ended?, released) {
        (End::Lost, _) => Err(Failure::new(
            Code::LOST,
            format!(
                "lost the lock `{}` while the command ran, and has ended the command; what it has half done is to be repaired by \
                 the fencing token {token}",
                options.key
            ),
        )),
        (End::OfItself(status), released) => {
            if let Err(error) = released {
                warn_of_release(error, options);
            }
            Ok(code_of(status))
        }
    }
}

/// How a command has ended.
enum End {
    OfItself(ExitStatus),
    /// By us, for the lock was lost.
    Lost,
}

/// Lets the command run to its end, or ends it while the lease is still ours.
///
/// KILL comes when the guard gives up, a margin before the store lets somebody else in; TERM comes before that by the grace.
/// A renewal has until then to succeed, and after a TERM it is too late for one.
async fn attend(
    mut child: Child,
    guard: &LockGuard,
    signals: &mut Signals,
    options: &Run,
) -> Result<End, Failure> {
    let grace = (options.ttl / 10).min(LONGEST_GRACE);
    let mut warned = false;
    loop {
        tokio::select! {
            biased;
            status = child.ended() => return Ok(End::OfItself(status?)),
            () = guard.lost(), if options.on_lost == WhenLost::Warn && !warned => {
                warned = true;
                Failure::new(Code::LOST, format!(
                    "lost the lock `{}`; the command goes on without it, as `--on-lost warn` says", options.key
                )).tell();
            }
            () = runs_out(guard, grace), if options.on_lost == WhenLost::Kill => {
                // Freed by force, it is lost already: then there is nothing to be in time for.
                let patience = if guard.is_held() { guard.remaining() } else { grace };
                child.end(patience).await?;
                return Ok(End::Lost);
            }
            signal = signals.next() => child.pass_on(signal),
        }
    }
}

/// Resolves when the lock is lost, or will be within `grace` unless it is renewed.
async fn runs_out(guard: &LockGuard, grace: Duration) {
    let nearly = async {
        loop {
            match guard.remaining().checked_sub(grace) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    };
    tokio::select! {
        () = guard.lost() => {}
        () = nearly => {}
    }
}

/// The command has ended before that, so its own end is what counts.
fn warn_of_release(error: Error, options: &Run) {
    if options.on_lost == WhenLost::Warn && error.is_lost() {
        return; // That was said.
    }
    let failure = Failure::from(error);
    failure.tell();
}
