//! The spans: what they carry, when they end, and what is inside of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use verrou::drivers::MemoryStore;
use verrou::{Error, LockFactory, Verrou, Wait, locked};

const MS: Duration = Duration::from_millis(1);

/// A span as it was seen.
#[derive(Clone, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    open: bool,
    /// What was logged inside of it.
    inside: Vec<String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

#[derive(Default)]
struct Spans {
    seen: Vec<Seen>,
    entered: Vec<usize>,
}

/// Follows the spans of verrou on one thread.
#[derive(Clone, Default)]
struct Follower(Arc<Mutex<Spans>>);

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Follower {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "verrou" || metadata.target() == "app"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut seen = Seen {
            name: span.metadata().name(),
            open: true,
            ..Seen::default()
        };
        span.record(&mut seen);
        let mut spans = self.0.lock().unwrap();
        spans.seen.push(seen);
        Id::from_u64(spans.seen.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut self.0.lock().unwrap().seen[place(span)]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut spans = self.0.lock().unwrap();
        let Some(inner) = spans.entered.last().copied() else {
            return;
        };
        if event.metadata().target() == "app" {
            let mut text = Seen::default();
            event.record(&mut text);
            spans.seen[inner].inside.extend(text.fields.into_values());
        }
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(place(span));
    }

    fn exit(&self, span: &Id) {
        let mut spans = self.0.lock().unwrap();
        assert_eq!(spans.entered.pop(), Some(place(span)));
    }

    fn clone_span(&self, span: &Id) -> Id {
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.0.lock().unwrap().seen[place(&span)].open = false;
        true
    }
}

/// Runs `app` on this thread; the spans that it made.
fn followed(app: impl Future<Output = ()>) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let follower = Follower::default();
    tracing::subscriber::with_default(follower.clone(), || runtime.block_on(app));
    let spans = follower.0.lock().unwrap();
    assert!(spans.entered.is_empty());
    spans.seen.clone()
}

#[locked("order:<id>", "stock:<item>")]
async fn ship(id: u32, item: &str) -> Result<(), Error> {
    tracing::warn!(target: "app", "shipping");
    tokio::task::yield_now().await;
    tracing::warn!(target: "app", "shipped");
    Ok(())
}

#[test]
fn a_wait_and_a_hold_are_spans_and_the_body_is_inside_of_its_own() {
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()
        .unwrap();
    let spans = followed(verrou.scope(async { ship(7, "lamp").await.unwrap() }));
    assert_eq!(spans.len(), 2);
    for (span, name) in spans.iter().zip(["lock wait", "lock hold"]) {
        assert_eq!(span.name, name);
        assert!(!span.open, "{name}");
        let known: BTreeSet<_> = span.fields.keys().copied().collect();
        let fields = ["store", "template", "key", "token", "waited", "attempts"];
        assert_eq!(known, BTreeSet::from(fields), "{name}");
        assert_eq!(span.fields["store"], "memory");
        assert_eq!(span.fields["template"], "\"order:<id>, stock:<item>\"");
        assert_eq!(span.fields["key"], "order:7, stock:lamp");
        assert_eq!(span.fields["attempts"], "2");
    }
    assert_eq!(spans[0].fields["token"], spans[1].fields["token"]);
    assert_eq!(spans[1].inside, ["shipping", "shipped"]);
    assert!(spans[0].inside.is_empty());
}

#[test]
fn a_wait_that_ends_otherwise_has_no_token() {
    let locks = LockFactory::new(MemoryStore::new());
    let spans = followed(async {
        let lock = locks.create_lock("k").label("jobs");
        let _held = locks.create_lock("k").acquire().await.unwrap();
        let late = lock.clone().wait(Wait::For(2 * MS)).acquire().await;
        assert!(late.unwrap_err().is_busy());
        assert!(lock.try_acquire().await.unwrap().is_none());
        let mut dropped = Box::pin(lock.acquire());
        let soon = tokio::time::timeout(2 * MS, &mut dropped).await;
        assert!(soon.is_err());
    });
    let waits: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "lock wait")
        .collect();
    assert_eq!((waits.len(), spans.len()), (4, 5));
    for wait in &waits[1..] {
        assert!(!wait.open && !wait.fields.contains_key("token"));
        assert_eq!(wait.fields["template"], "\"jobs\"");
    }
    assert!(waits[1].fields.contains_key("waited"));
    assert!(waits[2].fields.contains_key("waited"));
    assert!(!waits[3].fields.contains_key("waited"), "it was cancelled");
}
