//! Durations written as text, as in `ttl = "30s"`: read and checked when the user compiles.

use std::time::Duration;

use humantime::DurationError as Error;

use crate::errors::nearest;

/// The bounds of the library, which checks again at run time.
const MIN_TTL: Duration = Duration::from_millis(10);
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const MIN_DELAY: Duration = Duration::from_millis(1);

const HELP: &str = "\n  help: a number and a unit, as in \"500ms\", \"30s\", \"5m\" or \"1h\"";

const UNITS: [&str; 27] = [
    "ns", "us", "ms", "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute",
    "minutes", "h", "hr", "hrs", "hour", "hours", "d", "day", "days", "week", "weeks", "month",
    "months", "year", "years",
];

/// Reads `text`, the value of `option`, and checks it against the bounds of that option.
pub(crate) fn parse(option: &str, text: &str) -> Result<Duration, String> {
    let duration = read(text).map_err(|reason| format!("invalid `{option}`: {reason}"))?;
    match option {
        "ttl" if duration.is_zero() => Err(
            "`ttl` must be longer than zero: a lock that expires at once protects nothing".into(),
        ),
        "ttl" if duration < MIN_TTL => {
            Err("`ttl` must be at least 10ms: a shorter lease cannot be renewed in time".into())
        }
        "ttl" if duration > MAX_TTL => Err(
            "`ttl` must be at most 3650 days: renewal keeps a lock for as long as it is wanted"
                .into(),
        ),
        "max_hold" if duration < MIN_TTL => Err("`max_hold` must be at least 10ms".into()),
        "delay" if duration < MIN_DELAY => {
            Err("`delay` must be at least 1ms: a shorter one would flood the store".into())
        }
        _ => Ok(duration),
    }
}

/// The text that was probably meant by a bare number.
pub(crate) fn meant(number: &str) -> String {
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    format!("{}s", if digits.is_empty() { "30" } else { &digits })
}

fn read(text: &str) -> Result<Duration, String> {
    // Far above every bound, and far below the sums at which `humantime` panics.
    if text.bytes().filter(u8::is_ascii_digit).count() > 18 {
        return Err(format!("the number is too large{HELP}"));
    }
    humantime::parse_duration(text).map_err(|error| match error {
        Error::Empty => format!("it is empty{HELP}"),
        Error::UnknownUnit { unit, .. } if unit.is_empty() => {
            let number = text.trim();
            if number.bytes().all(|byte| byte.is_ascii_digit()) {
                let meant = meant(number);
                format!("`{text}` has no unit; did you mean \"{meant}\"?{HELP}")
            } else {
                format!("a number in `{text}` has no unit{HELP}")
            }
        }
        Error::UnknownUnit { unit, .. } => match nearest(&unit, UNITS) {
            Some(known) => format!("unknown unit `{unit}`: did you mean `{known}`?{HELP}"),
            None => format!("unknown unit `{unit}`{HELP}"),
        },
        Error::NumberExpected(0) => format!("`{text}` does not start with a number{HELP}"),
        Error::NumberExpected(at) | Error::InvalidCharacter(at) => {
            let character = text
                .get(at..)
                .and_then(|rest| rest.chars().next())
                .unwrap_or_default();
            format!("unexpected `{}`{HELP}", character.escape_debug())
        }
        Error::NumberOverflow => {
            format!("the number is too large, or finer than a nanosecond{HELP}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1500),
            ("10ms", 10),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(
                parse("ttl", text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(parse("wait", "0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, reason) in [
            ("30", "`30` has no unit; did you mean \"30s\"?"),
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("5m30", "a number in `5m30` has no unit"),
            ("abc", "`abc` does not start with a number"),
            ("-1s", "`-1s` does not start with a number"),
            ("5 weks", "unknown unit `weks`: did you mean `weeks`?"),
            ("5 parsecs", "unknown unit `parsecs`"),
            ("1s+2s", "unexpected `+`"),
            ("1s, 2s", "unexpected `,`"),
            ("é", "`é` does not start with a number"),
            ("99999999999999999h", "the number is too large"),
            ("9999999999999999999999h", "the number is too large"),
            ("0.1ns", "the number is too large, or finer"),
        ] {
            let message = parse("ttl", text).expect_err(text);
            let expected = format!("invalid `ttl`: {reason}");
            assert!(message.starts_with(&expected), "{text}: {message}");
        }
    }

    #[test]
    fn each_option_has_its_bounds() {
        assert!(parse("ttl", "0s").is_err_and(|message| message.contains("longer than zero")));
        assert!(parse("ttl", "9ms").is_err_and(|message| message.contains("at least 10ms")));
        assert!(parse("ttl", "11y").is_err_and(|message| message.contains("at most 3650 days")));
        assert!(parse("max_hold", "9ms").is_err());
        assert!(parse("delay", "999us").is_err());
        assert!(parse("delay", "1ms").is_ok());
        assert!(parse("min_hold", "0s").is_ok());
    }

    #[test]
    fn sums_at_the_edge_do_not_panic() {
        for text in [
            "307445734561825860m 15s 1000000000ns",
            "18446744073709551615s 1000000000ns",
            "584542046090y",
            "584542046089y 999999s",
            "999999999999999999ns",
        ] {
            let _ = parse("wait", text);
        }
    }
}
