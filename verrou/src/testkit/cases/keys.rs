//! Keys are bytes: two that differ in any are two locks.

use crate::store::{Reply, StoredKey};
use crate::testkit::bench::{Bench, LONG, owner};

pub(crate) const THREADS: usize = 1;

/// Holds all `texts` at once, each under its own owner and holder, and gives each back.
async fn are_different_locks(bench: &Bench, texts: &[&str]) {
    let keys: Vec<_> = texts.iter().map(|text| bench.key(text)).collect();
    are_different(bench, &keys).await;
}

async fn are_different(bench: &Bench, keys: &[StoredKey]) {
    let store = bench.open().await;
    let mut held = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let holder = owner();
        let token = store.grant(key, holder, LONG).await;
        store
            .acquire_as(key, holder, LONG, &format!("holder {number}"))
            .await;
        held.push((key, holder, token));
    }
    for (key, holder, token) in &held {
        store.held(key, owner()).await;
        assert_eq!(
            store.holding(key).await.token,
            *token,
            "keys that differ in a byte are different locks, but `{key}` shows another's grant"
        );
        assert_eq!(
            store.renew(key, *holder, LONG).await,
            Reply::Done,
            "keys that differ in a byte are different locks, but `{key}` has lost its owner to another"
        );
    }
    for (key, holder, _) in &held {
        assert_eq!(
            store.release(key, *holder).await,
            Reply::Done,
            "keys that differ in a byte are different locks, but `{key}` was released together with another"
        );
    }
    for key in keys {
        assert_eq!(
            store.inspect(key).await,
            None,
            "a released key is free, whatever its name"
        );
    }
}

pub(crate) async fn keys_differ_by_case(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "order",
            "Order",
            "ORDER",
            "\u{e9}t\u{e9}",
            "\u{c9}T\u{c9}",
            "stra\u{df}e",
            "STRASSE",
            "strasse",
        ],
    )
    .await;
}

pub(crate) async fn keys_differ_by_accents_and_their_composition(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "cafe",
            "caf\u{e9}",
            "cafe\u{301}",
            "\u{fb01}n",
            "fin",
            "\u{212b}",
            "\u{c5}",
            "A\u{30a}",
        ],
    )
    .await;
}

pub(crate) async fn keys_differ_by_white_space(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "a",
            "a ",
            "a  ",
            " a",
            "a\t",
            "a\n",
            "a\r\n",
            "a\u{a0}",
            "a\u{200b}",
            "a b",
            "a  b",
            " ",
            "  ",
        ],
    )
    .await;
}

pub(crate) async fn wildcards_in_keys_are_plain_characters(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "a%", "a_", "a*", "a?", "a[bc]", "ab", "ac", "abc", "a%c", "a_c", "a.c", "a.*", "%",
            "_", "*",
        ],
    )
    .await;
}

pub(crate) async fn quotes_in_keys_are_plain_characters(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "it's",
            "it''s",
            "it\\'s",
            "\"",
            "\"\"",
            "`",
            "``",
            "'",
            "''",
            "\\",
            "\\\\",
            "$1",
            "?",
            ":key",
            "@k",
            "x'; DROP TABLE verrou_locks; --",
            "x' OR '1'='1",
            "x\" OR \"1\"=\"1",
            "0x61",
            "\\x61",
            "E'\\n'",
            "return redis.call('FLUSHALL')",
        ],
    )
    .await;
}

pub(crate) async fn braces_in_keys_are_plain_characters(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "{a}b", "{a}c", "a{b}", "{}", "{}a", "{", "}", "}{", "{{a}}", "{a", "a}", "<a>", "(a)",
        ],
    )
    .await;
}

pub(crate) async fn control_characters_in_keys_are_kept(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "a\x01",
            "a\x02",
            "a\x1b[31m",
            "a\x7f",
            "a\nb",
            "a\rb",
            "a\r\nb",
            "a\tb",
            "ab",
            "a\u{2028}b",
            "a\u{202e}b",
        ],
    )
    .await;
}

pub(crate) async fn characters_beyond_the_first_plane_are_kept(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "\u{1f512}",
            "\u{1f513}",
            "\u{1f512}\u{fe0f}",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{1f468}\u{1f469}",
            "\u{10ffff}",
            "\u{fffd}",
            "\u{ffff}",
            "?",
            "????",
        ],
    )
    .await;
}

pub(crate) async fn keys_that_look_like_numbers_are_text(bench: &Bench) {
    are_different_locks(
        bench,
        &[
            "1",
            "01",
            "1.0",
            "1e0",
            "+1",
            "-1",
            "0",
            "-0",
            "00",
            "true",
            "null",
            "NULL",
            "nan",
            "9223372036854775808",
        ],
    )
    .await;
}

pub(crate) async fn a_key_is_not_the_keys_it_begins_with(bench: &Bench) {
    are_different_locks(
        bench,
        &["", "a", "aa", "aaa", "a:", "a::", "a:b", "a:b:c", ":a", ":"],
    )
    .await;
}

pub(crate) async fn keys_of_512_bytes_differ_in_any_byte(bench: &Bench) {
    // What a bench puts in front counts, too.
    let room = 512 - (bench.prefix().len() - "testkit:".len());
    let plain = "k".repeat(room);
    let replaced = |place: usize| {
        let mut text = plain.clone().into_bytes();
        text[place] = b'x';
        String::from_utf8(text).expect("plain ASCII")
    };
    let texts = [
        plain.clone(),
        plain[1..].to_owned(),
        replaced(0),
        replaced(room / 2),
        replaced(room - 2),
        replaced(room - 1),
        format!(
            "{}{}",
            "\u{e9}".repeat((room - 2) / 2),
            "e".repeat(2 - room % 2)
        ),
    ];
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    are_different_locks(bench, &texts).await;
}

pub(crate) async fn the_longest_key_in_the_longest_namespace_is_kept(bench: &Bench) {
    let namespace = "n".repeat(64);
    let room = 512 - (bench.prefix().len() - "testkit:".len());
    let text = "k".repeat(room - 1);
    let keys = ["a", "b"].map(|last| bench.key_in(&namespace, &format!("{text}{last}")));
    assert_eq!(
        keys[0].as_bytes().len(),
        577,
        "the longest stored key has 577 bytes"
    );
    are_different(bench, &keys).await;
}

pub(crate) async fn namespaces_are_apart(bench: &Bench) {
    let keys: Vec<_> = ["", "a", "A", "b", "a.b", "a_b", "a-b", "aXb", "ab", "0"]
        .iter()
        .map(|namespace| bench.key_in(namespace, "k"))
        .collect();
    are_different(bench, &keys).await;
}

pub(crate) async fn a_key_cannot_name_another_namespace(bench: &Bench) {
    // The bench's own random part becomes the namespace here, so that no other run has these keys.
    let run = bench.prefix()["testkit:".len()..].to_owned();
    let keys = [
        StoredKey::new(&run, "k"),
        StoredKey::new("", &format!("{run}:k")),
        StoredKey::new(&run, &format!("{run}:k")),
    ]
    .map(|key| key.expect("the suite uses valid keys"));
    are_different(bench, &keys).await;
}
