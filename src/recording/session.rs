//! Recorded sessions and their elements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::capabilities::Capabilities;
use crate::deadline::Awaiting;
use crate::envelope::SessionId;
use crate::observer::During;
use crate::outcome::RequestKind;
use crate::peer::{Peer, TlsInfo};
use crate::score::{Finding, Score, Thresholds};
use crate::session::{EndCause, SessionEnd};
use crate::tally::Tally;
use crate::verdict::{Stage, Verdict};
use crate::wire::reply::Reply;

/// A session as recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedSession {
    /// The session.
    pub session: SessionId,
    /// The time at which it began.
    pub time: SystemTime,
    /// The client at the beginning of the session.
    pub client: Peer,
    /// The version of nobounce that made the recording.
    pub version: Box<str>,
    /// The policy of the gate, in the words of its operator. Empty if it is not stated.
    pub policy: Box<str>,
    /// The elements in the order in which they were observed.
    pub elements: Vec<Element>,
}

/// An element of a recorded session, with the time since the session began.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Element {
    /// The time since the session began.
    pub at: Duration,
    /// What was observed.
    pub fact: Fact,
}

/// What was observed in a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// The relay target supports these extensions.
    Offered(Capabilities),
    /// The client sent these octets. Mail data is part of them only if the recording contains whole
    /// contents.
    Received {
        /// The octets.
        octets: Vec<u8>,
        /// What the session was doing.
        during: During,
    },
    /// The client sent mail data here that the recording does not contain.
    MailData {
        /// The number of octets as sent, including dot-stuffing and the end of data.
        octets: u64,
        /// Whether the end of data is among them. `false` for a chunk (BDAT), and for mail data that
        /// broke off.
        ends: bool,
        /// What the session was doing.
        during: During,
    },
    /// The panel was asked about this content.
    Content(Content),
    /// These octets were written to the client.
    Transmitted(Vec<u8>),
    /// The client has closed its sending direction (EOF).
    InputEnded {
        /// What the session was doing.
        during: During,
    },
    /// The connection with the client was lost.
    ClientLost {
        /// What the session was doing.
        during: During,
    },
    /// The TLS handshake after STARTTLS succeeded.
    Secured(TlsInfo),
    /// The TLS handshake after STARTTLS failed.
    NotSecured,
    /// A trusted peer announced another client.
    ClientChanged(Box<Peer>),
    /// The limits for a gate under stress applied from now on, or no longer.
    Stressed(bool),
    /// The session was told that the gate shuts down.
    ShuttingDown,
    /// The session was closed to make room for another client.
    Evicted,
    /// Replies were delayed from now on.
    Tarpitted,
    /// A scorer that is not silent has answered.
    Heard(Box<Heard>),
    /// The panel has given its verdict.
    Judged(Judged),
    /// The relay target has answered.
    Relayed(Relayed),
    /// A wait timed out.
    Late(Awaiting),
    /// A transaction has ended.
    Ended(Ended),
    /// The client did not confirm the positive reply to the content of this transaction.
    Unacknowledged(u32),
    /// The session has ended.
    Closed(Closed),
    /// Everything from here to the end of the session is missing, because the session was too large.
    Cut,
}

/// A content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Content {
    /// The number of the transaction.
    pub transaction: u32,
    /// Its size in octets, without dot-stuffing.
    pub octets: u64,
    /// Its SHA-256. `None` if the content was not kept for that.
    pub sha256: Option<[u8; 32]>,
    /// The names of the fields in its header, in order.
    pub fields: Vec<Box<str>>,
    /// Its header, if headers are recorded.
    pub header: Option<Vec<u8>>,
}

/// The answer of a scorer that found something, refused or failed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Heard {
    /// The number of the transaction; 0 for the connection.
    pub transaction: u32,
    /// The stage.
    pub stage: Stage,
    /// The scorer.
    pub scorer: Arc<str>,
    /// The time that the answer took.
    pub took: Duration,
    /// The findings, with the scores that the scorer gave.
    pub findings: Vec<Finding>,
    /// The reply of its refusal.
    pub refusal: Option<Reply>,
    /// The number of header fields that it adds.
    pub fields: usize,
    /// The failure, if the answer is missing or incomplete.
    pub failure: Option<HeardFailure>,
}

/// The failure of a scorer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeardFailure {
    /// The cause: `error`, `panic`, `late` or `state-lost`.
    pub cause: Box<str>,
    /// The text, if it is recorded.
    pub text: Option<Box<str>>,
    /// Whether the missing part could only have counted against the mail.
    pub adds_only: bool,
}

/// A verdict of the panel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judged {
    /// The number of the transaction; 0 for the connection.
    pub transaction: u32,
    /// The stage.
    pub stage: Stage,
    /// The total.
    pub score: Score,
    /// The verdict that was acted on.
    pub verdict: Decided,
    /// The verdict without monitor mode, if it is another one.
    pub monitored: Option<Decided>,
    /// The reply of a refusal or deferral, without the reference.
    pub reply: Option<Reply>,
    /// The thresholds.
    pub thresholds: Option<Thresholds>,
    /// The scorers that were asked and found nothing.
    pub silent: Arc<[Arc<str>]>,
    /// Scores that weights or scales have changed: scorer, symbol and score.
    pub weighted: Vec<(Arc<str>, Box<str>, Score)>,
}

/// A verdict. The order is that of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Decided {
    /// No objection. Scorers may add header fields.
    Pass,
    /// The total reached the threshold to tag.
    Tag,
    /// The client got 4yz.
    Defer,
    /// The client got 5yz.
    Refuse,
}

/// An answer of the relay target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relayed {
    /// The number of the transaction.
    pub transaction: u32,
    /// The kind of the request.
    pub request: RequestKind,
    /// The reply for the client.
    pub reply: Reply,
    /// The failure, if the relay target could not be asked. Empty if its text is not recorded.
    pub failure: Option<Box<str>>,
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The number of the transaction.
    pub transaction: u32,
    /// The reason.
    pub cause: EndCause,
    /// The reply to the content.
    pub reply: Option<Reply>,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// The reason.
    pub end: SessionEnd,
    /// The number of violations of each kind by the client.
    pub conduct: BTreeMap<Box<str>, u16>,
}

impl RecordedSession {
    /// Returns whether the recording of the session is complete. It is not if the session was too
    /// large, or if the recording was cut.
    pub fn is_complete(&self) -> bool {
        let is_cut = self.elements.iter().any(|element| element.fact == Fact::Cut);
        !is_cut && matches!(self.elements.last(), Some(Element { fact: Fact::Closed(_), .. }))
    }
}

impl Judged {
    /// Returns the verdict of a panel, of which `tally` has the reasons.
    pub(crate) fn of(transaction: u32, stage: Stage, tally: &Tally, verdict: &Verdict) -> Self {
        // The panel records decisions other than to pass, the last one for this question.
        let decision = tally.decisions().filter(|it| it.stage == stage).last();
        let acted = decision.filter(|it| it.acted && it.verdict.is_alike(verdict));
        let (word, reply) = match verdict {
            Verdict::Refuse(refusal) => (verdict.into(), Some(refusal.reply().clone())),
            _ if acted.is_some() => (Decided::Tag, None),
            _ => (Decided::Pass, None),
        };
        let monitored = decision.filter(|it| !it.acted && it.total == tally.total());
        let weighted = tally
            .entries()
            .filter(|entry| entry.stage == stage && entry.given != entry.finding.score())
            .map(|entry| {
                let finding = &entry.finding;
                (entry.scorer.clone(), finding.symbol().into(), finding.score())
            });
        Self {
            transaction,
            stage,
            score: tally.total(),
            verdict: word,
            monitored: monitored.map(|it| (&it.verdict).into()),
            reply,
            thresholds: tally.thresholds(),
            silent: Arc::default(),
            weighted: weighted.collect(),
        }
    }
}

impl From<&Verdict> for Decided {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Refuse(refusal) if refusal.is_transient() => Self::Defer,
            Verdict::Refuse(_) => Self::Refuse,
            Verdict::Tag(_) => Self::Tag,
            Verdict::Pass => Self::Pass,
        }
    }
}

impl Decided {
    /// All variants, mildest first.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Tag, Self::Defer, Self::Refuse];

    /// Returns the word used in recordings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tag => "tag",
            Self::Defer => "defer",
            Self::Refuse => "refuse",
        }
    }
}

impl std::fmt::Display for Decided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}
