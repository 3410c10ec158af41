//! The promises of the store contract, one function each, by theme.
//!
//! A case that is written here has to be named in the list below; then it is a test of every driver.

pub(super) mod contention;
pub(super) mod exclusion;
pub(super) mod handover;
pub(super) mod inspection;
pub(super) mod keys;
pub(super) mod leases;
pub(super) mod listing;
pub(super) mod passing;
pub(super) mod release;
pub(super) mod renewals;
pub(super) mod sharing;
pub(super) mod steadiness;
pub(super) mod tokens;
pub(super) mod waking;

/// The one list of cases: hands it to the macro `$then`, behind `$input`.
#[doc(hidden)]
#[macro_export]
macro_rules! __contract_cases {
    ($then:ident $($input:tt)*) => {
        $crate::$then! {
            [$($input)*]
            exclusion {
                grants_a_free_key,
                refuses_a_key_that_another_owner_holds,
                tells_how_long_a_refused_key_stays_held,
                a_repeated_acquire_has_won_with_the_same_token,
                a_repeated_acquire_does_not_shorten_the_lease,
                a_repeated_acquire_extends_the_lease,
                a_refused_acquire_changes_nothing,
                keys_are_held_independently,
                one_owner_may_hold_several_keys,
            }
            leases {
                a_lease_expires_after_its_ttl,
                a_lease_of_10_ms_is_kept_exactly,
                a_lease_of_10_years_is_held,
                an_owner_that_expired_is_granted_anew,
                renew_extends_a_lease,
                a_renewed_lease_outlives_its_first_ttl,
                renew_does_not_shorten_a_lease,
                renew_keeps_token_and_holder,
                renew_by_another_owner_is_not_held,
                renew_of_a_free_key_is_not_held,
                an_expired_lease_cannot_be_renewed,
                a_late_renewal_leaves_the_next_holder_alone,
            }
            renewals {
                renew_many_of_nothing_answers_nothing,
                renew_many_extends_every_lease,
                renew_many_answers_in_the_order_of_the_requests,
                renew_many_uses_the_ttl_of_each_request,
                renew_many_does_not_shorten_a_lease,
                renew_many_answers_a_key_that_is_named_twice,
                renew_many_does_not_revive_an_expired_lease,
            }
            release {
                release_frees_the_key_at_once,
                release_by_another_owner_is_not_held,
                release_of_a_free_key_is_not_held,
                a_second_release_is_not_held_and_harmless,
                a_released_owner_can_do_nothing,
                an_expired_lease_cannot_be_released,
                a_late_release_leaves_the_next_holder_alone,
                a_kept_key_stays_taken,
                a_kept_key_is_free_when_its_keep_has_passed,
                a_keep_may_end_before_the_lease,
                a_keep_may_end_after_the_lease,
                a_kept_key_belongs_to_no_owner,
                a_kept_key_shows_no_holder,
                a_kept_key_can_be_released_by_force,
                the_next_after_a_keep_is_a_plain_holder,
            }
            handover {
                adopt_hands_the_lease_to_the_new_owner,
                adopt_keeps_the_token_and_shows_the_new_holder,
                the_old_owner_can_do_nothing_after_an_adopt,
                a_lease_is_adopted_only_once,
                a_repeated_adopt_by_the_same_owner_has_won,
                an_adopted_lease_can_be_handed_on,
                adopt_from_a_wrong_owner_is_not_held,
                adopt_of_a_free_key_is_not_held,
                adopt_of_an_expired_lease_is_not_held,
                a_repeated_adopt_after_expiry_is_not_held,
                adopt_extends_the_lease,
                adopt_does_not_shorten_the_lease,
            }
            passing {
                pass_grants_the_key_to_the_next_owner,
                pass_is_a_new_grant,
                the_old_owner_can_do_nothing_after_a_pass,
                a_repeated_pass_has_won_with_the_same_token,
                a_repeated_pass_does_not_shorten_the_lease,
                pass_sets_the_lease_of_the_next_owner,
                pass_by_another_owner_is_not_held,
                pass_of_a_free_key_is_not_held,
                pass_of_an_expired_lease_is_not_held,
                pass_of_a_kept_key_is_not_held,
                a_passed_key_can_be_passed_on,
            }
            tokens {
                tokens_rise_over_a_release,
                tokens_rise_over_an_expiry,
                tokens_rise_over_an_expiry_that_was_seen,
                tokens_rise_over_a_force_release,
                tokens_rise_over_a_keep,
                tokens_rise_over_an_adoption,
                tokens_rise_over_every_store_of_the_place,
                tokens_rise_after_the_store_was_opened_anew,
                a_token_is_not_behind_the_time,
                inspect_shows_the_token_of_the_grant,
            }
            keys {
                keys_differ_by_case,
                keys_differ_by_accents_and_their_composition,
                keys_differ_by_white_space,
                wildcards_in_keys_are_plain_characters,
                quotes_in_keys_are_plain_characters,
                braces_in_keys_are_plain_characters,
                control_characters_in_keys_are_kept,
                characters_beyond_the_first_plane_are_kept,
                keys_that_look_like_numbers_are_text,
                a_key_is_not_the_keys_it_begins_with,
                keys_of_512_bytes_differ_in_any_byte,
                the_longest_key_in_the_longest_namespace_is_kept,
                namespaces_are_apart,
                a_key_cannot_name_another_namespace,
            }
            inspection {
                inspect_of_a_free_key_is_nobody,
                inspect_of_an_expired_lease_is_nobody,
                inspect_shows_what_is_left_of_the_lease,
                inspect_shows_how_long_the_key_is_held,
                a_new_grant_is_held_from_its_own_beginning,
                inspect_changes_nothing,
                a_lease_expires_though_it_is_inspected,
                a_holder_text_of_255_bytes_comes_back,
                force_release_frees_a_held_key,
                force_release_of_a_free_key_frees_nobody,
                force_release_of_an_expired_lease_frees_nobody,
                an_owner_freed_by_force_can_do_nothing,
                force_release_leaves_other_keys_alone,
            }
            listing {
                list_names_the_held_keys_under_a_prefix,
                list_takes_wildcards_as_plain_characters,
                list_leaves_out_what_is_over,
                list_shows_what_inspect_shows,
                list_without_a_prefix_names_every_namespace,
                a_page_looks_at_no_more_keys_than_it_is_told,
                pages_have_every_held_key_together,
                pages_go_on_past_keys_that_are_free,
                pages_miss_nothing_when_keys_come_and_go,
            }
            sharing {
                stores_of_one_place_exclude_each_other,
                an_owner_may_use_any_store_of_the_place,
                a_force_release_is_seen_by_every_store,
                a_closed_store_leaves_the_others_open,
                the_keepers_sibling_works_on_the_same_leases,
                a_store_without_a_sibling_needs_no_runtime,
                a_driver_with_connections_marks_what_it_sends,
                a_sent_call_can_be_finished_on_another_thread,
            }
            waking {
                a_release_wakes_who_watches,
                a_release_by_another_store_wakes_who_watches,
                every_watch_of_a_key_is_hinted,
                a_dropped_watch_does_not_end_the_others,
                a_thousand_watches_come_and_go,
                a_watch_may_outlive_its_store,
            }
            contention {
                sixteen_tasks_never_hold_a_key_together,
                one_of_sixteen_is_granted_a_free_key,
                one_of_sixteen_is_granted_an_expired_key,
                one_of_sixteen_adopts_a_lease,
                one_of_sixteen_is_passed_a_key,
                repeated_acquires_of_one_owner_agree_on_the_token,
                batches_in_different_orders_do_not_block_each_other,
                many_keys_are_taken_and_released_at_once,
            }
            steadiness {
                a_dropped_acquire_blocks_the_key_no_longer_than_its_ttl,
                a_dropped_call_does_not_disturb_the_next,
                a_dropped_release_has_happened_or_not,
                calls_do_not_block_their_thread,
            }
        }
    };
}
