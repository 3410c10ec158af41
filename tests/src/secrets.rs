//! What must not be shown, and all that is: events, spans, the records of `log`, `Debug`, errors with their sources.

use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One event, or what a span carries, in one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// As important as this.
    pub level: Level,
    /// Whose it is.
    pub target: String,
    /// Its fields.
    pub text: String,
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// Begins to collect every event and span of this process, of every target and level.
///
/// # Panics
/// If another collector is there already.
pub fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let events = tracing::subscriber::set_global_default(Collector);
        assert!(events.is_ok(), "another collector of events");
        assert!(
            log::set_logger(&Collector).is_ok(),
            "another collector of records"
        );
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// All that was collected so far.
pub fn seen() -> MutexGuard<'static, Vec<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Collector;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

fn keep(level: Level, target: &str, fill: impl FnOnce(&mut Line)) {
    let mut line = Line(String::new());
    fill(&mut line);
    seen().push(Seen {
        level,
        target: target.to_owned(),
        text: line.0,
    });
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        keep(*metadata.level(), metadata.target(), |line| {
            span.record(line);
        });
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        keep(Level::TRACE, "", |line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        keep(*metadata.level(), metadata.target(), |line| {
            event.record(line);
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        keep(Level::TRACE, record.target(), |line| {
            line.0 = record.args().to_string();
        });
    }

    fn flush(&self) {}
}

/// What was shown, and what must not be in it.
#[derive(Default)]
pub struct Secrets {
    shown: String,
    words: Vec<String>,
    owners: Vec<Vec<u8>>,
}

impl Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Those with these words in any of their forms.
    #[must_use]
    pub fn new(words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            words,
            ..Self::default()
        }
    }

    /// Adds a word that must not be shown.
    pub fn hide(&mut self, word: &str) {
        self.words.push(word.to_owned());
    }

    /// Adds owners that must not be shown, as bytes, hex, or numbers.
    ///
    /// # Panics
    /// If one is no owner.
    pub fn hide_owners(&mut self, owners: impl IntoIterator<Item = Vec<u8>>) {
        for owner in owners {
            assert_eq!(owner.len(), 16, "an owner has 16 bytes");
            self.owners.push(owner);
        }
    }

    /// Shows the `Debug` of `what`.
    pub fn show(&mut self, what: &(impl Debug + ?Sized)) {
        let _ = writeln!(self.shown, "{what:?} {what:#?}");
    }

    /// Shows all that `error` and its sources say.
    pub fn show_error(&mut self, error: &dyn Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            let _ = writeln!(self.shown, "{error} {error:#}");
            self.show(error);
            next = error.source();
        }
    }

    /// Shows the error of `result`.
    ///
    /// # Panics
    /// If there is none.
    pub fn failed<T, E: Error>(&mut self, what: &str, result: Result<T, E>) {
        match result {
            Ok(_) => panic!("{what} is no failure"),
            Err(error) => self.show_error(&error),
        }
    }

    /// How many owners are known.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.owners.len()
    }

    /// Fails if anything that was shown or collected has a secret.
    ///
    /// # Panics
    /// If so, with the line.
    pub fn check(&self) {
        let mut lines: Vec<String> = self.shown.lines().map(str::to_owned).collect();
        lines.extend(
            seen()
                .iter()
                .map(|seen| format!("{} {}", seen.target, seen.text)),
        );
        let all = lines.join("\n");
        let mut forms = self.words.clone();
        for owner in &self.owners {
            let hex: String = owner.iter().map(|byte| format!("{byte:02x}")).collect();
            forms.extend([
                hex.to_uppercase(),
                hex,
                owner.escape_ascii().to_string(),
                String::from_utf8_lossy(owner).into_owned(),
            ]);
        }
        // However they are indented.
        let numbers: String = all.split_whitespace().collect();
        for owner in &self.owners {
            let list = format!("{owner:?}").replace([' ', '[', ']'], "");
            assert!(!numbers.contains(&list), "the bytes of an owner are shown");
        }
        let mut leaks = Vec::new();
        for form in forms.iter().filter(|form| all.contains(*form)) {
            let found = lines.iter().filter(|line| line.contains(form)).take(3);
            leaks.extend(found.map(|line| format!("`{form}` is shown: {line}")));
        }
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}
