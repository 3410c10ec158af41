//! Listing held keys. A driver that cannot has to say so, in its capabilities and in its answer: then that is what these
//! cases check.

use crate::testkit::bench::{Bench, Client, LONG, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

/// The listed keys, without what the bench puts in front.
async fn listed(bench: &Bench, store: &Client, prefix: &str) -> Option<Vec<String>> {
    let front = bench.prefix();
    let listed = store.list(&format!("{front}{prefix}")).await?;
    Some(
        listed
            .iter()
            .map(|entry| {
                let key = entry.key.as_str();
                match key.strip_prefix(&front) {
                    Some(text) => text.to_owned(),
                    None => panic!("a listed key begins with the prefix, but `{key}` does not"),
                }
            })
            .collect(),
    )
}

pub(crate) async fn list_names_the_held_keys_under_a_prefix(bench: &Bench) {
    let store = bench.open().await;
    for text in [
        "b",
        "a:2",
        "a:10",
        "a:1",
        "a",
        "A:1",
        "\u{e9}",
        "a:\u{1f512}",
    ] {
        store.grant(&bench.key(text), owner(), LONG).await;
    }
    let Some(all) = listed(bench, &store, "").await else {
        return;
    };
    assert_eq!(
        all,
        [
            "A:1",
            "a",
            "a:1",
            "a:10",
            "a:2",
            "a:\u{1f512}",
            "b",
            "\u{e9}"
        ],
        "list names every held key under the prefix, in the order of their bytes"
    );
    assert_eq!(
        listed(bench, &store, "a:").await.unwrap_or_default(),
        ["a:1", "a:10", "a:2", "a:\u{1f512}"],
        "list names the keys under its prefix and no others"
    );
    assert_eq!(
        listed(bench, &store, "none").await.unwrap_or_default(),
        [""; 0],
        "a prefix that no held key has lists nothing"
    );
}

pub(crate) async fn list_takes_wildcards_as_plain_characters(bench: &Bench) {
    let store = bench.open().await;
    let texts = ["a%b", "a_b", "axb", "a*b", "a\\b", "a'b", "a[b]", "a?b"];
    for text in texts {
        store.grant(&bench.key(text), owner(), LONG).await;
    }
    for text in texts {
        let Some(found) = listed(bench, &store, &text[..2]).await else {
            return;
        };
        assert_eq!(
            found,
            [text],
            "the prefix of a list is plain bytes, no pattern"
        );
    }
}

pub(crate) async fn list_leaves_out_what_is_over(bench: &Bench) {
    let store = bench.open().await;
    let (released, forced, kept, live) = (owner(), owner(), owner(), owner());
    store.grant(&bench.key("expired"), owner(), SHORT).await;
    bench.outlive(&store, SHORT).await;
    store.grant(&bench.key("released"), released, LONG).await;
    store.release(&bench.key("released"), released).await;
    store.grant(&bench.key("forced"), forced, LONG).await;
    store.force_release(&bench.key("forced")).await;
    store.grant(&bench.key("kept"), kept, LONG).await;
    store.release_keeping(&bench.key("kept"), kept, LONG).await;
    store.grant(&bench.key("live"), live, LONG).await;
    let Some(found) = listed(bench, &store, "").await else {
        return;
    };
    assert_eq!(
        found,
        ["kept", "live"],
        "list names what is held now: not what expired or was released"
    );
}

pub(crate) async fn list_shows_what_inspect_shows(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let asked = std::time::Instant::now();
    store.acquire_as(&key, owner(), LONG, "the holder").await;
    let inspected = store.holding(&key).await;
    let Some(found) = store.list(key.as_str()).await else {
        return;
    };
    let [entry] = &found[..] else {
        panic!("one held key is one entry, but list gave {found:?}");
    };
    assert_eq!(entry.key, key, "list gives the key as it was stored");
    assert_eq!(
        (&entry.holding.holder, entry.holding.token),
        (&inspected.holder, inspected.token),
        "list shows the holder and token that inspect shows"
    );
    assert_plausible(entry.holding.remaining, LONG, asked);
    assert!(
        entry.holding.held_for >= inspected.held_for,
        "list shows the time since the grant"
    );
}

pub(crate) async fn list_without_a_prefix_names_every_namespace(bench: &Bench) {
    let store = bench.open().await;
    let keys = ["", "one", "two"].map(|namespace| bench.key_in(namespace, "k"));
    for key in &keys {
        store.grant(key, owner(), LONG).await;
    }
    // Others may use the place at the same time.
    let Some(found) = store.list("").await else {
        return;
    };
    for key in &keys {
        assert!(
            found.iter().any(|entry| entry.key == *key),
            "an empty prefix lists every held key, but `{key}` was missing"
        );
    }
}
