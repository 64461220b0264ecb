//! The trace header (RFC 5321 section 4.4).

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::peer::{Helo, Peer};

/// Longest name that is written whole: the longest domain name (RFC 1035 section 2.3.4).
const NAME: usize = 255;

/// `Received:`, by `host` at `at`. The recipient is named only if there is no other: the message
/// goes to all of them, and a recipient that was a blind copy must not be told to the others.
pub(super) fn received(host: &str, envelope: &Envelope, at: SystemTime) -> HeaderField {
    let peer = &*envelope.peer;
    let helo = peer.helo.as_ref().map_or_else(|| harmless(""), |helo| domain(&helo.name));
    let mut value = format!("from {helo} ({})", tcp_info(peer));
    if let Some(tls) = &peer.tls {
        let (version, cipher) = (harmless(&tls.version), harmless(&tls.cipher));
        value += &format!(" (using {version} with cipher {cipher})");
    }
    let (host, protocol, id) = (domain(host), protocol(envelope), &envelope.id);
    value += &format!(" by {host} (nobounce) with {protocol} id {id}");
    if let [only] = &envelope.forward_paths[..]
        && let Some(mailbox) = str::from_utf8(only.path.address()).ok().and_then(plain_mailbox)
    {
        value += &format!(" for <{mailbox}>");
    }
    value += &format!("; {}", date(at));
    HeaderField::fold("Received", value.as_bytes())
}

/// The name of the protocol as it is registered (RFC 3848, RFC 6531 section 4.3).
fn protocol(envelope: &Envelope) -> &'static str {
    let extended = matches!(envelope.peer.helo, Some(Helo { extended: true, .. }));
    let utf8 = envelope.reverse_path.parameters.smtp_utf8;
    match (extended, utf8, envelope.peer.tls.is_some()) {
        (false, ..) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, false, true) => "ESMTPS",
        (true, true, false) => "UTF8SMTP",
        (true, true, true) => "UTF8SMTPS",
    }
}

/// What the connection tells of the client.
fn tcp_info(peer: &Peer) -> String {
    let name = harmless(peer.name.as_deref().unwrap_or_default());
    match peer.address.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => format!("{name} [{address}]"),
        Some(IpAddr::V6(address)) => format!("{name} [IPv6:{address}]"),
        None => "local".to_owned(),
    }
}

/// A domain name or address literal.
fn domain(name: &str) -> String {
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
    match literal {
        Some(address) if address.len() <= NAME && address.chars().all(is_address) => name.into(),
        _ => harmless(name),
    }
}

/// The name, unable to end a comment, to begin one or to be read as anything but a word.
fn harmless(name: &str) -> String {
    if name.is_empty() {
        return "unknown".to_owned();
    }
    name.chars().take(NAME).map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// Whether the character may stand in a dot-atom (RFC 5322 section 3.2.3).
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>[]:;@\\,\"".contains(c)
}

/// The address, if it needs neither quotes nor thought.
fn plain_mailbox(address: &str) -> Option<&str> {
    let plain = address.chars().all(|c| is_plain(c) || c == '@');
    (plain && (1..=NAME).contains(&address.len())).then_some(address)
}

/// Date and time in UTC (RFC 5322 section 3.3). Before 1970 it is the beginning of 1970, after 9999
/// the end of 9999.
fn date(at: SystemTime) -> String {
    const LAST: u64 = 253_402_300_799;
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST);
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    // The first day of 1970 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(day % 7) as usize];
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = "";
    for (name, days) in MONTHS {
        let days = days + u64::from(name == "Feb" && leap(year));
        month = name;
        if day < days {
            break;
        }
        day -= days;
    }
    let (day, hour, minute, second) = (day + 1, second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}
