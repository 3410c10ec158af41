//! The store contract, run against every driver, and against stores that break it.

#[allow(dead_code, reason = "its `main` is for who runs it as an example")]
#[path = "../../examples/custom_store.rs"]
mod custom_store;
#[path = "contract/flawed_store.rs"]
mod flawed_store;

use std::collections::BTreeSet;
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

    // A theme is a file, and each has some cases.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../verrou/src/testkit/cases");
    let files = std::fs::read_dir(folder).expect("the cases of the suite");
    let files: BTreeSet<_> = files
        .map(|file| file.expect("a file").path())
        .map(|file| file.file_stem().map(|stem| stem.display().to_string()))
        .map(Option::unwrap_or_default)
        .collect();
    let themes: BTreeSet<_> = cases.iter().map(|case| case.theme().to_owned()).collect();
    assert_eq!(themes, files);
    for theme in themes {
        let of_theme = cases.iter().filter(|case| case.theme() == theme);
        assert!(of_theme.count() >= 2, "`{theme}` has next to no cases");
    }
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

/// One test for each way to break the contract: the cases that have to find it.
macro_rules! found {
    ($($test:ident: $flaw:ident => [$(($case:literal, $words:literal)),* $(,)?];)*) => {$(
        #[test]
        fn $test() {
            is_found(Flaw::$flaw, &[$(($case, $words)),*]);
        }
    )*};
}

found! {
    a_store_that_does_not_compare_owners_is_found: NoOwnerCompare => [
        ("release_by_another_owner_is_not_held", "only the owner"),
        ("renew_by_another_owner_is_not_held", "only the owner"),
        ("adopt_from_a_wrong_owner_is_not_held", "only who knows"),
        ("a_late_release_leaves_the_next_holder_alone", "cannot release"),
    ];
    a_store_that_resets_its_tokens_is_found: TokenResetOnRelease => [
        ("tokens_rise_over_a_release", "tokens rise with every grant"),
        ("tokens_rise_after_the_store_was_opened_anew", "tokens rise"),
        ("a_token_is_not_behind_the_time", "at least the time"),
    ];
    a_store_without_expiry_is_found: ExpiryIgnored => [
        ("a_lease_expires_after_its_ttl", "free when its time has passed"),
        ("a_lease_of_10_ms_is_kept_exactly", "free when its time"),
    ];
    a_store_that_revives_leases_is_found: RenewRevives => [
        ("an_expired_lease_cannot_be_renewed", "cannot be renewed"),
        ("renew_many_does_not_revive_an_expired_lease", "cannot be renewed"),
    ];
    a_store_that_folds_case_is_found: KeysFolded => [
        ("keys_differ_by_case", "a key that nobody else holds is granted"),
        ("namespaces_are_apart", "a key that nobody else holds is granted"),
    ];
    a_store_that_shortens_leases_is_found: RenewShortens => [
        ("renew_does_not_shorten_a_lease", "what is left of a lease"),
        ("renew_many_does_not_shorten_a_lease", "what is left of a lease"),
        ("a_repeated_acquire_does_not_shorten_the_lease", "what is left"),
    ];
    a_store_that_keeps_for_the_former_owner_is_found: KeepKeepsOwner => [
        ("a_kept_key_belongs_to_no_owner", "a key that another owner holds"),
    ];
    a_store_that_marks_a_kept_key_with_zeros_is_found: KeepOwnerIsZeros => [
        ("a_kept_key_belongs_to_no_owner", "a key that another owner holds"),
    ];
    a_store_that_hands_over_twice_is_found: AdoptLeavesOldOwner => [
        ("a_lease_is_adopted_only_once", "handed over once"),
        ("the_old_owner_can_do_nothing_after_an_adopt", "cannot"),
    ];
    a_store_that_decides_in_two_steps_is_found: TwoSteps => [
        ("one_of_sixteen_is_granted_a_free_key", "exactly one"),
    ];
    a_store_that_blocks_its_thread_is_found: Blocks => [
        ("calls_do_not_block_their_thread", "does not block its thread"),
    ];
    a_store_whose_refusals_write_is_found: RefusedAcquireWrites => [
        ("a_refused_acquire_changes_nothing", "a refused acquire"),
    ];
    a_store_that_grants_a_repetition_anew_is_found: RepeatedAcquireIsNew => [
        ("a_repeated_acquire_has_won_with_the_same_token", "has won"),
        ("an_owner_may_use_any_store_of_the_place", "has won"),
        ("repeated_acquires_of_one_owner_agree_on_the_token", "one grant with one token"),
    ];
    a_store_that_goes_on_with_an_expired_owner_is_found: ExpiredOwnerKeepsToken => [
        ("an_owner_that_expired_is_granted_anew", "greater token"),
    ];
    a_store_that_takes_expired_for_held_is_found: ExpiredIsHeld => [
        ("an_expired_lease_cannot_be_released", "cannot be released"),
        ("adopt_of_an_expired_lease_is_not_held", "cannot be adopted"),
        ("a_repeated_adopt_after_expiry_is_not_held", "has lost"),
    ];
    a_store_that_grants_an_adoption_anew_is_found: AdoptIsNew => [
        ("adopt_hands_the_lease_to_the_new_owner", "keeps its token"),
        ("adopt_keeps_the_token_and_shows_the_new_holder", "the token stays"),
        ("tokens_rise_over_an_adoption", "keeps the token"),
    ];
    a_store_whose_inspect_ignores_expiry_is_found: InspectIgnoresExpiry => [
        ("inspect_of_an_expired_lease_is_nobody", "when its ttl has passed"),
        ("inspect_of_a_free_key_is_nobody", "held by nobody"),
        ("force_release_of_a_free_key_frees_nobody", "nobody held it"),
    ];
    a_store_that_restarts_the_grant_is_found: RenewResetsGrant => [
        ("inspect_shows_how_long_the_key_is_held", "the time since the grant"),
    ];
    a_store_that_cuts_keys_is_found: Cuts => [
        ("keys_of_512_bytes_differ_in_any_byte", "nobody else holds"),
        ("the_longest_key_in_the_longest_namespace_is_kept", "nobody else holds"),
    ];
    a_store_that_trims_keys_is_found: Trims => [
        ("keys_differ_by_white_space", "nobody else holds"),
        ("control_characters_in_keys_are_kept", "nobody else holds"),
    ];
    a_store_that_forces_by_pattern_is_found: ForceReleaseIsAPattern => [
        ("force_release_leaves_other_keys_alone", "one key and no other"),
    ];
    a_store_that_answers_a_batch_in_its_own_order_is_found: BatchSorted => [
        ("renew_many_answers_in_the_order_of_the_requests", "at its own place"),
    ];
    a_store_that_answers_a_key_of_a_batch_once_is_found: BatchDeduplicated => [
        ("renew_many_answers_a_key_that_is_named_twice", "may name one lease twice"),
    ];
    a_store_that_counts_whole_seconds_is_found: WholeSeconds => [
        ("a_lease_expires_after_its_ttl", "lasts for its ttl"),
        ("a_kept_key_is_free_when_its_keep_has_passed", "stays taken"),
    ];
    a_store_that_keeps_for_the_rest_of_the_lease_is_found: KeepIsTheLease => [
        ("a_keep_may_end_before_the_lease", "what is left"),
        ("a_keep_may_end_after_the_lease", "what is left"),
    ];
    a_store_that_refuses_a_repeated_adopt_is_found: AdoptIsNotRepeatable => [
        ("a_repeated_adopt_by_the_same_owner_has_won", "has won"),
    ];
    a_store_that_shares_nothing_is_found: NotShared => [
        ("stores_of_one_place_exclude_each_other", "another owner holds"),
        ("a_force_release_is_seen_by_every_store", "can free by force"),
        ("sixteen_tasks_never_hold_a_key_together", "never hold one key"),
    ];
    a_store_that_promises_more_than_it_does_is_found: Boasts => [
        ("list_names_the_held_keys_under_a_prefix", "`list` failed"),
        ("a_release_wakes_who_watches", "is hinted"),
    ];
    a_store_that_grants_everybody_is_found: GrantsEverybody => [
        ("refuses_a_key_that_another_owner_holds", "another owner holds"),
        ("keys_are_held_independently", "another owner holds"),
        ("one_of_sixteen_is_granted_a_free_key", "exactly one"),
    ];
    a_store_that_extends_nothing_is_found: NothingExtends => [
        ("renew_extends_a_lease", "what is left of a lease"),
        ("a_repeated_acquire_extends_the_lease", "what is left of a lease"),
        ("adopt_extends_the_lease", "what is left of a lease"),
        ("renew_many_extends_every_lease", "what is left of a lease"),
        ("renew_many_uses_the_ttl_of_each_request", "what is left of a lease"),
    ];
    a_store_that_cuts_holders_is_found: HolderCut => [
        ("a_holder_text_of_255_bytes_comes_back", "byte for byte"),
    ];
    a_store_that_keeps_the_first_grants_time_is_found: GrantStays => [
        ("a_new_grant_is_held_from_its_own_beginning", "its own beginning"),
    ];
    a_store_that_takes_by_renewing_is_found: RenewTakes => [
        ("renew_of_a_free_key_is_not_held", "cannot be renewed"),
        ("adopt_of_a_free_key_is_not_held", "cannot be adopted"),
    ];
    a_store_with_a_hidden_timer_is_found: NeedsARuntime => [
        ("a_store_without_a_sibling_needs_no_runtime", "no reactor"),
    ];
    a_store_that_forgets_tokens_by_force_is_found: ForceForgetsToken => [
        ("tokens_rise_over_a_force_release", "over a force release"),
    ];
    a_store_whose_inspect_is_stale_is_found: InspectIsStale => [
        ("inspect_shows_the_token_of_the_grant", "that was granted"),
    ];
    a_store_that_lists_all_at_once_is_found: ListsAtOnce => [
        ("a_page_looks_at_no_more_keys_than_it_is_told", "not the whole list"),
    ];
    a_store_whose_pages_are_counted_is_found: PagesByNumber => [
        ("pages_miss_nothing_when_keys_come_and_go", "held all the time"),
    ];
    a_store_that_ends_with_an_empty_page_is_found: EmptyPageIsTheLast => [
        ("pages_go_on_past_keys_that_are_free", "not the last one"),
    ];
    a_store_that_never_marks_is_found: NeverMarks => [
        ("a_driver_with_connections_marks_what_it_sends", "marks a call as sent"),
    ];
}
