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
    ("authserv_id", "src/message/tests.rs", "authentication_results_in_our_name_are_removed"),
    ("mime_header", "src/message/mime/tests.rs", "a_header_is_looked_at_as_far_as_its_limit"),
    ("mime_copies", "src/message/mime/tests.rs", "copies_come_to_an_end"),
    ("mime_boundary", "src/message/mime/tests.rs", "a_boundary_is_found_up_to_its_limit"),
    ("signed_data_depth", "src/message/pkcs7.rs", "nesting_in_signed_data_is_bounded"),
    ("signed_data_envelopes", "src/message/pkcs7.rs", "signed_data_in_signed_data_is_bounded"),
    ("mime_encodings", "src/message/mime/tests.rs", "encodings_inside_encodings_come_to_an_end"),
    ("field_addresses", "src/message/addresses/tests.rs", "a_list_beyond_16_kib_is_cut"),
    ("read_ahead", "src/driver/tests.rs", "client_is_read_no_faster_than_it_is_answered"),
    ("client_attributes", "src/wire/attributes/tests.rs", "invalid_attributes_are_refused"),
    ("record_recipients", "src/observer/lines.rs", "record_lists_a_bounded_number_of_recipients"),
    ("own_memory", "src/message/tests.rs", "header_surgery_is_charged_to_the_budget"),
    ("mbox_lines", "src/message/tests.rs", "mbox_lines_are_bounded"),
    (
        "proxy_header_time",
        "src/driver/proxied/tests.rs",
        "proxy_header_times_out_after_five_seconds",
    ),
    ("proxy_header", "src/wire/proxy/tests.rs", "the_longest_header_of_version_1_fits"),
    ("tarpit_delay", "src/tarpit.rs", "reply_delay_is_at_most_a_minute"),
    ("tarpit_total", "src/driver/tests/tarpit.rs", "total_delay_of_a_session_is_bounded"),
    (
        "tarpit_sessions",
        "src/driver/tests/tarpit.rs",
        "client_is_not_delayed_when_all_tarpit_slots_are_taken",
    ),
    ("remembered", "src/admission/tests.rs", "remembered_addresses_are_bounded"),
    ("splits", "src/relay/smtp/split.rs", "remembered_splits_are_bounded"),
    (
        "onward_connections",
        "src/relay/smtp/places/tests.rs",
        "idle_client_after_rcpt_loses_its_connection_and_resends_recipients",
    ),
    (
        "onward_queue_time",
        "src/relay/smtp/places/tests.rs",
        "client_in_a_command_keeps_its_connection_and_the_next_gets_451",
    ),
    (
        "onward_idle_time",
        "src/relay/smtp/places/tests.rs",
        "idle_client_after_rcpt_loses_its_connection_and_resends_recipients",
    ),
    (
        "named_again",
        "src/relay/smtp/places/tests.rs",
        "recipients_are_resent_at_most_five_times_without_an_accepted_message",
    ),
    (
        "introductions",
        "src/relay/smtp/offered.rs",
        "concurrent_clients_share_one_capability_request",
    ),
    ("side_by_side", "tests/loops.rs", "loop_through_a_filter_is_detected_during_rcpt"),
    ("circles", "src/relay/smtp/circles.rs", "remembered_recipients_are_bounded"),
    (
        "refused_of_an_address",
        "src/relay/smtp/harvests.rs",
        "client_with_too_many_refused_recipients_is_not_forwarded",
    ),
    ("refused_of_a_network", "src/relay/smtp/harvests.rs", "addresses_of_a_network_share_a_bound"),
    ("harvests", "src/relay/smtp/harvests.rs", "addresses_with_refusals_are_bounded"),
    ("idle_connections", "tests/identify/reuse.rs", "pooled_connections_are_bounded"),
    ("idle_time", "tests/identify/reuse.rs", "idle_connection_expires"),
    ("stage_time", "src/panel/tests/hearings.rs", "budgets"),
    ("seat_time", "src/panel/tests/hearings.rs", "budgets"),
    (
        "message_for_spamd",
        "src/scorers/spamd/tests.rs",
        "a_large_message_is_cut_at_a_line_or_skipped",
    ),
    ("message_for_clamd", "src/scorers/clamd/tests.rs", "a_large_message_is_cut_or_skipped"),
    ("idle_daemons", "src/scorers/daemon/tests.rs", "idle_connections_are_bounded"),
    ("gtube_searched", "src/scorers/gtube.rs", "gtube_string_is_found_anywhere"),
    (
        "links_searched",
        "src/message/rendered/tests/bounds.rs",
        "no_more_than_a_mebibyte_is_searched",
    ),
    ("links_kept", "src/message/rendered/tests/bounds.rs", "first_and_last_links_are_kept"),
    ("links_memory", "src/message/rendered/tests/bounds.rs", "memory_for_links_is_bounded"),
    ("link_url", "src/message/rendered/tests/bounds.rs", "long_url_keeps_its_host"),
    ("link_text", "src/message/rendered/tests/bounds.rs", "visible_text_of_a_link_is_cut"),
    ("link_redirectors", "src/message/rendered/tests/bounds.rs", "five_redirectors_are_followed"),
    ("html_nesting", "src/message/rendered/tests/bounds.rs", "html_is_read_two_levels_deep"),
    ("html_base", "src/message/rendered/tests/bounds.rs", "base_of_a_kibibyte_is_used"),
    (
        "fields_searched",
        "src/message/rendered/tests/bounds.rs",
        "header_fields_of_64_kib_are_searched",
    ),
    ("status_request", "tests/examples/status.rs", "requests_and_connections_are_bounded"),
    ("status_connections", "tests/examples/status.rs", "requests_and_connections_are_bounded"),
    ("status_time", "tests/examples/status.rs", "requests_and_connections_are_bounded"),
    (
        "status_records",
        "tests/examples/status.rs",
        "page_is_bounded_and_escapes_what_strangers_chose",
    ),
    ("status_page", "tests/examples/status.rs", "page_is_bounded_and_escapes_what_strangers_chose"),
    ("status_recent", "tests/examples/status_socket.rs", "hostile_texts_do_not_make_a_page_large"),
    ("status_search", "tests/examples/status_socket.rs", "hostile_texts_do_not_make_a_page_large"),
    ("traced_sessions", "tests/tracing.rs", "every_session_ends_its_spans"),
    ("metric_symbols", "tests/metrics.rs", "a_thousand_symbols_are_counted_by_name"),
    ("dkim_signatures", "tests/authentication/bounds.rs", "twenty_signatures_are_evaluated"),
    ("dkim_header", "tests/authentication/bounds.rs", "a_header_of_256_kib_is_read"),
    ("dkim_fields", "tests/authentication/bounds.rs", "two_thousand_fields_are_read"),
    ("dkim_names", "tests/authentication/bounds.rs", "a_thousand_names_are_signed"),
    ("dkim_tags", "tests/authentication/bounds.rs", "a_hundred_tags_are_read"),
    ("dkim_domain", "tests/authentication/bounds.rs", "domain_names_of_a_thousand_octets_are_read"),
    ("dkim_identity", "tests/authentication/bounds.rs", "the_identity_has_its_bound"),
    (
        "dkim_clock_drift",
        "tests/authentication/bounds.rs",
        "a_signature_is_valid_for_five_minutes_after_its_expiry",
    ),
    ("dkim_keys", "tests/authentication/bounds.rs", "two_key_records_are_tried"),
    ("dkim_rsa_key", "src/authentication/key/tests.rs", "rsa_key_of_1024_to_4096_bits_is_used"),
    ("dkim_results", "src/scorers/authentication/tests.rs", "results_of_ten_signatures_are_added"),
    ("arc_sets", "tests/authentication/bounds.rs", "fifty_sets_are_validated"),
    ("arc_fields", "tests/authentication/bounds.rs", "arc_fields_of_64_kib_are_read"),
    (
        "lessons",
        "src/scorers/lessons/tests.rs",
        "lessons_are_learned_until_the_observer_is_gone_and_lost_ones_are_counted",
    ),
    ("handshakes_at_once", "src/tls/turns.rs", "concurrent_handshakes_and_their_time_are_bounded"),
    ("handshakes_share", "src/tls/turns.rs", "concurrent_handshakes_and_their_time_are_bounded"),
    (
        "handshakes_waiting",
        "src/tls/turns.rs",
        "waiting_handshakes_are_bounded_in_total_and_per_network",
    ),
    (
        "handshakes_waiting_of_a_network",
        "src/tls/turns.rs",
        "waiting_handshakes_are_bounded_in_total_and_per_network",
    ),
    ("log_lines", "src/observer/lines.rs", "lines_beyond_the_bound_are_lost_and_counted"),
    ("refused_mail_messages", "tests/refused_mail.rs", "oldest_copies_are_removed_at_the_limits"),
    ("refused_mail_octets", "tests/refused_mail.rs", "oldest_copies_are_removed_at_the_limits"),
    ("refused_mail_age", "tests/refused_mail.rs", "oldest_copies_are_removed_at_the_limits"),
    ("refused_mail_size", "tests/refused_mail.rs", "only_the_header_of_a_large_message_is_kept"),
    (
        "refused_mail_waiting",
        "tests/refused_mail.rs",
        "slow_disk_loses_copies_and_changes_no_reply",
    ),
    ("queued_events", "src/observer/queue.rs", "full_queue_drops_and_counts_new_items"),
    (
        "session_lines",
        "src/observer/limit.rs",
        "lines_beyond_burst_and_rate_are_omitted_and_counted",
    ),
    ("record_fields", "src/record/reported.rs", "recorded_fields_are_bounded"),
    ("dns_time", "src/dns/client/tests.rs", "lookup_ends_in_time_when_no_server_answers"),
    ("dns_records", "src/dns/message/tests.rs", "records_and_aliases_are_bounded"),
    ("dns_aliases", "src/dns/message/tests.rs", "records_and_aliases_are_bounded"),
    ("dns_unrelated", "src/dns/client/tests.rs", "too_many_unrelated_packets_lead_to_tcp"),
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
        "networks_over_the_bound_evict_networks_without_lookups",
    ),
    ("dns_questions", "src/dns/client/tests.rs", "concurrent_queries_are_bounded"),
    ("dns_questions_at_once", "src/scorers/lists/tests.rs", "at_most_twenty_queries_run_at_a_time"),
    (
        "dns_questions_in_all",
        "src/scorers/lists/tests.rs",
        "message_causes_at_most_two_hundred_queries",
    ),
    (
        "dns_transactions",
        "src/scorers/once.rs",
        "query_is_made_once_per_transaction_and_memory_is_bounded",
    ),
    ("dns_failure_time", "src/dns/cache/tests.rs", "a_failure_of_a_server_is_cached_for_a_moment"),
    ("dns_datagram", "src/dns/message/tests.rs", "datagrams_of_1232_octets_are_asked_for"),
    ("dns_cached", "src/dns/cache/tests.rs", "cache_is_bounded_by_its_capacity"),
    ("dns_cached_answer", "src/dns/cache/tests.rs", "a_large_answer_is_not_cached"),
    ("dns_parsed_policy", "src/authentication/spf/tests.rs", "a_long_policy_is_not_kept"),
    ("recorded_session", "tests/recording/bounds.rs", "a_session_is_cut_at_its_limit"),
    (
        "recorded_memory",
        "tests/recording/bounds.rs",
        "all_sessions_together_stay_within_their_memory",
    ),
    ("recorded_fields", "tests/recording/bounds.rs", "names_of_header_fields_are_bounded"),
    (
        "recording_files",
        "tests/examples/replay.rs",
        "a_full_recording_is_renamed_and_the_oldest_is_removed",
    ),
    ("records", "tests/store/memory.rs", "store_is_bounded_by_its_capacity"),
    ("redis_time", "src/store/redis/tests.rs", "operation_ends_for_any_server_behaviour"),
    ("redis_connections", "src/store/redis/tests.rs", "connections_are_bounded"),
    ("store_time", "src/store/guarded.rs", "hanging_store_delays_only_a_few_messages"),
    ("store_failures", "src/breaker/tests.rs", "breaker_opens_after_five_consecutive_failures"),
    ("spf_terms", "src/authentication/spf/tests.rs", "ten_terms_with_lookups_are_evaluated"),
    ("spf_void_terms", "src/authentication/spf/tests.rs", "two_terms_may_find_nothing"),
    ("spf_mail_servers", "src/authentication/spf/tests.rs", "a_domain_has_ten_mail_servers"),
    ("spf_client_names", "src/authentication/spf/tests.rs", "a_client_has_ten_names"),
    ("spf_questions", "src/authentication/spf/tests.rs", "questions_are_bounded"),
    ("spf_mechanism", "src/authentication/spf/tests.rs", "texts_of_a_policy_are_truncated"),
    (
        "spf_name",
        "src/authentication/spf/outcome.rs",
        "names_in_the_text_of_a_problem_are_truncated",
    ),
    ("spf_faulty_term", "src/authentication/spf/tests.rs", "texts_of_a_policy_are_truncated"),
    (
        "author_domains",
        "tests/authentication/dmarc/bounds.rs",
        "seven_author_domains_and_the_last_one_are_read",
    ),
    ("author_fields", "tests/authentication/dmarc/bounds.rs", "from_fields_of_64_kib_are_read"),
    ("dmarc_walk", "tests/authentication/dmarc/bounds.rs", "eight_names_are_walked"),
    (
        "dmarc_identifiers",
        "tests/authentication/dmarc/bounds.rs",
        "organizational_domains_of_eight_identifiers_are_looked_up",
    ),
    ("dmarc_questions", "tests/authentication/dmarc/bounds.rs", "dmarc_questions_are_bounded"),
    ("store_pause", "src/breaker/tests.rs", "the_pause_doubles_to_half_a_minute"),
    ("value", "tests/store/memory.rs", "values_records_and_pages_are_bounded"),
    ("value_octets", "tests/store/memory.rs", "values_are_bounded_by_octets_and_evicted_by_expiry"),
    (
        "log_octets",
        "tests/store/memory.rs",
        "logs_are_bounded_by_octets_and_the_largest_loses_its_oldest_records",
    ),
    ("log_records", "tests/store/memory.rs", "records_of_a_log_are_bounded"),
    ("logs", "tests/store/memory.rs", "logs_are_bounded_and_evicted_by_expiry"),
    ("log_page", "tests/store/memory.rs", "values_records_and_pages_are_bounded"),
    ("disk_octets", "src/store/embedded/tests.rs", "octets_waiting_for_the_disk_are_bounded"),
    ("redis_reply", "src/store/redis/tests.rs", "operation_ends_for_any_server_behaviour"),
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
    assert_eq!(documented.len(), rows.len(), "two rows have the same name");
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
    assert_eq!(tested.len(), tests.len(), "two rows have the same test");
    assert_eq!(documented, tested);
}

/// The reply in the table is sent beyond the limit, and not at it.
#[test]
fn reply_beyond_each_bound_is_the_documented_one() {
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
