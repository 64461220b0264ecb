use super::*;
use crate::opinion::FailurePolicy;
use crate::panel::{Panel, Seat, Sitting};
use crate::peer::{Helo, Peer};
use crate::rehearsal::{Rehearsal, Zone, envelope, message, recipient};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};

fn from(address: &str, sender: &str) -> Envelope {
    let mut envelope = envelope(sender);
    let mut peer = Peer::new(std::net::SocketAddr::new(address.parse().unwrap(), 25));
    peer.helo = Some(Helo { extended: true, name: "mx.example.org".into() });
    envelope.peer = Arc::new(peer);
    envelope
}

/// Returns the symbols of the findings, and ` (failed)` for a failure.
fn told(answer: Result<Opinion, ScorerError>) -> String {
    let (opinion, failed) = match answer {
        Ok(opinion) => (opinion, ""),
        Err(error) => (error.opinion().clone(), " (failed)"),
    };
    assert_eq!(opinion.refusal, None);
    let symbols: Vec<_> = opinion.findings.iter().map(Finding::symbol).collect();
    symbols.join(" ") + failed
}

fn spf(records: &str, address: &str, sender: &str) -> String {
    let authentication = Authentication::new(Zone::new(records), "mx.example.net");
    told(pollster::block_on(
        authentication.on_rcpt(&RcptContext::new(&from(address, sender), &recipient())),
    ))
}

#[test]
fn spf_is_as_rfc_7208_has_it() {
    let s = "<a@example.org>";
    for (records, sender, expected) in [
        ("", s, "SPF_NONE"),
        ("example.org TXT v=spf1 ip4:192.0.2.0/24 -all", s, "SPF_PASS"),
        ("example.org TXT v=spf1 ip4:192.0.3.0/24 -all", s, "SPF_FAIL"),
        ("example.org TXT v=spf1 ~all", s, "SPF_SOFTFAIL"),
        ("example.org TXT v=spf1 ?all", s, "SPF_NEUTRAL"),
        ("example.org TXT v=spf1", s, "SPF_NEUTRAL"),
        ("example.org TXT v=spf10 -all", s, "SPF_NONE"),
        ("example.org TXT v=spf1 nonsense -all", s, "SPF_PERMERROR"),
        ("example.org TXT v=spf1 ip4:nonsense -all", s, "SPF_PERMERROR"),
        ("example.org TXT v=spf1 -ALL", s, "SPF_FAIL"),
        ("example.org TXT v=spf1  other=b.example exp=c.example ~all ", s, "SPF_SOFTFAIL"),
        ("example.org TXT v=spf1 -all\nexample.org TXT v=spf1 +all", s, "SPF_PERMERROR"),
        ("example.org TXT other\nexample.org TXT v=spf1 +all", s, "SPF_PASS"),
        ("example.org TXT fails", s, "SPF_TEMPERROR (failed)"),
        ("example.org TXT v=spf1 a -all\nexample.org A 192.0.2.1", s, "SPF_PASS"),
        ("example.org TXT v=spf1 a -all\nexample.org A 192.0.2.2", s, "SPF_FAIL"),
        ("example.org TXT v=spf1 a -all\nexample.org A fails", s, "SPF_TEMPERROR (failed)"),
        // The lookup is not needed, because an earlier mechanism matches.
        ("example.org TXT v=spf1 ip4:192.0.2.1 a -all\nexample.org A fails", s, "SPF_PASS"),
        (
            "example.org TXT v=spf1 mx -all\nexample.org MX m.example.org\nm.example.org A 192.0.2.1",
            s,
            "SPF_PASS",
        ),
        (
            "example.org TXT v=spf1 include:b.example -all\nb.example TXT v=spf1 ip4:192.0.2.1 -all",
            s,
            "SPF_PASS",
        ),
        (
            "example.org TXT v=spf1 include:b.example ~all\nb.example TXT v=spf1 -all",
            s,
            "SPF_SOFTFAIL",
        ),
        ("example.org TXT v=spf1 include:b.example -all", s, "SPF_PERMERROR"),
        ("example.org TXT v=spf1 redirect=b.example\nb.example TXT v=spf1 +all", s, "SPF_PASS"),
        ("example.org TXT v=spf1 include:example.org -all", s, "SPF_PERMERROR"),
        (
            "example.org TXT v=spf1 exists:%{ir}.%{l}.list.example -all\n1.2.0.192.a.list.example A 127.0.0.2",
            s,
            "SPF_PASS",
        ),
        ("example.org TXT v=spf1 exists:%{i}.list.example ~all", s, "SPF_SOFTFAIL"),
        ("example.org TXT v=spf1 exists:yes.example. -all\nyes.example A 127.0.0.1", s, "SPF_PASS"),
        (
            "example.org TXT v=spf1 exists:x.example -all\nx.example A fails",
            s,
            "SPF_TEMPERROR (failed)",
        ),
        (
            "example.org TXT v=spf1 ptr -all\n1.2.0.192.in-addr.arpa PTR m.example.org\nm.example.org A 192.0.2.1",
            s,
            "SPF_PASS",
        ),
        // With the sender `<>`, the HELO name is checked.
        ("mx.example.org TXT v=spf1 -all\nexample.org TXT v=spf1 +all", "<>", "SPF_FAIL"),
        ("mx.example.org TXT v=spf1 -all\nexample.org TXT v=spf1 +all", "<\"\">", "SPF_FAIL"),
        // For any other sender, the domain that the onward server reads is checked, and never the
        // HELO name.
        (
            "mx.example.org TXT v=spf1 +all\nexample.org TXT v=spf1 -all",
            "<a@b@Example.org.>",
            "SPF_FAIL",
        ),
        (
            "mx.example.org TXT v=spf1 +all\nexample.org TXT v=spf1 -all",
            "<a..b@example.org>",
            "SPF_FAIL",
        ),
        (
            "mx.example.org TXT v=spf1 +all\nexample.org TXT v=spf1 -all",
            "<a%example.org>",
            "SPF_FAIL",
        ),
        ("mx.example.org TXT v=spf1 +all", "<@x:a:b@example.org>", "SPF_NONE"),
        ("mx.example.org TXT v=spf1 +all", "<postmaster>", "SPF_NONE"),
        ("xn--bcher-kva.example TXT v=spf1 -all", "<a@b\u{fc}cher.example>", "SPF_FAIL"),
        ("example.org TXT v=spf1 -all exp=why.example\nwhy.example TXT no", s, "SPF_FAIL"),
    ] {
        assert_eq!(spf(records, "192.0.2.1", sender), expected, "{records}");
    }
    let six = "example.org TXT v=spf1 exists:x.example ~all\nx.example A 127.0.0.1";
    assert_eq!(spf(six, "2001:db8::1", s), "SPF_PASS");
    let six = "example.org TXT v=spf1 a ~all\nexample.org AAAA 2001:db8::1";
    assert_eq!(spf(six, "2001:db8::1", s), "SPF_PASS");
    assert_eq!(spf(six, "2001:db8::2", s), "SPF_SOFTFAIL");
}

#[test]
fn spf_asks_once_however_many_recipients_there_are() {
    for records in ["example.org TXT v=spf1 a mx -all", "example.org TXT fails"] {
        let zone = Zone::new(records);
        let asked = zone.clone();
        let authentication = Authentication::new(zone, "mx.example.net");
        let envelope = from("192.0.2.1", "<a@example.org>");
        let answer = || {
            told(pollster::block_on(
                authentication.on_rcpt(&RcptContext::new(&envelope, &recipient())),
            ))
        };
        let (first, questions) = (answer(), asked.lookups());
        assert!(questions > 0);
        for _ in 0..1_000 {
            assert_eq!(answer(), first);
        }
        assert_eq!(asked.lookups(), questions);
    }
}

#[test]
fn a_record_that_never_ends_is_an_error() {
    let chain: String = (0..40)
        .map(|n| format!("n{n}.example TXT v=spf1 include:n{}.example -all\n", n + 1))
        .collect();
    let zone = Zone::new(&format!("example.org TXT v=spf1 include:n0.example -all\n{chain}"));
    let asked = zone.clone();
    let authentication = Authentication::new(zone, "mx.example.net");
    let envelope = from("192.0.2.1", "<a@example.org>");
    let answer =
        pollster::block_on(authentication.on_rcpt(&RcptContext::new(&envelope, &recipient())));
    assert_eq!(told(answer), "SPF_PERMERROR");
    assert!(asked.lookups() <= 12, "ten lookups are allowed");
}

/// Returns the symbols and the added header field for a message of `example.org` with these
/// records.
fn content(records: &str, sender: &str, text: &str) -> (String, String) {
    let authentication = Authentication::new(Zone::new(records), "mx.example.net");
    let (envelope, message) = (from("192.0.2.1", sender), message(text));
    let answer = pollster::block_on(authentication.on_data(&DataContext::new(&envelope, &message)));
    let opinion = answer.as_ref().unwrap_or_else(ScorerError::opinion);
    let field =
        opinion.fields.iter().map(|field| str::from_utf8(field.octets()).unwrap()).collect();
    (told(answer), field)
}

#[test]
fn dmarc_wants_what_is_aligned() {
    let mail = "From: A <a@example.org>\n\nhello\n";
    let spf = "example.org TXT v=spf1 ip4:192.0.2.1 -all\nother.example TXT v=spf1 +all\n";
    let policy = |policy: &str| format!("{spf}_dmarc.example.org TXT v=DMARC1; p={policy}");
    for (records, sender, expected) in [
        (spf.to_owned(), "<a@example.org>", "SPF_PASS DKIM_NONE DMARC_NONE"),
        (policy("reject"), "<a@example.org>", "SPF_PASS DKIM_NONE DMARC_PASS"),
        (policy("none"), "<a@other.example>", "SPF_PASS DKIM_NONE DMARC_FAIL_NONE"),
        (policy("quarantine"), "<a@other.example>", "SPF_PASS DKIM_NONE DMARC_FAIL_QUARANTINE"),
        (policy("reject"), "<a@other.example>", "SPF_PASS DKIM_NONE DMARC_FAIL_REJECT"),
        (
            format!("{spf}_dmarc.example.org TXT fails"),
            "<a@example.org>",
            "SPF_PASS DKIM_NONE DMARC_TEMPERROR (failed)",
        ),
        (
            policy("reject") + "\n_dmarc.example.org TXT v=DMARC1; p=none",
            "<a@other.example>",
            "SPF_PASS DKIM_NONE DMARC_NONE",
        ),
    ] {
        assert_eq!(content(&records, sender, mail).0, expected, "{records}");
    }
}

#[test]
fn a_rejected_message_is_refused_if_so_set() {
    let rejecting = "_dmarc.example.org TXT v=DMARC1; p=reject";
    let answer = |records: &str, mail: &str| {
        let authentication = Authentication::new(Zone::new(records), "mx").refuse_rejected();
        let envelope = from("192.0.2.1", "<a@other.example>");
        pollster::block_on(authentication.on_data(&DataContext::new(&envelope, &message(mail))))
    };
    let opinion = answer(rejecting, "From: a@example.org\n\n").unwrap();
    let expected = "550 5.7.1 Message refused by the DMARC policy of example.org";
    assert_eq!(opinion.refusal.unwrap().to_string(), expected);
    // The record contains all findings.
    let symbols: Vec<_> = opinion.findings.iter().map(Finding::symbol).collect();
    assert_eq!(symbols, ["SPF_NONE", "DKIM_NONE", "DMARC_FAIL_REJECT"]);

    let aligned = answer(rejecting, "From: a@other.example\n\n");
    assert_eq!(told(aligned), "SPF_NONE DKIM_NONE DMARC_NONE");
    // A failed lookup never causes a permanent refusal.
    let unknown = "_dmarc.other.example TXT v=DMARC1; p=reject\nother.example TXT fails";
    let failure = answer(unknown, "From: a@other.example\n\n");
    let failed = failure.as_ref().err().map(ScorerError::to_string).unwrap_or_default();
    assert!(failed.starts_with("SPF_TEMPERROR: "), "{failure:?}");
    // This lookup does not matter, because the sender is not aligned.
    let unknown = format!("{rejecting}\nother.example TXT fails");
    let opinion = answer(&unknown, "From: a@example.org\n\n").unwrap();
    assert_eq!(opinion.refusal.unwrap().to_string(), expected);
}

#[test]
fn the_field_says_what_was_found_and_holds_no_more_than_a_field() {
    let records = "example.org TXT v=spf1 ip4:192.0.2.1 -all";
    let (_, field) = content(records, "<a@example.org>", "From: a@example.org\n\n");
    let unfolded = field.replace("\r\n ", " ");
    assert!(unfolded.starts_with("Authentication-Results: mx.example.net; spf=pass "), "{field}");
    assert!(unfolded.contains(" smtp.mailfrom=a@example.org; dkim=none; dmarc=none"), "{field}");

    let evil = "From: \"x; spf=pass\" <a@example.org>, b@(;dkim=pass)example.org\n\n";
    let (_, field) = content(records, "<\"a;dkim=pass \\\" (\"@example.org>", evil);
    assert_eq!(field.matches("dkim=").count(), 1, "{field}");
    assert!(field.contains("dkim=none"), "{field}");
}

#[test]
fn results_of_ten_signatures_are_added() {
    let signature =
        "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=AAAA; b=AAAA\n";
    for (count, shown) in [(0, 0), (10, 10), (11, 10), (21, 10)] {
        let mail = signature.repeat(count) + "From: a@example.org\n\nhello\n";
        let (found, field) = content("", "<a@example.org>", &mail);
        let dkim = if count == 0 { "DKIM_NONE" } else { "DKIM_FAIL" };
        assert_eq!(found, format!("SPF_NONE {dkim} DMARC_NONE"));
        assert_eq!(field.matches("dkim=fail").count(), shown, "{field}");
    }
}

/// The best signature counts. A signature beyond the bound is permerror.
#[test]
fn best_of_twenty_signatures_counts() {
    let good = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=AAAA; b=AAAA\n";
    for (malformed, expected) in [(19, "DKIM_FAIL"), (20, "DKIM_PERMERROR")] {
        let mail = "DKIM-Signature: v=1\n".repeat(malformed) + good + "From: a@example.org\n\nx\n";
        let found = content("", "<a@example.org>", &mail).0;
        assert_eq!(found, format!("SPF_NONE {expected} DMARC_NONE"));
    }
}

/// A header that is too long to be evaluated would be the cheapest way around `p=reject`.
#[test]
fn a_padded_header_does_not_spare_dmarc() {
    let records = "_dmarc.example.org TXT v=DMARC1; p=reject";
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=; b=AAAA\n";
    for padding in [
        format!("{signature}X: {}\n", "x".repeat(300_000)),
        signature.to_owned() + &"X: x\n".repeat(2_000),
        format!("{signature}X: {}\n", "x".repeat(5 << 20)),
        signature.repeat(21),
    ] {
        for mail in [
            format!("{padding}From: a@example.org\n\nhello\n"),
            format!("From: a@example.org\n{padding}\nhello\n"),
        ] {
            let (found, field) = content(records, "<a@sender.example>", &mail);
            assert_eq!(found, "SPF_NONE DKIM_PERMERROR DMARC_FAIL_REJECT");
            assert!(field.contains("dkim=permerror") && field.contains("dmarc=fail"), "{field}");
        }
    }
}

#[test]
fn the_field_goes_with_the_message_unless_it_is_refused_or_only_watched() {
    let records = "_dmarc.example.org TXT fails";
    let mail = message("From: a@example.org\n\nhello\n");
    let envelope = from("192.0.2.1", "<a@example.org>");
    let verdict = |seat: fn(Seat) -> Seat, panel: fn(Panel) -> Panel| {
        let scorer = Authentication::new(Zone::new(records), "mx");
        let panel = panel(Panel::new().seat(seat(Seat::new(scorer))));
        let (rehearsal, mut tally) = (Rehearsal::new(), Tally::new());
        rehearsal.run(panel.ask(
            &rehearsal,
            Subject::Content(&envelope, &mail),
            &mut tally,
            &mut Sitting::new(),
        ))
    };
    let ignored: fn(Seat) -> Seat = |seat| seat.on_failure(FailurePolicy::Ignore);
    let tagged = verdict(ignored, |panel| panel);
    assert!(matches!(tagged, Verdict::Tag(fields) if fields.len() == 1));
    assert_eq!(verdict(|seat| seat.monitor(), |panel| panel), Verdict::Pass);
    assert_eq!(verdict(ignored, Panel::monitor), Verdict::Pass);
    let deferred = verdict(|seat| seat, |panel| panel);
    assert!(matches!(deferred, Verdict::Refuse(refusal) if refusal.is_transient()));
}

#[test]
fn symbols_are_known() {
    let authentication = Authentication::new(Zone::new(""), "mx");
    assert!(authentication.weight("SPF_FAILED", Score::ZERO).is_err());
}

#[test]
fn mail_of_own_networks_is_not_checked() {
    let zone = Zone::new("example.org TXT v=spf1 -all\n_dmarc.example.org TXT v=DMARC1; p=reject");
    let authentication = Authentication::new(zone, "mx.example.net").refuse_rejected();
    let mut envelope = from("192.0.2.1", "<a@example.org>");
    let message = message("From: a@example.org\n\nx\n");
    for own in [true, false] {
        Arc::make_mut(&mut envelope.peer).own = own;
        let rcpt =
            pollster::block_on(authentication.on_rcpt(&RcptContext::new(&envelope, &recipient())))
                .unwrap();
        let data =
            pollster::block_on(authentication.on_data(&DataContext::new(&envelope, &message)))
                .unwrap();
        assert_eq!((rcpt == Opinion::silent(), data == Opinion::silent()), (own, own));
    }
}
