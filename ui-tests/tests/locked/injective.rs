//! Different values never make one key, whatever the template.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use verrou::__private::Key;
use verrou::key;

// The reader that the macro uses; what it makes of a template is steps of `Key`, as below.
#[path = "../../../verrou-macros/src/template.rs"]
#[allow(dead_code, reason = "the macro needs more of it")]
mod template;

use template::{Piece, Template};

/// The key that the macro's code makes; `values` are those of the placeholders `a`, `b` and `c`.
fn render(template: &Template, values: &[String; 3]) -> Option<String> {
    let mut key = Key::with_capacity(0);
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => key.lit(text),
            Piece::Value(placeholder) => key.part("a", &values[place(&placeholder.root)]),
        }
    }
    key.finish().ok()
}

fn place(name: &str) -> usize {
    ["a", "b", "c"]
        .iter()
        .position(|known| *known == name)
        .unwrap_or_default()
}

/// Text and placeholders in any order; most have two values with something between them, that separates them or not.
fn any_template() -> impl Strategy<Value = String> {
    let text = "(<<|>>|[-._~%:/,2aFé \\\\{}]){0,3}";
    let placeholder = prop_oneof![Just("<a>"), Just("<b>"), Just("<c>")];
    let piece = prop_oneof![
        placeholder.prop_map(str::to_owned),
        text.prop_map(String::from)
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

/// Of the characters that matter: separators, the escape, what an escape is made of, what text shares with values.
fn awkward(min: usize, max: usize) -> impl Strategy<Value = String> {
    let alphabet: Vec<char> = "-._~%:/,25aAF<>{}\\é \0".chars().collect();
    prop::collection::vec(prop::sample::select(alphabet), min..=max).prop_map(String::from_iter)
}

/// Two lists of values: with nothing in common, or the same text cut in other places.
fn any_values() -> impl Strategy<Value = ([String; 3], [String; 3])> {
    let values = || prop::array::uniform3(awkward(1, 4));
    let cuts = any::<[prop::sample::Index; 2]>;
    let cut = |text: &[char], cuts: [prop::sample::Index; 2]| {
        let mut cuts = cuts.map(|cut| cut.index(text.len()));
        cuts.sort_unstable();
        let [first, second] = cuts;
        [&text[..first], &text[first..second], &text[second..]].map(String::from_iter)
    };
    let same_text = (awkward(4, 9), cuts(), cuts()).prop_map(move |(text, one, other)| {
        let text: Vec<char> = text.chars().collect();
        (cut(&text, one), cut(&text, other))
    });
    prop_oneof![(values(), values()), same_text]
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
    fn whatever_the_template(template in any_template(), (one, other) in any_values()) {
        let (template, mistakes) = template::parse(&template);
        prop_assume!(mistakes.is_empty());
        let keys = (render(&template, &one), render(&template, &other));
        // An empty value makes no key.
        prop_assume!(keys.0.is_some() && keys.1.is_some());
        let used = |name: &str| template.pieces.iter().any(|piece| {
            matches!(piece, Piece::Value(placeholder) if placeholder.root == name)
        });
        let same = ["a", "b", "c"].iter().all(|name| !used(name) || one[place(name)] == other[place(name)]);
        prop_assert_eq!(keys.0 == keys.1, same, "{:?}", keys);
    }
}

proptest! {
    #[test]
    fn one_separator(a in ".+", b in ".+", c in ".+", d in ".+") {
        prop_assert_eq!(key!("t:<a>:<b>", a, b).ok() == key!("t:<a>:<b>", a = c, b = d).ok(), (a, b) == (c, d));
    }

    #[test]
    fn plain_values_stay_as_they_are(value in "[-A-Za-z0-9._~é\u{1f512}]+") {
        prop_assert_eq!(key!("order-<value>", value).ok(), Some(format!("order-{value}")));
    }
}
