//! Pages: what is promised, how a token protects a resource, which driver to choose, how keys are made, how to test, what can be observed, how to operate, how to come from another lock and how they compare, how to write a driver, why things are as they are.

#[doc = include_str!("docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("docs/fencing.md")]
pub mod fencing {}

#[doc = include_str!("docs/choosing_a_driver.md")]
pub mod choosing_a_driver {}

#[doc = include_str!("docs/keys.md")]
#[cfg(any(feature = "macros", not(doctest)))]
pub mod keys {}

#[doc = include_str!("docs/testing.md")]
#[cfg(any(feature = "testkit", not(doctest)))]
pub mod testing {}

#[doc = include_str!("docs/observing.md")]
pub mod observing {}

#[doc = include_str!("docs/operating.md")]
pub mod operating {}

#[doc = include_str!("docs/coming_from.md")]
#[cfg(any(feature = "macros", not(doctest)))]
pub mod coming_from {}

#[doc = include_str!("docs/comparison.md")]
pub mod comparison {}

#[doc = include_str!("docs/writing_a_driver.md")]
#[cfg(any(feature = "testkit", not(doctest)))]
pub mod writing_a_driver {}

/// Decisions that were argued, with what lost and why.
pub mod decisions {
    #[doc = include_str!("docs/decisions/0001-a-call-in-flight-moves.md")]
    pub mod d0001_a_call_in_flight_moves {}

    #[doc = include_str!("docs/decisions/0002-reentrancy-is-found-by-chain-and-task.md")]
    pub mod d0002_reentrancy_is_found_by_chain_and_task {}

    #[doc = include_str!("docs/decisions/0003-the-keeper-looks-up-each-second.md")]
    pub mod d0003_the_keeper_looks_up_each_second {}

    #[doc = include_str!("docs/decisions/0004-sqlite-keeps-its-own-connections.md")]
    pub mod d0004_sqlite_keeps_its_own_connections {}

    #[doc = include_str!("docs/decisions/0005-a-hand-over-can-fail.md")]
    pub mod d0005_a_hand_over_can_fail {}

    #[doc = include_str!("docs/decisions/0006-redis-wakes-those-who-were-seen-waiting.md")]
    pub mod d0006_redis_wakes_those_who_were_seen_waiting {}

    #[doc = include_str!("docs/decisions/0007-postgres-notifies-marked-rows.md")]
    pub mod d0007_postgres_notifies_marked_rows {}

    #[doc = include_str!("docs/decisions/0008-mysql-waiters-are-told-by-looking.md")]
    pub mod d0008_mysql_waiters_are_told_by_looking {}

    #[doc = include_str!("docs/decisions/0009-renewals-go-in-company.md")]
    pub mod d0009_renewals_go_in_company {}

    #[doc = include_str!("docs/decisions/0010-the-proof-is-a-history.md")]
    pub mod d0010_the_proof_is_a_history {}

    #[doc = include_str!("docs/decisions/0011-what-a-free-lock-pays-for.md")]
    pub mod d0011_what_a_free_lock_pays_for {}

    #[doc = include_str!("docs/decisions/0013-redis-does-much-in-one-script.md")]
    pub mod d0013_redis_does_much_in_one_script {}

    #[doc = include_str!("docs/decisions/0014-sql-requests-go-in-company.md")]
    pub mod d0014_sql_requests_go_in_company {}

    #[doc = include_str!("docs/decisions/0015-sqlite-writes-in-company.md")]
    pub mod d0015_sqlite_writes_in_company {}

    #[doc = include_str!("docs/decisions/0020-the-acquisition-of-a-locked-function-is-boxed.md")]
    pub mod d0020_the_acquisition_of_a_locked_function_is_boxed {}

    #[doc = include_str!("docs/decisions/0021-a-panic-does-not-wait-for-the-release.md")]
    pub mod d0021_a_panic_does_not_wait_for_the_release {}

    #[doc = include_str!("docs/decisions/0022-the-result-waits-for-the-release.md")]
    pub mod d0022_the_result_waits_for_the_release {}

    #[doc = include_str!("docs/decisions/0023-the-body-stands-in-a-match-arm.md")]
    pub mod d0023_the_body_stands_in_a_match_arm {}

    #[doc = include_str!("docs/decisions/0024-a-mistake-in-a-key-is-drawn.md")]
    pub mod d0024_a_mistake_in_a_key_is_drawn {}

    #[doc = include_str!("docs/decisions/0025-a-command-becomes-itself.md")]
    pub mod d0025_a_command_becomes_itself {}

    #[doc = include_str!("docs/decisions/0026-a-listing-goes-in-pages.md")]
    pub mod d0026_a_listing_goes_in_pages {}

    #[doc = include_str!("docs/decisions/0027-the-holder-is-asked-for-beside-the-last-pause.md")]
    pub mod d0027_the_holder_is_asked_for_beside_the_last_pause {}

    #[doc = include_str!("docs/decisions/0028-handles-of-metrics-belong-to-a-recorder.md")]
    pub mod d0028_handles_of_metrics_belong_to_a_recorder {}
}
