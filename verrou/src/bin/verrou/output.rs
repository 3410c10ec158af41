//! What is printed: tables for people, JSON for scripts.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use verrou::Holder;

use crate::exit::{Code, Failure};

/// Prints `text` on stdout, all of it or as much as the reader wants.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| match error.kind() {
        // `| head` has seen enough.
        io::ErrorKind::BrokenPipe => Failure::silent(Code::DONE),
        _ => Failure::of_system("print", &error),
    })
}

/// Prints one value, as one line or over several.
pub(crate) fn print_json(value: &Value, one_line: bool) -> Result<(), Failure> {
    match one_line {
        true => print(&format!("{value}\n")),
        false => print(&format!("{value:#}\n")),
    }
}

/// A held key for scripts.
pub(crate) fn entry(key: &str, holder: &Holder) -> Value {
    json!({
        "key": key,
        "holder": holder.holder,
        "token": holder.token.get(),
        "since": humantime::format_rfc3339_millis(holder.since).to_string(),
        "held_ms": millis(held_for(holder)),
        "remaining_ms": millis(holder.remaining),
    })
}

/// Held keys for people.
pub(crate) fn table(held: &[(String, Holder)]) -> String {
    let mut rows = vec![["KEY", "HOLDER", "TOKEN", "SINCE", "HELD", "LEFT"].map(str::to_owned)];
    rows.extend(held.iter().map(|(key, holder)| {
        [
            one_line(key),
            named(holder),
            holder.token.to_string(),
            humantime::format_rfc3339_seconds(holder.since).to_string(),
            time(held_for(holder)),
            time(holder.remaining),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Nothing that is written to a `String` fails.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Who holds it, for people.
pub(crate) fn named(holder: &Holder) -> String {
    match holder.holder.as_str() {
        "" => "(nobody; kept taken)".to_owned(),
        holder => one_line(holder),
    }
}

pub(crate) fn held_for(holder: &Holder) -> Duration {
    let held = SystemTime::now().duration_since(holder.since);
    held.unwrap_or_default()
}

/// A time in the units that matter: milliseconds up to ten seconds, seconds up to an hour, then minutes.
pub(crate) fn time(time: Duration) -> String {
    let unit = match time.as_secs() {
        0..10 => 1,
        10..3600 => 1000,
        _ => 60_000,
    };
    let millis = millis(time) / unit * unit;
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Foreign text as it may stand in a line: no line break, no terminal sequence.
pub(crate) fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || hidden {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_units_that_matter() {
        let shown = |millis| time(Duration::from_millis(millis));
        assert_eq!(shown(1234), "1s 234ms");
        assert_eq!(shown(61_234), "1m 1s");
        assert_eq!(shown(2 * 3_600_000 + 61_234), "2h 1m");
    }
}
