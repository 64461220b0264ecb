//! The trace header (RFC 5321 section 4.4).

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::envelope::Envelope;
use crate::header::{FieldWriter, HeaderField};
use crate::peer::{Helo, NameLookup, Peer, Voucher};
use crate::wire::text::{AddressLiteral, TwoDigits, Written};

/// Longest name that is written whole: the longest domain name (RFC 1035 section 2.3.4).
const NAME: usize = 255;

/// `Received:`, by `host` at `at`. The recipient is named only if there is no other: the message
/// goes to all of them, and a recipient that was a blind copy must not be told to the others.
pub(super) fn received(host: &str, envelope: &Envelope, at: SystemTime) -> HeaderField {
    let peer = &*envelope.peer;
    let mut field = FieldWriter::new("Received", 256);
    field.word("from");
    field.word(&Domain(peer.helo.as_ref().map_or("", |helo| &helo.name)));
    field.word("(");
    write_tcp_info(&mut field, peer);
    field.go_on(")");
    if let Some(tls) = &peer.tls {
        field.word("(using");
        field.word(&Harmless(&tls.version));
        field.word("with");
        field.word("cipher");
        field.word(&Harmless(&tls.cipher));
        field.go_on(")");
    }
    field.word("by");
    field.word(&Domain(host));
    field.word("(nobounce)");
    field.word("with");
    field.word(protocol(envelope));
    field.word("id");
    field.word(&envelope.id);
    if let [only] = &envelope.forward_paths[..]
        && let Some(mailbox) = str::from_utf8(only.path.address()).ok().and_then(plain_mailbox)
    {
        field.word("for");
        field.word("<");
        field.go_on(mailbox);
        field.go_on(">");
    }
    field.go_on(";");
    write_date(&mut field, at);
    field.finish()
}

/// `Date:`, for a message of our own.
#[cfg(feature = "serve")]
pub(super) fn date(at: SystemTime) -> HeaderField {
    let mut field = FieldWriter::new("Date", 48);
    write_date(&mut field, at);
    field.finish()
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
fn write_tcp_info(field: &mut FieldWriter, peer: &Peer) {
    match peer.address.map(|address| address.ip().to_canonical()) {
        // `unknown` stands for a client of which DNS says that it has no name.
        Some(address) if peer.name.is_none() && peer.name_lookup != NameLookup::Answered => {
            field.go_on(&AddressLiteral(address));
        }
        Some(address) => {
            field.go_on(&Harmless(peer.name.as_deref().unwrap_or_default()));
            field.word(&AddressLiteral(address));
        }
        None if peer.vouched.address == Voucher::Socket => field.go_on("local"),
        None => field.go_on("unknown"),
    }
}

/// A domain name or address literal.
struct Domain<'n>(&'n str);

impl Written for Domain<'_> {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        let literal = self.0.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let is_address = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
        match literal {
            Some(address) if address.len() <= NAME && address.chars().all(is_address) => {
                to.write_str(self.0)
            }
            _ => Harmless(self.0).write_to(to),
        }
    }
}

/// The name, unable to end a comment, to begin one or to be read as anything but a word.
struct Harmless<'n>(&'n str);

impl Written for Harmless<'_> {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        match self.0 {
            "" => to.write_str("unknown"),
            name if name.len() <= NAME && name.bytes().all(is_plain) => to.write_str(name),
            name => name.chars().take(NAME).try_for_each(|c| {
                to.write_char(if u8::try_from(c).is_ok_and(is_plain) { c } else { '?' })
            }),
        }
    }
}

/// Whether the octet may stand in a dot-atom (RFC 5322 section 3.2.3).
fn is_plain(octet: u8) -> bool {
    let is_special = matches!(
        octet,
        b'(' | b')' | b'<' | b'>' | b'[' | b']' | b':' | b';' | b'@' | b'\\' | b',' | b'"'
    );
    octet.is_ascii_graphic() && !is_special
}

/// The address, if it needs neither quotes nor thought.
fn plain_mailbox(address: &str) -> Option<&str> {
    let plain = address.bytes().all(|octet| is_plain(octet) || octet == b'@');
    (plain && (1..=NAME).contains(&address.len())).then_some(address)
}

/// Date and time in UTC (RFC 5322 section 3.3). Before 1970 it is the beginning of 1970, after 9999
/// the end of 9999.
fn write_date(field: &mut FieldWriter, at: SystemTime) {
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
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let leaps_to = |year: u64| year / 4 - year / 100 + year / 400;
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST);
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    // The first day of 1970 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(day % 7) as usize];
    // No later than the year it is, and little before.
    let mut year = 1970 + day / 366;
    day -= (year - 1970) * 365 + leaps_to(year - 1) - leaps_to(1969);
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
    field.word(weekday);
    field.go_on(",");
    field.word(&TwoDigits(day + 1));
    field.word(month);
    field.word(&year);
    field.word(&TwoDigits(second / 3600));
    for number in [second / 60 % 60, second % 60] {
        field.go_on(":");
        field.go_on(&TwoDigits(number));
    }
    field.word("+0000");
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::envelope::SessionId;
    use crate::peer::Tls;
    use crate::wire::command::{MailParameters, RcptParameters};
    use crate::wire::mailbox::{ForwardPath, Path, ReversePath};

    fn envelope(peer: Peer, recipients: &[&str]) -> Envelope {
        let path = |written: &str| Path::scan(written.as_bytes()).unwrap().0;
        let reverse_path = ReversePath { path: path("<>"), parameters: MailParameters::default() };
        let id = SessionId::new("gate").transaction(7);
        let mut envelope = Envelope::new(id, Arc::new(peer), reverse_path);
        envelope.forward_paths = recipients
            .iter()
            .map(|written| ForwardPath {
                path: path(written),
                parameters: RcptParameters::default(),
            })
            .collect();
        envelope
    }

    fn peer(address: &str, helo: &str) -> Peer {
        let mut peer = Peer::new(SocketAddr::new(address.parse().unwrap(), 25));
        peer.helo = Some(Helo { extended: true, name: helo.into() });
        peer
    }

    fn written_date(at: SystemTime) -> String {
        let mut field = FieldWriter::new("Date", 0);
        write_date(&mut field, at);
        let text = String::from_utf8(field.finish().octets().to_vec()).unwrap();
        text.strip_prefix("Date: ").unwrap().strip_suffix("\r\n").unwrap().to_owned()
    }

    /// Unfolded, without name and date.
    fn trace(envelope: &Envelope) -> String {
        let field = received("mx.example", envelope, UNIX_EPOCH);
        let text = String::from_utf8(field.octets().to_vec()).unwrap().replace("\r\n ", " ");
        let text = text.strip_prefix("Received: ").unwrap();
        text.strip_suffix("; Thu, 01 Jan 1970 00:00:00 +0000\r\n").unwrap().to_owned()
    }

    #[test]
    fn the_client_is_named() {
        let by = "by mx.example (nobounce) with ESMTP id gate.7";
        let v4 = |helo| peer("192.0.2.1", helo);
        let looked_up = |name_lookup| Peer { name_lookup, ..v4("c") };
        for (peer, from) in [
            (v4("c.example"), "from c.example ([192.0.2.1])"),
            (v4("c.example").named("d.example"), "from c.example (d.example [192.0.2.1])"),
            (looked_up(NameLookup::Answered), "from c (unknown [192.0.2.1])"),
            (looked_up(NameLookup::Failed), "from c ([192.0.2.1])"),
            (peer("2001:db8::1", "c"), "from c ([IPv6:2001:db8::1])"),
            (peer("::ffff:192.0.2.1", "c"), "from c ([192.0.2.1])"),
            (v4("[192.0.2.1]"), "from [192.0.2.1] ([192.0.2.1])"),
            (v4("[IPv6:2001:db8::1]"), "from [IPv6:2001:db8::1] ([192.0.2.1])"),
            (v4(""), "from unknown ([192.0.2.1])"),
            // What would end the comment or begin one, quote, hide or name something else.
            (v4("a)b(c"), "from a?b?c ([192.0.2.1])"),
            (v4("a\\"), "from a? ([192.0.2.1])"),
            (v4("a\"b"), "from a?b ([192.0.2.1])"),
            (v4("a b\tc"), "from a?b?c ([192.0.2.1])"),
            (v4("a\r\nB: c"), "from a??B??c ([192.0.2.1])"),
            (v4("a\0\u{7f}\u{e9}\u{2028}"), "from a???? ([192.0.2.1])"),
            (v4("a;b,c<d>@e"), "from a?b?c?d??e ([192.0.2.1])"),
            (v4("[1.2.3.4"), "from ?1.2.3.4 ([192.0.2.1])"),
            (v4("[1.2.3.4] (x)]"), "from ?1.2.3.4???x?? ([192.0.2.1])"),
            (v4("c").named("d) by e ("), "from c (d??by?e?? [192.0.2.1])"),
        ] {
            assert_eq!(trace(&envelope(peer, &[])), format!("{from} {by}"));
        }
        assert_eq!(
            trace(&envelope(Peer::local(), &[])),
            "from unknown (local) by mx.example (nobounce) with SMTP id gate.7"
        );
    }

    #[test]
    fn the_protocol_is_named() {
        for (extended, utf8, tls, expected) in [
            (false, false, false, "with SMTP id"),
            (false, false, true, "with SMTP id"),
            (true, false, false, "with ESMTP id"),
            (true, false, true, "with ESMTPS id"),
            (true, true, false, "with UTF8SMTP id"),
            (true, true, true, "with UTF8SMTPS id"),
        ] {
            let mut peer = peer("192.0.2.1", "c");
            peer.helo = Some(Helo { extended, name: "c".into() });
            peer.tls = tls.then(|| Tls::new("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
            let mut envelope = envelope(peer, &[]);
            envelope.reverse_path.parameters.smtp_utf8 = utf8;
            let trace = trace(&envelope);
            assert!(trace.contains(expected), "{trace}");
            let using = "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by";
            assert_eq!(trace.contains(using), tls, "{trace}");
        }
    }

    #[test]
    fn one_recipient_is_named() {
        for (recipients, expected) in [
            (&[][..], None),
            (&["<a@b.example>"], Some(" for <a@b.example>")),
            (&["<Postmaster>"], Some(" for <Postmaster>")),
            (&["<a+tag=x@b>"], Some(" for <a+tag=x@b>")),
            (&["<a@b.example>", "<c@b.example>"], None),
            (&["<>"], None),
            (&["<\"a b\"@c>"], None),
            (&["<a(b)@c>"], None),
            (&["<@a,@b:c@d>"], None),
            (&["<\u{e9}@b>"], None),
        ] {
            let trace = trace(&envelope(peer("192.0.2.1", "c"), recipients));
            let found = trace.split_once("gate.7").unwrap().1;
            assert_eq!(found, expected.unwrap_or(""), "{recipients:?}");
        }
    }

    #[test]
    fn dates_are_right() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (86_399, "Thu, 01 Jan 1970 23:59:59 +0000"),
            (86_400, "Fri, 02 Jan 1970 00:00:00 +0000"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 +0000"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 +0000"),
            (978_307_199, "Sun, 31 Dec 2000 23:59:59 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_735_689_600, "Wed, 01 Jan 2025 00:00:00 +0000"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
            (4_294_967_296, "Sun, 07 Feb 2106 06:28:16 +0000"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (253_402_300_800, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(
                written_date(UNIX_EPOCH + Duration::from_secs(seconds)),
                expected,
                "{seconds}"
            );
        }
        let before = UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(written_date(before), "Thu, 01 Jan 1970 00:00:00 +0000");
    }

    proptest! {
        /// mail-parser, which was written without us, reads the same second.
        #[test]
        fn dates_are_read_alike(seconds in 0..32_503_680_000_u64) {
            let written = written_date(UNIX_EPOCH + Duration::from_secs(seconds));
            let read = mail_parser::DateTime::parse_rfc822(&written).unwrap();
            prop_assert_eq!(u64::try_from(read.to_timestamp()).unwrap(), seconds);
            let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
            prop_assert!(written.starts_with(weekday[usize::from(read.day_of_week())]));
        }

        /// Whatever the client says of itself, the field says what the socket does.
        #[test]
        fn no_client_breaks_out(helo in "\\PC{0,400}|[()\\[\\]\"\\\\ a-z\r\n]{0,40}", name in ".{0,80}") {
            let peer = peer("192.0.2.1", &helo).named(&name);
            let field = received("mx.example", &envelope(peer, &["<a@b>"]), UNIX_EPOCH);
            let text = str::from_utf8(field.octets()).unwrap();
            prop_assert!(text.lines().all(|line| line.len() <= 998));
            prop_assert!(text.bytes().all(|octet| matches!(octet, b'\r' | b'\n' | b' '..=b'~')));
            let text = text.replace("\r\n ", " ");
            let (from, rest) = text.split_once(" (").unwrap();
            prop_assert!(!from.contains(['(', ')', '"', '\\', ';']));
            let (info, rest) = rest.split_once(") ").unwrap();
            prop_assert!(info.ends_with(" [192.0.2.1]"));
            prop_assert!(!info.contains(['(', '"', '\\', ';']));
            let end = "by mx.example (nobounce) with ESMTP id gate.7 for <a@b>; \
                       Thu, 01 Jan 1970 00:00:00 +0000\r\n";
            prop_assert_eq!(rest, end);
        }
    }
}
