//! Every limit of the crate, tested on both sides: a client exactly at the limit is served, and a
//! client beyond it gets the reply in `nobounce::docs::bounds`. Every row of that table has a test
//! here or a named test elsewhere, and its defaults are those of the code.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[cfg(feature = "serve")]
mod clients;
#[cfg(all(feature = "serve", feature = "rspamd"))]
mod daemons;
mod defaults;
mod dialogues;
mod machines;
mod shares;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The documentation page.
const PAGE: &str = include_str!("../../src/docs/bounds.md");

/// Limits whose tests need private items or a socket: file and function.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("authserv_id", "src/message/tests.rs", "results_in_our_name_are_taken_out"),
    ("mime_header", "src/message/mime/tests.rs", "a_header_is_looked_at_as_far_as_its_limit"),
    ("mime_copies", "src/message/mime/tests.rs", "copies_come_to_an_end"),
    ("mime_encodings", "src/message/mime/tests.rs", "encodings_inside_encodings_come_to_an_end"),
    (
        "read_ahead",
        "src/driver/tests.rs",
        "a_client_that_never_waits_is_read_no_faster_than_it_is_answered",
    ),
    ("client_attributes", "src/wire/attributes/tests.rs", "faults_of_attributes"),
    (
        "record_recipients",
        "src/observer/lines.rs",
        "a_record_lists_so_many_recipients_and_counts_the_rest",
    ),
    ("own_memory", "src/message/tests.rs", "header_surgery_is_charged_to_the_budget"),
    ("mbox_lines", "src/message/tests.rs", "so_many_mbox_lines_become_fields_and_the_rest_is_text"),
    ("proxy_header_time", "src/driver/proxied/tests.rs", "a_header_has_five_seconds_in_all"),
    ("proxy_header", "src/wire/proxy/tests.rs", "the_longest_header_of_version_1_fits"),
    ("tarpit_delay", "src/tarpit.rs", "a_reply_is_delayed_by_a_minute_at_the_most"),
    (
        "tarpit_total",
        "src/driver/tests/tarpit.rs",
        "a_session_is_delayed_for_no_longer_than_its_total",
    ),
    ("tarpit_sessions", "src/driver/tests/tarpit.rs", "who_finds_no_room_is_answered_as_always"),
    ("remembered", "src/admission/tests.rs", "what_is_remembered_is_bounded_however_many_come"),
    ("splits", "src/relay/smtp/split.rs", "so_many_splits_are_remembered_and_no_more"),
    (
        "onward_connections",
        "src/relay/smtp/places/tests.rs",
        "a_client_that_idles_behind_rcpt_loses_its_place_and_its_recipients_are_named_again",
    ),
    (
        "onward_queue_time",
        "src/relay/smtp/places/tests.rs",
        "a_client_in_a_command_keeps_its_place_and_the_next_one_hears_451",
    ),
    (
        "onward_idle_time",
        "src/relay/smtp/places/tests.rs",
        "a_client_that_idles_behind_rcpt_loses_its_place_and_its_recipients_are_named_again",
    ),
    (
        "named_again",
        "src/relay/smtp/places/tests.rs",
        "recipients_are_named_again_five_times_until_a_message_is_taken",
    ),
    (
        "introductions",
        "src/relay/smtp/offered.rs",
        "clients_that_come_together_wait_for_one_that_asks",
    ),
    (
        "side_by_side",
        "tests/loops.rs",
        "a_server_whose_filter_is_the_gate_is_found_while_it_asks_in_a_circle",
    ),
    ("circles", "src/relay/smtp/circles.rs", "so_many_recipients_are_remembered_and_no_more"),
    (
        "refused_of_an_address",
        "src/relay/smtp/harvests.rs",
        "a_client_whose_recipients_are_refused_is_not_asked_about_on_any_connection",
    ),
    (
        "refused_of_a_network",
        "src/relay/smtp/harvests.rs",
        "the_addresses_of_a_network_share_a_bound",
    ),
    ("harvests", "src/relay/smtp/harvests.rs", "so_many_addresses_are_remembered_and_no_more"),
    ("idle_connections", "tests/identify/reuse.rs", "so_many_are_kept_and_no_more"),
    ("idle_time", "tests/identify/reuse.rs", "an_idle_connection_has_its_time"),
    ("stage_time", "src/panel/tests/hearings.rs", "budgets"),
    ("seat_time", "src/panel/tests/hearings.rs", "budgets"),
    (
        "message_for_spamd",
        "src/scorers/spamd/tests.rs",
        "a_large_message_is_cut_at_a_line_or_skipped",
    ),
    ("message_for_clamd", "src/scorers/clamd/tests.rs", "a_large_message_is_cut_or_skipped"),
    ("idle_daemons", "src/scorers/daemon/tests.rs", "no_more_than_a_few_connections_wait"),
    ("gtube_searched", "src/scorers/gtube.rs", "the_string_is_found_wherever_it_stands_whole"),
    ("links_searched", "src/scorers/links/tests.rs", "no_more_than_a_mebibyte_is_read"),
    (
        "signed_header",
        "src/scorers/authentication/tests.rs",
        "a_header_beyond_its_bound_is_not_evaluated",
    ),
    ("signatures", "src/scorers/authentication/tests.rs", "so_many_signatures_are_not_looked_at"),
    (
        "lessons",
        "src/scorers/lessons/tests.rs",
        "lessons_are_learned_until_the_observer_is_gone_and_lost_ones_are_counted",
    ),
    (
        "handshakes_at_once",
        "src/tls/turns.rs",
        "no_more_compute_at_once_than_may_and_no_more_of_the_time",
    ),
    (
        "handshakes_share",
        "src/tls/turns.rs",
        "no_more_compute_at_once_than_may_and_no_more_of_the_time",
    ),
    ("handshakes_waiting", "src/tls/turns.rs", "so_many_wait_in_all_and_of_a_network"),
    ("handshakes_waiting_of_a_network", "src/tls/turns.rs", "so_many_wait_in_all_and_of_a_network"),
    ("log_lines", "src/observer/lines.rs", "lines_beyond_the_bound_are_lost_and_counted"),
    ("queued_events", "src/observer/queue.rs", "a_full_queue_drops_what_is_new_and_counts_it"),
    ("dns_time", "src/dns/client/tests.rs", "when_all_are_silent_it_is_over_in_time"),
    ("dns_records", "src/dns/message/tests.rs", "so_many_records_and_aliases_and_no_more"),
    ("dns_aliases", "src/dns/message/tests.rs", "so_many_records_and_aliases_and_no_more"),
    ("dns_unrelated", "src/dns/client/tests.rs", "who_sends_too_much_else_is_asked_by_tcp"),
    (
        "names_at_once",
        "src/naming/tests.rs",
        "a_network_with_a_silent_name_server_has_four_lookups_and_is_then_served_without_names",
    ),
    (
        "slow_names",
        "src/naming/tests.rs",
        "a_network_with_a_silent_name_server_has_four_lookups_and_is_then_served_without_names",
    ),
    (
        "named_networks",
        "src/naming/tests.rs",
        "networks_beyond_the_bound_push_out_those_without_lookups",
    ),
    (
        "dns_questions",
        "src/dns/client/tests.rs",
        "so_many_questions_are_under_way_and_the_rest_waits",
    ),
    ("dns_questions_at_once", "src/scorers/lists/tests.rs", "twenty_questions_are_asked_at_a_time"),
    (
        "dns_questions_in_all",
        "src/scorers/lists/tests.rs",
        "a_message_causes_no_more_than_two_hundred_questions",
    ),
    (
        "dns_transactions",
        "src/scorers/once.rs",
        "a_transaction_asks_once_and_the_memory_of_it_is_bounded",
    ),
    ("dns_cached", "src/dns/cache/tests.rs", "it_holds_no_more_than_it_has_room_for"),
    ("records", "tests/store/memory.rs", "it_holds_no_more_than_it_is_made_for"),
    ("redis_time", "src/store/redis/tests.rs", "whatever_the_server_does_the_operation_ends"),
    ("redis_connections", "src/store/redis/tests.rs", "no_more_connections_than_there_may_be"),
    (
        "store_time",
        "src/store/guarded.rs",
        "a_hung_store_costs_a_few_messages_their_time_and_the_others_none",
    ),
    (
        "store_failures",
        "src/breaker/tests.rs",
        "five_failures_in_a_row_open_it_and_a_success_between_does_not",
    ),
    ("store_pause", "src/breaker/tests.rs", "the_pause_doubles_to_half_a_minute"),
    ("value", "tests/store/memory.rs", "values_records_and_pages_have_their_bounds"),
    (
        "value_octets",
        "tests/store/memory.rs",
        "values_take_no_more_octets_than_they_may_and_those_that_end_soonest_go",
    ),
    (
        "log_octets",
        "tests/store/memory.rs",
        "logs_take_no_more_octets_than_they_may_and_the_largest_loses_its_oldest_records",
    ),
    ("log_records", "tests/store/memory.rs", "a_log_keeps_so_many_records"),
    ("logs", "tests/store/memory.rs", "there_are_so_many_logs_and_the_one_that_ends_soonest_goes"),
    ("log_page", "tests/store/memory.rs", "values_records_and_pages_have_their_bounds"),
    ("disk_octets", "src/store/embedded/tests.rs", "so_many_octets_wait_for_the_disk"),
    ("redis_reply", "src/store/redis/tests.rs", "whatever_the_server_does_the_operation_ends"),
];

/// A row of the table.
struct Row {
    name: &'static str,
    setting: &'static str,
    default: &'static str,
    past: &'static str,
}

impl Row {
    /// Returns the beginning of the reply that a client gets beyond the limit, if any.
    fn reply(&self) -> Option<&'static str> {
        let reply = self.past.split('`').nth(1)?;
        reply.starts_with(|c: char| c.is_ascii_digit()).then_some(reply)
    }
}

fn rows() -> Vec<Row> {
    let cells = |line: &'static str| -> Vec<&str> { line.split('|').map(str::trim).collect() };
    let rows =
        PAGE.lines().map(cells).filter(|cells| cells.len() == 7 && cells[1].starts_with('`'));
    rows.map(|cells| Row {
        name: cells[1].split('`').nth(1).unwrap(),
        setting: cells[2].trim_matches(['[', ']', '`']),
        default: cells[3],
        past: cells[4],
    })
    .collect()
}

/// Returns the names of the test functions in a source text.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.split("#[test]").skip(1);
    behind.filter_map(|text| text.split_once("fn ")?.1.split('(').next())
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let rows = rows();
    let documented: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(documented.len(), rows.len(), "two rows have one name");
    assert!(rows.len() > 60, "only {} rows", rows.len());

    let own = [
        include_str!("clients.rs"),
        include_str!("daemons.rs"),
        include_str!("machines.rs"),
        include_str!("shares.rs"),
    ];
    let mut tests: Vec<_> = own.into_iter().flat_map(functions).collect();
    tests.extend(dialogues::all().iter().map(|bound| bound.name));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, file, function) in ELSEWHERE {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(functions(&text).any(|it| it == *function), "no test {function} in {file}");
        tests.push(name);
    }
    let tested: BTreeSet<_> = tests.iter().copied().collect();
    assert_eq!(tested.len(), tests.len(), "two tests have one name");
    assert_eq!(documented, tested);
}

/// The reply in the table is sent beyond the limit, and not at it.
#[test]
fn what_the_table_says_is_heard() {
    let rows = rows();
    for bound in dialogues::all() {
        let row = rows.iter().find(|row| row.name == bound.name).unwrap();
        let Some(reply) = row.reply() else { continue };
        let heard = |script: &str| {
            script
                .lines()
                .any(|line| line.strip_prefix("S: ").is_some_and(|it| it.starts_with(reply)))
        };
        assert!(heard(&bound.past), "{}: `{reply}` is not heard", bound.name);
        let allowed = reply.starts_with('2');
        assert!(allowed || !heard(&bound.at), "{}: `{reply}` is heard before", bound.name);
    }
}
