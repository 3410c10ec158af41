//! Listing held keys. A driver that cannot has to say so, in its capabilities and in its answer: then that is what these
//! cases check.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::store::{ListRequest, Page};
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

/// As many keys a page.
const FEW: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// As many keys a list.
const MANY: u32 = 30;

/// Asks for small pages of what this bench holds.
fn few(bench: &Bench) -> ListRequest {
    let mut request = ListRequest::new(bench.prefix());
    request.limit = FEW;
    request
}

/// What is on a page, without what the bench puts in front.
fn names(bench: &Bench, page: &Page) -> Vec<String> {
    let front = bench.prefix();
    let names = page.listed.iter().map(|entry| entry.key.as_str());
    let names = names.filter_map(|name| name.strip_prefix(&front));
    names.map(str::to_owned).collect()
}

/// All pages from `request` on; calls `between` with the number of each.
async fn paged(
    bench: &Bench,
    store: &Client,
    mut request: ListRequest,
    between: impl AsyncFn(u32),
) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for number in 0.. {
        let page = store.page(request.clone()).await?;
        all.extend(names(bench, &page));
        let Some(next) = page.next else {
            break;
        };
        request.after = Some(next);
        between(number).await;
    }
    Some(all)
}

pub(crate) async fn a_page_looks_at_no_more_keys_than_it_is_told(bench: &Bench) {
    let store = bench.open().await;
    for number in 0..MANY {
        let key = bench.key(&format!("{number:03}"));
        store.grant(&key, owner(), LONG).await;
    }
    let Some(page) = store.page(few(bench)).await else {
        return;
    };
    assert!(
        page.listed.len() < 20 && page.next.is_some(),
        "a page of about {FEW} keys is not the whole list, but it named {} of {MANY}",
        page.listed.len()
    );
}

pub(crate) async fn pages_have_every_held_key_together(bench: &Bench) {
    let store = bench.open().await;
    let mut expected = BTreeSet::new();
    for number in 0..MANY {
        let text = format!("{number:03}");
        store.grant(&bench.key(&text), owner(), LONG).await;
        expected.insert(text);
    }
    let Some(found) = paged(bench, &store, few(bench), async |_| ()).await else {
        return;
    };
    assert_eq!(found, expected, "the pages of a list have every held key");
}

pub(crate) async fn pages_go_on_past_keys_that_are_free(bench: &Bench) {
    let store = bench.open().await;
    for number in 0..MANY {
        let (key, owner) = (bench.key(&format!("{number:03}")), owner());
        store.grant(&key, owner, LONG).await;
        store.release(&key, owner).await;
    }
    store.grant(&bench.key("held"), owner(), LONG).await;
    let Some(found) = paged(bench, &store, few(bench), async |_| ()).await else {
        return;
    };
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["held"],
        "a page on which no key is held is not the last one"
    );
}

pub(crate) async fn pages_miss_nothing_when_keys_come_and_go(bench: &Bench) {
    let store = bench.open().await;
    // What stays has an odd number; of the rest some goes away with each page, and as much comes.
    let owners: Vec<_> = (0..MANY).map(|_| owner()).collect();
    for (number, owner) in (0..).zip(&owners) {
        let key = bench.key(&format!("{number:03}"));
        store.grant(&key, *owner, LONG).await;
    }
    let turn = async |page: u32| {
        for number in (0..MANY).step_by(2).skip(3 * page as usize).take(3) {
            let key = bench.key(&format!("{number:03}"));
            store.release(&key, owners[number as usize]).await;
            let key = bench.key(&format!("{:03}", 100 + number));
            store.grant(&key, owner(), LONG).await;
        }
    };
    let Some(found) = paged(bench, &store, few(bench), turn).await else {
        return;
    };
    for number in (1..MANY).step_by(2) {
        let text = format!("{number:03}");
        assert!(
            found.contains(&text),
            "a key that is held all the time is on some page, but `{text}` was on none"
        );
    }
}
