//! Different values never make one key, whatever the template: the values can be read back from it.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use verrou::__private::Key;
use verrou::key;

// The reader that the macro uses; what it makes of a template is steps of `Key`, as below.
#[path = "../../../verrou-macros/src/template.rs"]
#[allow(dead_code, reason = "the macro needs more of it")]
mod template;

use template::{Piece, Template};

/// The key that the macro's code makes; each placeholder is the name of its value.
fn render(template: &Template, values: &[String]) -> Option<String> {
    let mut key = Key::with_capacity(0);
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => key.lit(text),
            Piece::Value(placeholder) => key.part("a", value(values, &placeholder.root)),
        }
    }
    key.finish().ok()
}

fn value<'a>(values: &'a [String], name: &str) -> &'a String {
    let at = NAMES.iter().position(|known| *known == name);
    &values[at.expect("a name of the strategy")]
}

/// The values in the order of their placeholders, from the key and the page `docs::keys` alone: up to the first
/// character that no value can contain, less the text before it.
fn read_back(template: &Template, key: &str) -> Option<Vec<String>> {
    let in_value = |character: char| {
        !character.is_ascii() || character.is_ascii_alphanumeric() || "-._~%".contains(character)
    };
    let mut pieces = template.pieces.iter().peekable();
    let mut rest = key;
    let mut values = Vec::new();
    while let Some(piece) = pieces.next() {
        match (piece, pieces.peek()) {
            (Piece::Text(text), _) => rest = rest.strip_prefix(&**text)?,
            (Piece::Value(_), Some(Piece::Text(text))) if text.contains(|next| !in_value(next)) => {
                let before = text.find(|next| !in_value(next))?;
                let end = rest.find(|next| !in_value(next))?.checked_sub(before)?;
                values.push(unescaped(&rest[..end])?);
                rest = &rest[end..];
            }
            // The last one; what stands behind it may look like a value.
            (Piece::Value(_), Some(Piece::Text(text))) => {
                let end = rest.len().checked_sub(text.len())?;
                values.push(unescaped(&rest[..end])?);
                rest = &rest[end..];
            }
            (Piece::Value(_), Some(Piece::Value(_))) => return None,
            (Piece::Value(_), None) => values.push(unescaped(std::mem::take(&mut rest))?),
        }
    }
    rest.is_empty().then_some(values)
}

fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        bytes.push(match first {
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Separators, the escape, what an escape is made of, what text has in common with values.
const AWKWARD: &str = "-._~%:/,|25aF<>{}\\é🔒 \0";

fn text(
    characters: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = String> + Clone {
    let any = prop::sample::select(AWKWARD.chars().collect::<Vec<_>>());
    prop::collection::vec(any, characters).prop_map(String::from_iter)
}

/// Up to four placeholders, each with text before it that separates or does not.
fn any_template() -> impl Strategy<Value = String> {
    let text = || text(0..=3).prop_map(|text| text.replace('<', "<<").replace('>', ">>"));
    let piece = (text(), prop::sample::select(NAMES.to_vec()));
    let piece = piece.prop_map(|(text, name)| format!("{text}<{name}>"));
    (prop::collection::vec(piece, 1..=4), text()).prop_map(|(pieces, text)| pieces.concat() + &text)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        // Templates that the macro refuses.
        max_global_rejects: 1_000_000,
        rng_seed: RngSeed::Fixed(6),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_template(template in any_template(), values in prop::collection::vec(text(1..=4), 3)) {
        let (template, mistakes) = template::parse(&template);
        prop_assume!(mistakes.is_empty());
        let key = render(&template, &values);
        let expected: Vec<String> = template.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(placeholder) => Some(value(&values, &placeholder.root).clone()),
            Piece::Text(_) => None,
        }).collect();
        let read = key.as_deref().and_then(|key| read_back(&template, key));
        prop_assert_eq!(read, Some(expected), "{:?}", key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        rng_seed: RngSeed::Fixed(6),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Few values, so that both equal pairs and pairs of one text without its separator are drawn.
    #[test]
    fn one_separator([a, b, c, d] in prop::array::uniform4("[a:%]{1,3}")) {
        prop_assert_eq!(key!("t:<a>:<b>", a, b).ok() == key!("t:<a>:<b>", a = c, b = d).ok(), (a, b) == (c, d));
    }

    #[test]
    fn plain_values_stay_as_they_are(value in "[-A-Za-z0-9._~é\u{1f512}]+") {
        prop_assert_eq!(key!("order-<value>", value).ok(), Some(format!("order-{value}")));
    }
}
