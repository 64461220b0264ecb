//! Writes recorded sessions as lines.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::line::{Client, Failure, Found, Gate, Levels, Line, Text, Tls, Weighted};
use super::session::{Content, Element, Fact, Heard, Judged, RecordedSession, Relayed};
use super::{VERSION, base64, words};
use crate::observer::During;
use crate::observer::json::ascii_line as ascii;
use crate::peer::{Peer, TlsInfo, Voucher};
use crate::score::{Disclosure, Finding, Score, Thresholds};

impl fmt::Display for RecordedSession {
    /// Writes the lines of the session, each with a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session.to_string();
        let line = |at, kind: &'static str| Line {
            session: Cow::Borrowed(&*session),
            at,
            kind: Cow::Borrowed(kind),
            ..Line::default()
        };
        let gate = Gate { version: (&*self.version).into(), policy: (&*self.policy).into() };
        let opened = Line {
            v: Some(VERSION),
            time: Some(unix(self.time)),
            client: Some(client(&self.client)),
            gate: Some(gate),
            ..line(0.0, "opened")
        };
        writeln!(f, "{}", ascii(&opened))?;
        for Element { at, fact } in &self.elements {
            writeln!(f, "{}", ascii(&written(fact, line(at.as_secs_f64(), kind(fact)))))?;
        }
        Ok(())
    }
}

fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::Offered(_) => "offered",
        Fact::Received { .. } => "in",
        Fact::MailData { .. } => "mail-data",
        Fact::Content(_) => "content",
        Fact::Transmitted(_) => "out",
        Fact::InputEnded { .. } => "input-ended",
        Fact::ClientLost { .. } => "client-lost",
        Fact::Secured(_) => "secured",
        Fact::NotSecured => "not-secured",
        Fact::ClientChanged(_) => "client-changed",
        Fact::Stressed(_) => "stressed",
        Fact::ShuttingDown => "shutting-down",
        Fact::Evicted => "evicted",
        Fact::Tarpitted => "tarpitted",
        Fact::Heard(_) => "heard",
        Fact::Judged(_) => "judged",
        Fact::Relayed(_) => "relayed",
        Fact::Late(_) => "late",
        Fact::Ended(_) => "ended",
        Fact::Unacknowledged(_) => "unacknowledged",
        Fact::Closed(_) => "closed",
        Fact::Cut => "cut",
    }
}

/// Adds the keys of a fact to its line.
fn written<'f>(fact: &'f Fact, line: Line<'f>) -> Line<'f> {
    match fact {
        Fact::Offered(offered) => Line { extensions: Some(words::extensions(offered)), ..line },
        Fact::Received { octets, during: at } => {
            Line { octets: Some(encoded(octets)), during: during(*at), ..line }
        }
        Fact::MailData { octets, ends, during: at } => {
            Line { size: Some(*octets), ends: Some(*ends), during: during(*at), ..line }
        }
        Fact::Content(content) => content_line(content, line),
        Fact::Transmitted(octets) => Line { octets: Some(encoded(octets)), ..line },
        Fact::Secured(info) => Line { tls: Some(tls(info)), ..line },
        Fact::ClientChanged(peer) => Line { client: Some(client(peer)), ..line },
        Fact::Stressed(on) => Line { on: Some(*on), ..line },
        Fact::Heard(heard) => heard_line(heard, line),
        Fact::Judged(judged) => judged_line(judged, line),
        Fact::Relayed(relayed) => relayed_line(relayed, line),
        Fact::Late(awaiting) => Line { cause: text(words::awaiting(*awaiting)), ..line },
        Fact::Ended(ended) => Line {
            transaction: Some(ended.transaction),
            cause: text(ended.cause.word()),
            reply: ended.reply.as_ref().map(|reply| Text::of(reply.to_string())),
            ..line
        },
        Fact::Unacknowledged(transaction) => Line { transaction: Some(*transaction), ..line },
        Fact::Closed(closed) => Line {
            cause: text(closed.end.word()),
            conduct: closed.conduct.iter().map(|(kind, n)| ((&**kind).into(), *n)).collect(),
            ..line
        },
        Fact::InputEnded { during: at } | Fact::ClientLost { during: at } => {
            Line { during: during(*at), ..line }
        }
        Fact::NotSecured | Fact::ShuttingDown | Fact::Evicted | Fact::Tarpitted | Fact::Cut => line,
    }
}

fn content_line<'f>(content: &'f Content, line: Line<'f>) -> Line<'f> {
    let hex = |hash: &[u8; 32]| hash.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    Line {
        transaction: Some(content.transaction),
        size: Some(content.octets),
        sha256: content.sha256.as_ref().map(|hash| Text::of(hex(hash))),
        fields: content.fields.iter().map(|name| Text::of(&**name)).collect(),
        header: content.header.as_deref().map(encoded),
        ..line
    }
}

fn heard_line<'f>(heard: &'f Heard, line: Line<'f>) -> Line<'f> {
    let failure = heard.failure.as_ref().map(|failure| Failure {
        cause: (&*failure.cause).into(),
        text: failure.text.as_deref().map(Text::of),
        adds_only: failure.adds_only,
    });
    Line {
        transaction: Some(heard.transaction),
        stage: text(words::stage(heard.stage)),
        scorer: text(&heard.scorer),
        took: Some(heard.took.as_secs_f64()),
        findings: heard.findings.iter().map(found).collect(),
        reply: heard.refusal.as_ref().map(|reply| Text::of(reply.to_string())),
        adds_fields: Some(heard.fields).filter(|fields| *fields > 0),
        failure,
        ..line
    }
}

fn judged_line<'f>(judged: &'f Judged, line: Line<'f>) -> Line<'f> {
    let weighted = judged.weighted.iter().map(|(scorer, symbol, score)| Weighted {
        scorer: (&**scorer).into(),
        symbol: (&**symbol).into(),
        score: points(*score),
    });
    Line {
        transaction: Some(judged.transaction),
        stage: text(words::stage(judged.stage)),
        score: Some(points(judged.score)),
        verdict: text(judged.verdict.word()),
        monitored: judged.monitored.map(|verdict| Text::of(verdict.word())),
        reply: judged.reply.as_ref().map(|reply| Text::of(reply.to_string())),
        thresholds: judged.thresholds.as_ref().map(levels),
        silent: judged.silent.iter().map(|name| Text::of(&**name)).collect(),
        weighted: weighted.collect(),
        ..line
    }
}

fn relayed_line<'f>(relayed: &'f Relayed, line: Line<'f>) -> Line<'f> {
    let failure = relayed.failure.as_deref().map(|text| Failure {
        text: Some(text).filter(|text| !text.is_empty()).map(Text::of),
        ..Failure::default()
    });
    Line {
        transaction: Some(relayed.transaction),
        request: text(words::request(relayed.request)),
        reply: Some(Text::of(relayed.reply.to_string())),
        failure,
        ..line
    }
}

fn client(peer: &Peer) -> Client<'_> {
    let perhaps = |value: &'_ Option<Box<str>>| value.as_deref().map(|it| Text::of(it.to_owned()));
    let proxy = match peer.vouched.address {
        Voucher::Proxy(address) => {
            Some(Text::of(address.map_or_else(String::new, |it| it.to_string())))
        }
        _ => None,
    };
    Client {
        address: peer.address.map(|address| Text::of(address.to_string())),
        name: perhaps(&peer.name),
        reverse_name: perhaps(&peer.reverse_name),
        login: perhaps(&peer.login),
        tls: peer.tls.as_ref().map(tls),
        proxy,
        own: peer.own,
    }
}

fn tls(info: &TlsInfo) -> Tls<'_> {
    Tls { version: (&*info.version).into(), cipher: (&*info.cipher).into() }
}

fn found(finding: &Finding) -> Found<'_> {
    Found {
        symbol: finding.symbol().into(),
        given: points(finding.score()),
        detail: finding.detail().into(),
        told: finding.disclosure() == Disclosure::Public,
    }
}

fn levels(thresholds: &Thresholds) -> Levels {
    Levels {
        tag: thresholds.tag().map(points),
        defer: thresholds.defer().map(points),
        refuse: thresholds.refuse().map(points),
    }
}

fn encoded(octets: &[u8]) -> Text<'static> {
    Text::of(base64::encode(octets))
}

fn text(text: &str) -> Option<Text<'_>> {
    Some(Text::of(text))
}

/// Returns the word for what a session was doing. Most input comes while it waits for it.
fn during(during: During) -> Option<Text<'static>> {
    Some(Text::of(words::during(during))).filter(|_| during != During::Receive)
}

fn points(score: Score) -> f64 {
    f64::from(score.as_hundredths()) / 100.0
}

/// Returns the Unix time in seconds, with microseconds.
fn unix(time: SystemTime) -> f64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e6).round() / 1e6
}
