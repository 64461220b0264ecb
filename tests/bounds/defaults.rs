//! The defaults in the table are equal to those in the code.

use std::collections::BTreeSet;
use std::time::Duration;

use nobounce::Settings;
use nobounce::onward::OnwardTimeouts;
use nobounce::reply::ReplyLimits;

use super::rows;

/// Formats a number as in the table.
fn number(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().ok().unwrap().to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|it| str::from_utf8(it).unwrap()).collect();
    groups.join(",")
}

fn octets(octets: impl TryInto<u64>) -> String {
    match octets.try_into().ok().unwrap() {
        octets if octets % (1 << 20) == 0 => format!("{} MiB", octets >> 20),
        octets if octets > 10_000 && octets % (1 << 10) == 0 => format!("{} KiB", octets >> 10),
        octets => format!("{} octets", number(octets)),
    }
}

fn time(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (60, 0) => "1 h".into(),
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// Returns all settings whose defaults can be read, each with its default.
fn defaults() -> Vec<(&'static str, String)> {
    let Settings { limits, timeouts, budget, greeting_delay, stress, .. } =
        Settings::new("mx.example");
    let (onward, replies) = (OnwardTimeouts::default(), ReplyLimits::default());
    vec![
        ("Limits::command_line", octets(limits.command_line as u64)),
        ("Limits::recipients", number(limits.recipients as u64)),
        ("Limits::recipients_overshoot", number(limits.recipients_overshoot as u64)),
        ("Limits::hops", number(limits.hops as u64)),
        ("Limits::errors", number(limits.errors)),
        ("Limits::junk_commands", number(limits.junk_commands)),
        ("Limits::refused_in_a_row", number(limits.refused_in_a_row)),
        ("Limits::refused_recipients", number(limits.refused_recipients)),
        ("Limits::address_share", format!("{} %", limits.address_share)),
        ("Limits::network_share", format!("{} %", limits.network_share)),
        ("Limits::added_fields", octets(limits.added_fields as u64)),
        ("Limits::transactions", number(limits.transactions)),
        ("Limits::content", octets(limits.content)),
        ("Limits::data_rate", octets(limits.data_rate) + "/s"),
        ("Stress::wait", time(stress.wait)),
        ("Stress::commands", time(stress.commands)),
        ("Stress::errors", number(stress.errors)),
        ("Stress::junk_commands", number(stress.junk_commands)),
        ("MimeLimits::parts", number(limits.mime.parts as u64)),
        ("MimeLimits::depth", number(limits.mime.depth as u64)),
        ("MimeLimits::field", octets(limits.mime.field as u64)),
        ("MimeLimits::header", octets(limits.mime.header as u64)),
        ("MimeLimits::copies", octets(limits.mime.copies as u64)),
        ("MimeLimits::readings", number(limits.mime.readings as u64)),
        ("Settings::budget", octets(budget.limit() as u64)),
        ("Settings::greeting_delay", time(greeting_delay)),
        ("SessionTimeouts::proxy_header", time(timeouts.proxy_header)),
        ("SessionTimeouts::command", time(timeouts.command)),
        ("SessionTimeouts::commands", time(timeouts.commands)),
        ("SessionTimeouts::mail_data", time(timeouts.mail_data)),
        ("SessionTimeouts::data_rate", time(timeouts.data_rate)),
        ("SessionTimeouts::content", time(timeouts.content)),
        ("SessionTimeouts::tls", time(timeouts.tls)),
        ("SessionTimeouts::verdict", time(timeouts.verdict)),
        ("SessionTimeouts::recipient", time(timeouts.recipient)),
        ("SessionTimeouts::outcome", time(timeouts.outcome)),
        ("SessionTimeouts::transmission", time(timeouts.transmission)),
        ("ReplyLimits::line", octets(replies.line as u64)),
        ("ReplyLimits::lines", number(replies.lines as u64)),
        ("OnwardTimeouts::connect", time(onward.connect)),
        ("OnwardTimeouts::greeting", time(onward.greeting)),
        ("OnwardTimeouts::command", time(onward.command)),
        ("OnwardTimeouts::tls", time(onward.tls)),
        ("OnwardTimeouts::data_initiation", time(onward.data_initiation)),
        ("OnwardTimeouts::data_block", time(onward.data_block)),
        ("OnwardTimeouts::data_termination", time(onward.data_termination)),
        ("OnwardTimeouts::quit", time(onward.quit)),
    ]
}

#[cfg(feature = "serve")]
fn defaults_of_admission() -> Vec<(&'static str, String)> {
    let rate = |rate: Option<nobounce::admission::ConnectionRate>| {
        rate.map_or("none".into(), |it| format!("{it:?}"))
    };
    let admission = nobounce::admission::AdmissionLimits::default();
    vec![
        ("AdmissionLimits::connections", number(admission.connections as u64)),
        ("AdmissionLimits::per_address", number(admission.per_address as u64)),
        ("AdmissionLimits::per_network", number(admission.per_network as u64)),
        ("AdmissionLimits::address_rate", rate(admission.address_rate)),
        ("AdmissionLimits::network_rate", rate(admission.network_rate)),
        ("AdmissionLimits::stress_from", format!("{} %", admission.stress_from)),
        ("AdmissionLimits::remembered", number(admission.remembered as u64)),
    ]
}

#[cfg(all(feature = "serve", feature = "rspamd"))]
fn defaults_of_daemons() -> Vec<(&'static str, String)> {
    use super::daemons::Daemon;
    use nobounce::scorers::{Clamd, Rspamd, Spamd};

    vec![
        ("Spamd::reply_limit", octets(Spamd::<Daemon>::REPLY_LIMIT as u64)),
        ("Rspamd::reply_limit", octets(Rspamd::<Daemon>::REPLY_LIMIT as u64)),
        ("Clamd::reply_limit", octets(Clamd::<Daemon>::REPLY_LIMIT as u64)),
        ("Spamd::size_limit", octets(Spamd::<Daemon>::SIZE_LIMIT as u64)),
        ("Rspamd::size_limit", octets(Rspamd::<Daemon>::SIZE_LIMIT as u64)),
        ("Clamd::size_limit", octets(Clamd::<Daemon>::SIZE_LIMIT as u64)),
    ]
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_code() {
    let all = [
        defaults(),
        #[cfg(feature = "serve")]
        defaults_of_admission(),
        #[cfg(all(feature = "serve", feature = "rspamd"))]
        defaults_of_daemons(),
    ];
    let defaults = all.concat();
    let owners: BTreeSet<_> = defaults.iter().map(|(setting, _)| owner(setting)).collect();
    let mut checked = BTreeSet::new();
    for row in rows().iter().filter(|row| owners.contains(owner(row.setting))) {
        let (setting, default) = defaults.iter().find(|(it, _)| *it == row.setting).unwrap();
        assert_eq!(row.default, default, "{setting}");
        checked.insert(*setting);
    }
    assert_eq!(checked.len(), defaults.len(), "a setting without a row");
}

/// Returns the owner of a setting.
fn owner(setting: &str) -> &str {
    setting.split("::").next().unwrap()
}
