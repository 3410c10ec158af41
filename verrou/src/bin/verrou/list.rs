//! `verrou list`: who holds what.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use verrou::{Holder, LockFactory};

use crate::args::{List, Target};
use crate::exit::{Code, Failure};
use crate::output;
use crate::place::{IfMissing, Place};

/// Who watches asks the store no more often. A page is two round trips on Redis, so that is four a second.
const PAUSE: Duration = Duration::from_millis(500);

/// Clears the screen, and begins on top of it.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

pub(crate) async fn list(target: &Target, options: &List) -> Result<Code, Failure> {
    let place = Place::connect(target, IfMissing::Fail).await?;
    let locks = place.locks(target)?;
    loop {
        // Printed when all of it is there: a script gets the whole of a look, or an exit code.
        let held = look(&locks, options).await?;
        show(&held, target, options)?;
        if !options.watch {
            break;
        }
        tokio::time::sleep(2 * PAUSE).await;
    }
    let _ = locks.close().await;
    Ok(Code::DONE)
}

/// All pages.
async fn look(locks: &LockFactory, options: &List) -> Result<Vec<(String, Holder)>, Failure> {
    let mut pages = locks.list_pages(&options.prefix);
    // A page has no order, and a key may come twice.
    let mut all = BTreeMap::new();
    loop {
        let next = Instant::now() + PAUSE;
        let Some(page) = pages.next().await? else {
            return Ok(all.into_iter().collect());
        };
        all.extend(page);
        if options.watch && pages.has_next() {
            sleep_until(next).await;
        }
    }
}

fn show(held: &[(String, Holder)], target: &Target, options: &List) -> Result<(), Failure> {
    if options.json {
        let entries = held.iter().map(|(key, holder)| output::entry(key, holder));
        return output::print_json(&Value::Array(entries.collect()), options.watch);
    }
    let mut text = match held {
        [] => nothing(target, options),
        held => output::table(held),
    };
    if options.watch && std::io::stdout().is_terminal() {
        text.insert_str(0, CLEAR);
    }
    output::print(&text)
}

fn nothing(target: &Target, options: &List) -> String {
    let mut text = match options.prefix.as_str() {
        "" => "no key is held".to_owned(),
        prefix => format!(
            "no key is held that begins with `{}`",
            output::one_line(prefix)
        ),
    };
    match &target.namespace {
        Some(namespace) => {
            text = format!("{text}, in the namespace `{}`", output::one_line(namespace))
        }
        None => text.push_str("; if your application has a namespace, say it: `--namespace NS`"),
    }
    text.push('\n');
    text
}
