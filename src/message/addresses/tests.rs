use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::*;
use crate::envelope::{Envelope, SessionId};
use crate::message::{MailData, Message};
use crate::peer::Peer;
use crate::wire::mailbox::ReversePath;

fn with_field<T>(field: &str, read: impl Fn(Field<'_>) -> T) -> T {
    let id = SessionId::new("test").transaction(1);
    let sender = ReversePath::parse("<>").unwrap();
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let content = MailData::normalise(format!("{field}\r\n\r\n").as_bytes());
    let message = Message::new("mx", &envelope, UNIX_EPOCH, content);
    let name = field.split(':').next().unwrap();
    read(message.view().field(name).unwrap())
}

#[test]
fn addresses_are_read_as_they_are_displayed() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("a@example.org", &[("", "a@example.org")]),
        ("<a@example.org>", &[("", "a@example.org")]),
        ("Ann <a@example.org>", &[("Ann", "a@example.org")]),
        ("\"Ann, B.\" <a@example.org>", &[("Ann, B.", "a@example.org")]),
        ("a@example.org (Ann)", &[("Ann", "a@example.org")]),
        ("=?utf-8?b?w6k=?= <a@example.org>", &[("é", "a@example.org")]),
        ("a@example.org,\r\n\tb@example.net", &[("", "a@example.org"), ("", "b@example.net")]),
        ("Team: a@example.org, b@example.net;", &[("", "a@example.org"), ("", "b@example.net")]),
        ("undisclosed-recipients:;", &[]),
        ("nobody", &[("nobody", "")]),
        ("", &[]),
        // Malformed, and displayed by somebody.
        ("Ann <a@example.org", &[("Ann", "a@example.org")]),
        ("\"Ann <a@example.org>", &[("Ann <a@example.org>", "")]),
    ];
    for (value, expected) in rows {
        let read = with_field(&format!("From: {value}"), |field| field.addresses());
        let read: Vec<_> = read
            .iter()
            .map(|it| (it.name.as_deref().unwrap_or(""), it.address.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(read, *expected, "{value:?}");
    }
}

#[test]
fn a_list_beyond_16_kib_is_cut() {
    let list = ["a@example.org"; 2_000].join(", ");
    let read = with_field(&format!("To: {list}"), |field| field.addresses());
    assert_eq!(read.len(), OCTETS.div_ceil("a@example.org, ".len()));
}

#[test]
fn dates_are_read() {
    for (value, seconds) in [
        ("Thu, 1 Jan 1970 00:00:00 +0000", Some(0)),
        ("1 Jan 1970 00:00:01 GMT", Some(1)),
        ("Mon, 30 Nov 2026 12:00:00 -0130 (comment)", Some(1_796_045_400)),
        ("Thu, 1 Jan 1970 00:00:00 +0100", None),
        ("Mon, 32 Nov 2026 12:00:00 +0000", None),
        ("yesterday", None),
        ("", None),
    ] {
        let date = with_field(&format!("Date: {value}"), |field| field.date());
        let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(date, expected, "{value:?}");
    }
}
