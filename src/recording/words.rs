//! The words of a recording for values of the crate.

use crate::capabilities::Capabilities;
use crate::deadline::Awaiting;
use crate::observer::During;
use crate::outcome::RequestKind;
use crate::session::{EndCause, SessionEnd};
use crate::verdict::Stage;
use crate::wire::reply::{Reply, ReplyCode};

/// The events that a session can wait for in vain.
const AWAITING: [(Awaiting, &str); 10] = [
    (Awaiting::EarlyInput, "early-input"),
    (Awaiting::Command, "command"),
    (Awaiting::MailData, "mail-data"),
    (Awaiting::DataRate, "data-rate"),
    (Awaiting::EndOfMailData, "end-of-mail-data"),
    (Awaiting::Tls, "tls"),
    (Awaiting::Verdict, "verdict"),
    (Awaiting::RecipientOutcome, "recipient-outcome"),
    (Awaiting::ContentOutcome, "content-outcome"),
    (Awaiting::Transmission, "transmission"),
];

pub(super) fn awaiting(awaiting: Awaiting) -> &'static str {
    AWAITING.iter().find(|(it, _)| *it == awaiting).map_or("other", |(_, word)| word)
}

pub(super) fn read_awaiting(word: &str) -> Option<Awaiting> {
    AWAITING.iter().find(|(_, it)| *it == word).map(|(awaiting, _)| *awaiting)
}

const REQUESTS: [(RequestKind, &str); 4] = [
    (RequestKind::Recipient, "rcpt"),
    (RequestKind::Content, "content"),
    (RequestKind::Answer, "answer"),
    (RequestKind::Renewal, "renewal"),
];

pub(super) fn request(kind: RequestKind) -> &'static str {
    REQUESTS.iter().find(|(it, _)| *it == kind).map_or("", |(_, word)| word)
}

pub(super) fn read_request(word: &str) -> Option<RequestKind> {
    REQUESTS.iter().find(|(_, it)| *it == word).map(|(kind, _)| *kind)
}

const DURING: [(During, &str); 4] = [
    (During::Receive, "receive"),
    (During::Question, "question"),
    (During::Transmit, "transmit"),
    (During::Work, "work"),
];

pub(super) fn during(during: During) -> &'static str {
    DURING.iter().find(|(it, _)| *it == during).map_or("", |(_, word)| word)
}

pub(super) fn read_during(word: &str) -> Option<During> {
    DURING.iter().find(|(_, it)| *it == word).map(|(during, _)| *during)
}

pub(super) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
    }
}

pub(super) fn read_stage(word: &str) -> Option<Stage> {
    [Stage::Connect, Stage::Rcpt, Stage::Data].into_iter().find(|it| stage(*it) == word)
}

pub(super) fn read_cause(word: &str) -> Option<EndCause> {
    use EndCause::{
        Accepted, ClientLost, Closed, RefusedByPanel, RefusedByRelay, RefusedBySession,
        RelayFailed, Reset, TimedOut,
    };
    let all = [Accepted, RefusedByPanel, RefusedByRelay, RelayFailed, RefusedBySession];
    let all = all.into_iter().chain([Reset, ClientLost, TimedOut, Closed]);
    all.into_iter().find(|cause| cause.word() == word)
}

pub(super) fn read_end(word: &str) -> Option<SessionEnd> {
    use SessionEnd::{ClientLost, Closed, HandshakeFailed, Quit, RefusedByPanel, TimedOut};
    let all = [Quit, ClientLost, TimedOut, RefusedByPanel, HandshakeFailed, Closed];
    all.into_iter().find(|end| end.word() == word)
}

/// Parses a reply as it was displayed: lines as on the wire, with LF between them.
pub(super) fn read_reply(text: &str) -> Option<Reply> {
    let code = ReplyCode::read(text.as_bytes())?;
    let lines = text.split('\n').map(|line| line.get(4..).unwrap_or_default());
    Some(Reply::plain(code, &lines.collect::<Vec<_>>().join("\n")))
}

/// Returns the extensions as EHLO keywords.
pub(crate) fn extensions(offered: &Capabilities) -> Vec<String> {
    let flags = [
        (offered.pipelining, "PIPELINING"),
        (offered.eight_bit_mime, "8BITMIME"),
        (offered.smtp_utf8, "SMTPUTF8"),
        (offered.chunking, "CHUNKING"),
        (offered.dsn, "DSN"),
        (offered.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
        (offered.start_tls, "STARTTLS"),
        (offered.prdr, "PRDR"),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
    let limits = [("RCPTMAX", offered.recipients_max), ("MAILMAX", offered.transactions_max)];
    let limits = limits.into_iter().filter_map(|(name, limit)| Some(format!("{name}={}", limit?)));
    let limits = limits.map(|limit| format!("LIMITS {limit}"));
    flags.chain(offered.size.map(|size| format!("SIZE {size}"))).chain(limits).collect()
}

/// Parses EHLO keywords.
pub(super) fn read_extensions<'k>(keywords: impl Iterator<Item = &'k str>) -> Capabilities {
    let text = keywords.fold("host".to_owned(), |all, keyword| all + "\n" + keyword);
    Capabilities::read(&Reply::plain(ReplyCode::OK, &text))
}
