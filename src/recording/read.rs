//! Reads recorded sessions from lines.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::line::{Client, Found, Levels, Line, Text, Tls};
use super::session::{
    Closed, Content, Decided, Element, Ended, Fact, Heard, HeardFailure, Judged, RecordedSession,
    Relayed,
};
use super::{VERSION, base64, words};
use crate::envelope::SessionId;
use crate::observer::During;
use crate::peer::{Peer, TlsInfo, Voucher};
use crate::score::{Disclosure, Finding, Score, Thresholds};
use crate::wire::reply::Reply;

/// Maximum length of a line in octets.
const LONGEST: u64 = 64 << 20;
/// The kinds of lines after the first.
const KINDS: [&str; 22] = [
    "cut",
    "client-changed",
    "client-lost",
    "closed",
    "content",
    "ended",
    "evicted",
    "heard",
    "in",
    "input-ended",
    "judged",
    "late",
    "mail-data",
    "not-secured",
    "offered",
    "out",
    "relayed",
    "secured",
    "shutting-down",
    "stressed",
    "tarpitted",
    "unacknowledged",
];
/// Maximum number of scorer names that are shared between sessions.
const NAMES: usize = 4_096;

/// An iterator over the sessions of a recording.
///
/// A recording that was cut is read up to there: the rest of the last line is ignored, and the last
/// session is returned as far as it is known ([`RecordedSession::is_complete`]). Lines of a kind
/// that this version of the crate does not know are skipped. After an error, the next call continues
/// with the next line.
///
/// ```
/// use nobounce::recording::{Fact, Recording};
///
/// let lines = r#"{"v":1,"session":"mx-0","at":0,"kind":"opened","time":1796028335.4}
/// {"session":"mx-0","at":0.5,"kind":"out","octets":"MjIwIG14LmV4YW1wbGUN"}
/// {"session":"mx-0","at":9,"kind":"clo"#;
/// let mut recording = Recording::new(lines.as_bytes());
/// let session = recording.next().unwrap()?;
/// assert_eq!(session.session.to_string(), "mx-0");
/// assert!(matches!(&session.elements[0].fact, Fact::Transmitted(octets) if octets.starts_with(b"220 ")));
/// assert!(!session.is_complete() && recording.next().is_none());
/// # Ok::<(), nobounce::recording::RecordingError>(())
/// ```
#[derive(Debug)]
pub struct Recording<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    /// The session whose lines are being read.
    current: Option<RecordedSession>,
    names: HashMap<Box<str>, Arc<str>>,
    is_over: bool,
}

/// The error for a recording that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The source cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The line is not part of a recording, or a part of it is missing.
    #[error("line {line}: not a line of a recording: {reason}")]
    Malformed {
        /// The number of the line; the first is 1.
        line: u64,
        /// The reason.
        reason: Box<str>,
    },
    /// The line has another version.
    #[error("line {line}: version {version} of the format of recordings; expected {VERSION}")]
    Version {
        /// The number of the line; the first is 1.
        line: u64,
        /// The version.
        version: u32,
    },
}

impl<R: BufRead> Recording<R> {
    /// Reads a recording.
    pub fn new(from: R) -> Self {
        let (line, names) = (Vec::new(), HashMap::new());
        Self { from, line, number: 0, current: None, names, is_over: false }
    }

    fn read(&mut self) -> Result<Option<RecordedSession>, RecordingError> {
        while !self.is_over {
            self.line.clear();
            self.number += 1;
            let length = self.from.by_ref().take(LONGEST).read_until(b'\n', &mut self.line);
            let length = length.inspect_err(|_| self.is_over = true)?;
            if self.line.last() != Some(&b'\n') {
                if length as u64 == LONGEST {
                    let skipped = self.from.skip_until(b'\n');
                    skipped.inspect_err(|_| self.is_over = true)?;
                    return Err(malformed(self.number, "it is too long"));
                }
                self.is_over = true;
                break;
            }
            let line = std::mem::take(&mut self.line);
            let taken = self.take(&line);
            self.line = line;
            if let Some(whole) = taken? {
                return Ok(Some(whole));
            }
        }
        Ok(self.current.take())
    }

    /// Takes a line. Returns the session that it ends, or the one before it.
    fn take(&mut self, line: &[u8]) -> Result<Option<RecordedSession>, RecordingError> {
        let number = self.number;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let line: Line<'_> =
            serde_json::from_slice(line).map_err(|error| malformed(number, error.to_string()))?;
        match line.v {
            Some(VERSION) => {}
            Some(version) => return Err(RecordingError::Version { line: number, version }),
            None if line.kind == "opened" => return Err(malformed(number, "`v` is missing")),
            None => {}
        }
        if line.kind == "opened" {
            let began = opened(&line).ok_or_else(|| malformed(number, "a part is missing"))?;
            return Ok(self.current.replace(began));
        }
        if !KINDS.contains(&&*line.kind) {
            return Ok(None);
        }
        let is_current = |it: &RecordedSession| it.session.as_str() == line.session;
        if !self.current.as_ref().is_some_and(is_current) {
            return Err(malformed(number, "no line begins its session"));
        }
        let fact = match self.fact(line) {
            Ok(Some(fact)) => fact,
            Ok(None) => return Ok(None),
            Err(missing) => {
                return Err(malformed(number, format!("`{missing}` is missing or wrong")));
            }
        };
        let is_last = matches!(fact.fact, Fact::Closed(_));
        if let Some(current) = &mut self.current {
            current.elements.push(fact);
        }
        Ok(if is_last { self.current.take() } else { None })
    }

    /// Returns the element of a line. `None` for an unknown kind. The error is the key that is
    /// missing or wrong.
    fn fact(&mut self, line: Line<'_>) -> Result<Option<Element>, &'static str> {
        let at = duration(line.at).ok_or("at")?;
        let fact = match &*line.kind {
            "offered" => {
                let keywords = line.extensions.as_deref().ok_or("extensions")?;
                Fact::Offered(words::read_extensions(keywords.iter().map(String::as_str)))
            }
            "in" => Fact::Received { octets: octets(line.octets)?, during: during(line.during)? },
            "mail-data" => Fact::MailData {
                octets: line.size.ok_or("size")?,
                ends: line.ends.ok_or("ends")?,
                during: during(line.during)?,
            },
            "content" => Fact::Content(content(line)?),
            "out" => Fact::Transmitted(octets(line.octets)?),
            "input-ended" => Fact::InputEnded { during: during(line.during)? },
            "client-lost" => Fact::ClientLost { during: during(line.during)? },
            "secured" => Fact::Secured(tls(line.tls.ok_or("tls")?)),
            "not-secured" => Fact::NotSecured,
            "client-changed" => {
                let client = line.client.and_then(client).ok_or("client")?;
                Fact::ClientChanged(client.into())
            }
            "stressed" => Fact::Stressed(line.on.ok_or("on")?),
            "shutting-down" => Fact::ShuttingDown,
            "evicted" => Fact::Evicted,
            "tarpitted" => Fact::Tarpitted,
            "heard" => Fact::Heard(self.heard(line)?.into()),
            "judged" => Fact::Judged(self.judged(line)?),
            "relayed" => Fact::Relayed(relayed(line)?),
            "late" => Fact::Late(word(line.cause, words::read_awaiting).ok_or("cause")?),
            "ended" => Fact::Ended(Ended {
                transaction: line.transaction.ok_or("transaction")?,
                cause: word(line.cause, words::read_cause).ok_or("cause")?,
                reply: perhaps_reply(line.reply)?,
            }),
            "unacknowledged" => Fact::Unacknowledged(line.transaction.ok_or("transaction")?),
            "closed" => Fact::Closed(Closed {
                end: word(line.cause, words::read_end).ok_or("cause")?,
                conduct: line.conduct.into_iter().map(|(kind, n)| (kind.into(), n)).collect(),
            }),
            "cut" => Fact::Cut,
            _ => return Ok(None),
        };
        Ok(Some(Element { at, fact }))
    }

    fn heard(&mut self, line: Line<'_>) -> Result<Heard, &'static str> {
        Ok(Heard {
            transaction: line.transaction.ok_or("transaction")?,
            stage: word(line.stage, words::read_stage).ok_or("stage")?,
            scorer: self.name(&line.scorer.ok_or("scorer")?.0),
            took: duration(line.took.unwrap_or_default()).ok_or("took")?,
            findings: line.findings.iter().map(finding).collect(),
            refusal: perhaps_reply(line.reply)?,
            fields: line.adds_fields.unwrap_or_default(),
            failure: line.failure.map(|failure| HeardFailure {
                cause: failure.cause.into(),
                text: failure.text.map(|text| text.0.into()),
                adds_only: failure.adds_only,
            }),
        })
    }

    fn judged(&mut self, line: Line<'_>) -> Result<Judged, &'static str> {
        let verdict =
            |text| word(text, |word| Decided::ALL.into_iter().find(|it| it.word() == word));
        let weighted = line.weighted.iter();
        let weighted: Vec<_> = weighted
            .map(|it| (self.name(&it.scorer), it.symbol.as_ref().into(), score(it.score)))
            .collect();
        Ok(Judged {
            transaction: line.transaction.ok_or("transaction")?,
            stage: word(line.stage, words::read_stage).ok_or("stage")?,
            score: score(line.score.ok_or("score")?),
            verdict: verdict(line.verdict).ok_or("verdict")?,
            monitored: match line.monitored {
                Some(word) => Some(verdict(Some(word)).ok_or("monitored")?),
                None => None,
            },
            reply: perhaps_reply(line.reply)?,
            thresholds: match line.thresholds {
                Some(levels) => Some(thresholds(&levels).ok_or("thresholds")?),
                None => None,
            },
            silent: line.silent.iter().map(|name| self.name(&name.0)).collect(),
            weighted,
        })
    }

    /// Returns the name of a scorer. Sessions share the few names that there are.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        if self.names.len() < NAMES {
            self.names.insert(name.into(), new.clone());
        }
        new
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<RecordedSession, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn malformed(line: u64, reason: impl Into<Box<str>>) -> RecordingError {
    RecordingError::Malformed { line, reason: reason.into() }
}

fn opened(line: &Line<'_>) -> Option<RecordedSession> {
    let (version, policy) = match &line.gate {
        Some(gate) => (gate.version.as_ref().into(), gate.policy.as_ref().into()),
        None => Default::default(),
    };
    Some(RecordedSession {
        session: SessionId::new(&line.session),
        time: time(line.time?)?,
        client: match &line.client {
            Some(named) => client_of(named)?,
            None => Peer::local(),
        },
        version,
        policy,
        elements: Vec::new(),
    })
}

fn content(line: Line<'_>) -> Result<Content, &'static str> {
    let sha256 = match line.sha256 {
        Some(text) => Some(unhex(&text.0).ok_or("sha256")?),
        None => None,
    };
    Ok(Content {
        transaction: line.transaction.ok_or("transaction")?,
        octets: line.size.ok_or("size")?,
        sha256,
        fields: line.fields.into_iter().map(|name| name.0.into()).collect(),
        header: match line.header {
            Some(text) => Some(base64::decode(&text.0).ok_or("header")?),
            None => None,
        },
    })
}

fn relayed(line: Line<'_>) -> Result<Relayed, &'static str> {
    Ok(Relayed {
        transaction: line.transaction.ok_or("transaction")?,
        request: word(line.request, words::read_request).ok_or("request")?,
        reply: perhaps_reply(line.reply)?.ok_or("reply")?,
        failure: line.failure.map(|it| it.text.map_or_else(Box::default, |text| text.0.into())),
    })
}

fn client(client: Client<'_>) -> Option<Peer> {
    client_of(&client)
}

fn client_of(client: &Client<'_>) -> Option<Peer> {
    let text = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.as_ref().into());
    let mut peer = match &client.address {
        Some(address) => Peer::new(address.0.parse().ok()?),
        None => Peer::local(),
    };
    if let Some(name) = &client.name {
        peer = peer.named(&name.0);
    }
    (peer.reverse_name, peer.login) = (text(&client.reverse_name), text(&client.login));
    peer.tls = client.tls.as_ref().map(|tls| TlsInfo::new(&tls.version, &tls.cipher));
    peer.own = client.own;
    if let Some(proxy) = &client.proxy {
        let address = Some(&*proxy.0).filter(|text| !text.is_empty());
        peer.vouched.address = Voucher::Proxy(match address {
            Some(address) => Some(address.parse().ok()?),
            None => None,
        });
    }
    Some(peer)
}

fn tls(tls: Tls<'_>) -> TlsInfo {
    TlsInfo::new(&tls.version, &tls.cipher)
}

fn finding(found: &Found<'_>) -> Finding {
    let disclosure = if found.told { Disclosure::Public } else { Disclosure::Private };
    let finding = Finding::new(&found.symbol, score(found.given)).with_disclosure(disclosure);
    if found.detail.is_empty() { finding } else { finding.with_detail(&found.detail) }
}

fn thresholds(levels: &Levels) -> Option<Thresholds> {
    let [tag, defer, refuse] = [levels.tag, levels.defer, levels.refuse].map(|it| it.map(score));
    Thresholds::new(tag, defer, refuse).ok()
}

fn octets(text: Option<Text<'_>>) -> Result<Vec<u8>, &'static str> {
    text.and_then(|text| base64::decode(&text.0)).ok_or("octets")
}

fn perhaps_reply(text: Option<Text<'_>>) -> Result<Option<Reply>, &'static str> {
    match text {
        Some(text) => words::read_reply(&text.0).map(Some).ok_or("reply"),
        None => Ok(None),
    }
}

fn word<T>(text: Option<Text<'_>>, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    read(&text?.0)
}

fn during(text: Option<Text<'_>>) -> Result<During, &'static str> {
    match text {
        Some(text) => words::read_during(&text.0).ok_or("during"),
        None => Ok(During::Receive),
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(octets)
}

#[allow(clippy::cast_possible_truncation, reason = "saturates, as scores do")]
fn score(points: f64) -> Score {
    Score::hundredths((points * 100.0).round() as i32)
}

/// Returns a time in seconds, exact to the nanosecond.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn duration(seconds: f64) -> Option<Duration> {
    let is_sane = (0.0..1e9).contains(&seconds);
    is_sane.then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// Returns a Unix time, exact to the microsecond.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn time(seconds: f64) -> Option<SystemTime> {
    let is_sane = (0.0..1e11).contains(&seconds);
    is_sane.then(|| UNIX_EPOCH + Duration::from_micros((seconds * 1e6).round() as u64))
}
