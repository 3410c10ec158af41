//! The store contract, run against every driver, and against stores that break it.

#[allow(dead_code, reason = "its `main` is for who runs it as an example")]
#[path = "../../examples/custom_store.rs"]
mod custom_store;
#[path = "contract/flawed_store.rs"]
mod flawed_store;

use std::panic::{AssertUnwindSafe, catch_unwind};

use custom_store::CustomStore;
use flawed_store::{Flaw, FlawedStore};
use tests::Folder;
use verrou::drivers::{MemoryStore, SqliteStore};
use verrou::testkit::{Backend, Case, FaultStore, Shared, cases, contract_suite};

contract_suite!(memory, Shared::new(MemoryStore::new()));
contract_suite!(sqlite, LockFile::new());
contract_suite!(custom, Shared::new(CustomStore::default()));
contract_suite!(sound, Shared::new(FlawedStore::new(Flaw::None)));
// A store that only watches is still a store, with a sibling and without one.
contract_suite!(watched, Shared::new(FaultStore::new(MemoryStore::new())));
contract_suite!(
    watched_with_io,
    Shared::new(FaultStore::new(MemoryStore::new()).with_io())
);

/// An SQLite file of its own for each case; each store opens it anew.
struct LockFile {
    folder: Folder,
}

impl LockFile {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
        }
    }
}

impl Backend for LockFile {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        match SqliteStore::connect(&self.folder.sqlite()).await {
            Ok(store) => store,
            Err(error) => panic!("cannot open the lock file: {error}"),
        }
    }
}

#[test]
fn the_suite_has_a_case_for_every_theme_and_no_name_twice() {
    let cases = cases();
    let mut names: Vec<_> = cases.iter().map(Case::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 50);
}

/// What `case` says of `flaw`; `None` if it finds nothing wrong.
fn complaint(case: &str, flaw: Flaw) -> Option<String> {
    let backend = Shared::new(FlawedStore::new(flaw));
    let failure = catch_unwind(AssertUnwindSafe(|| Case::named(case).run(backend))).err()?;
    let text = failure.downcast_ref::<String>().cloned();
    let text = text.or_else(|| {
        failure
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    Some(text.unwrap_or_default())
}

/// Each `cases` has to find the flaw, with a message that contains its words, and pass without it.
fn is_found(flaw: Flaw, cases: &[(&str, &str)]) {
    for (case, words) in cases {
        match complaint(case, flaw) {
            Some(text) => assert!(
                text.contains(words),
                "`{case}` says `{text}` of {flaw:?}, without `{words}`"
            ),
            None => panic!("`{case}` does not find {flaw:?}"),
        }
        assert_eq!(
            complaint(case, Flaw::None),
            None,
            "`{case}` complains about a sound store"
        );
    }
}

#[test]
fn a_store_that_does_not_compare_owners_is_found() {
    is_found(
        Flaw::NoOwnerCompare,
        &[
            ("release_by_another_owner_is_not_held", "only the owner"),
            ("renew_by_another_owner_is_not_held", "only the owner"),
            ("adopt_from_a_wrong_owner_is_not_held", "only who knows"),
            (
                "a_late_release_leaves_the_next_holder_alone",
                "cannot release",
            ),
        ],
    );
}

#[test]
fn a_store_that_resets_its_tokens_is_found() {
    is_found(
        Flaw::TokenResetOnRelease,
        &[
            ("tokens_rise_over_a_release", "tokens rise with every grant"),
            ("tokens_rise_after_the_store_was_opened_anew", "tokens rise"),
            ("a_token_is_not_behind_the_time", "at least the time"),
        ],
    );
}

#[test]
fn a_store_without_expiry_is_found() {
    is_found(
        Flaw::ExpiryIgnored,
        &[
            (
                "a_lease_expires_after_its_ttl",
                "free when its time has passed",
            ),
            ("a_lease_of_10_ms_is_kept_exactly", "free when its time"),
        ],
    );
}

#[test]
fn a_store_that_revives_leases_is_found() {
    is_found(
        Flaw::RenewRevives,
        &[
            ("an_expired_lease_cannot_be_renewed", "cannot be renewed"),
            (
                "renew_many_does_not_revive_an_expired_lease",
                "cannot be renewed",
            ),
        ],
    );
}

#[test]
fn a_store_that_folds_case_is_found() {
    is_found(
        Flaw::KeysFolded,
        &[
            (
                "keys_differ_by_case",
                "a key that nobody else holds is granted",
            ),
            (
                "namespaces_are_apart",
                "a key that nobody else holds is granted",
            ),
        ],
    );
}

#[test]
fn a_store_that_shortens_leases_is_found() {
    is_found(
        Flaw::RenewShortens,
        &[
            ("renew_does_not_shorten_a_lease", "what is left of a lease"),
            (
                "renew_many_does_not_shorten_a_lease",
                "what is left of a lease",
            ),
            (
                "a_repeated_acquire_does_not_shorten_the_lease",
                "what is left",
            ),
        ],
    );
}

#[test]
fn a_store_that_keeps_for_the_former_owner_is_found() {
    is_found(
        Flaw::KeepKeepsOwner,
        &[(
            "a_kept_key_belongs_to_no_owner",
            "a key that another owner holds",
        )],
    );
}

#[test]
fn a_store_that_marks_a_kept_key_with_zeros_is_found() {
    is_found(
        Flaw::KeepOwnerIsZeros,
        &[(
            "a_kept_key_belongs_to_no_owner",
            "a key that another owner holds",
        )],
    );
}

#[test]
fn a_store_that_hands_over_twice_is_found() {
    is_found(
        Flaw::AdoptLeavesOldOwner,
        &[
            ("a_lease_is_adopted_only_once", "handed over once"),
            ("the_old_owner_can_do_nothing_after_an_adopt", "cannot"),
        ],
    );
}

#[test]
fn a_store_that_decides_in_two_steps_is_found() {
    is_found(
        Flaw::TwoSteps,
        &[("one_of_sixteen_is_granted_a_free_key", "exactly one")],
    );
}

#[test]
fn a_store_that_blocks_its_thread_is_found() {
    is_found(
        Flaw::Blocks,
        &[(
            "calls_do_not_block_their_thread",
            "does not block its thread",
        )],
    );
}
