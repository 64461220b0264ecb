//! Observers: told what happened, never asked.

mod lines;
mod observers;
mod queue;

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{ProxyError, TurnedAway};
use crate::conduct::Conduct;
use crate::deadline::Awaiting;
use crate::envelope::{SessionId, TransactionId};
use crate::outcome::{Outcome, RelayError, partial};
use crate::panel::Answer;
use crate::peer::{Peer, Vouched};
use crate::scorers::Lessons;
use crate::session::{EndCause, TransactionEnd};
use crate::tally::Tally;
use crate::verdict::{Stage, Verdict};
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;
use crate::wire::text::{Printable, Quoted, Written};
pub use lines::Lines;
pub(crate) use observers::Observers;
pub use queue::{Queue, Queued};

/// Is told of every event of every session. It cannot change what happens.
///
/// # Panics in an observer
///
/// The gate catches a panic of an observer. The session goes on, the other observers still get the
/// event, and [`Gate::observer_panics`](crate::Gate::observer_panics) counts it. The first panic of
/// each observer is reported to the others as [`Event::ObserverFailed`]. A program that is built
/// with `panic = "abort"` ends at the panic instead; do not use it with observers that may panic.
///
/// # Observers that block
///
/// An observer is called in the task of the session. One that blocks stops this session, and every
/// other session on the same thread. The reply to a content does not wait for it: events that arise
/// between the relay target's answer and the client's reply are delivered once the reply was
/// written. Use [`Queue`] to hand events to a thread or task of your own.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

impl Observer for Lessons {
    /// Every transaction that ends is a lesson.
    fn observe(&self, event: &Event<'_>) {
        if let Event::Ended(record) = event {
            self.give_of(&record.end, &record.tally, &record.onward);
        }
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

/// Something that happened in a session.
///
/// Two observers: a line for every refusal at connect and at RCPT, with the findings that led to it, and a
/// counter per symbol.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, ConnectContext, Finding, Opinion, Panel, Peer, Runtime, Score, Scorer};
/// # use nobounce::{ScorerError, SessionId, Settings, Subject, Tally, relay};
/// # struct Still;
/// # #[async_trait::async_trait]
/// # impl Runtime for Still {
/// #     type Stream = futures::io::Cursor<Vec<u8>>;
/// #     async fn sleep_until(&self, _: Instant) { std::future::pending().await }
/// #     async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
/// #         Err(io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// # struct Listed;
/// # #[async_trait::async_trait]
/// # impl Scorer for Listed {
/// #     fn name(&self) -> &str { "lists" }
/// #     async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
/// #         Ok(Finding::new("LISTED", Score::points(7)).into())
/// #     }
/// # }
/// # let target = relay::Maildir::new("maildir");
/// # let gate = Gate::new(Still, Settings::new("mx.example"), target);
/// # let panel = Panel::new().scorer(Listed);
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
/// use nobounce::{Event, Gate, Stage, Verdict};
///
/// let log = Arc::new(Mutex::new(Vec::new()));
/// let lines = log.clone();
/// let counts = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
/// let counters = counts.clone();
/// let gate = gate
///     .panel(panel)
///     .observer(move |event| {
///         if let Event::Judged { id, peer, recipient, tally, verdict, stage, .. } = event
///             && let (Verdict::Refuse(refusal), Stage::Connect | Stage::Rcpt) = (verdict, stage)
///         {
///             let to = recipient.map_or("none".into(), |to| to.path.to_string());
///             let line = format!("id={id} client={peer} to={to:?} {tally} reply={refusal:?}");
///             lines.lock().unwrap().push(line);
///         }
///     })
///     .observer(move |event| {
///         if let Event::Scored { answer, .. } = event
///             && let Ok(opinion) = &answer.result
///         {
///             let mut counters = counters.lock().unwrap();
///             for finding in &opinion.findings {
///                 let symbol = format!("{}:{}", answer.scorer, finding.symbol());
///                 *counters.entry(symbol).or_default() += 1;
///             }
///         }
///     });
/// # let (session, client) = (SessionId::new("example"), Peer::new(([192, 0, 2, 1], 4711).into()));
/// # let subject = Subject::Connection(&session, &client);
/// # pollster::block_on(gate.ask(subject, &mut Tally::new(), &mut gate.sitting()));
///
/// // After a client on a list has connected:
/// assert!(log.lock().unwrap()[0].contains("client=unknown[192.0.2.1] to=\"none\" score=7.00 lists:LISTED=7.00"));
/// assert_eq!(counts.lock().unwrap()["lists:LISTED"], 1);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A client has connected.
    Connected {
        /// The session that begins.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// The client of the session is another one: who had connected speaks for it (XCLIENT).
    ClientChanged {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// A connection could not be accepted: it broke before, or the process or the system is out of
    /// descriptors or memory. The accept loop of `nobounce::tokio` or `nobounce::smol` tries again.
    AcceptFailed {
        /// Why.
        error: &'e io::Error,
    },
    /// A connection was closed, since it is not known for whom it is. There was no session.
    Unproxied {
        /// Who connected.
        peer: &'e Peer,
        /// Why it was closed.
        error: &'e ProxyError,
    },
    /// A client was turned away; there was no session. Observed once it was told.
    TurnedAway {
        /// The client.
        peer: &'e Peer,
        /// Why.
        reason: TurnedAway,
    },
    /// Stress has begun or ended: see [`Admission`](crate::Admission).
    Overload {
        /// Whether the gate is under stress now.
        on: bool,
        /// Connections at this moment.
        connections: usize,
    },
    /// A session that was idle is closed, so that another client has its place.
    Evicted {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// Replies to this client are delayed from here on: it has scored badly.
    Tarpitted {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// The client sent these octets.
    Received {
        /// The session.
        session: &'e SessionId,
        /// What it sent: mail, and whatever else a stranger has to say.
        octets: &'e [u8],
    },
    /// These octets were written to the client.
    Transmitted {
        /// The session.
        session: &'e SessionId,
        /// Whole reply lines.
        octets: &'e [u8],
    },
    /// A scorer has answered or failed. Observed for each scorer, in the order of the seats, before
    /// [`Judged`](Self::Judged).
    Scored {
        /// The transaction; `SESSION.0` for the connection.
        id: &'e TransactionId,
        /// The stage at which it was asked.
        stage: Stage,
        /// What it said, and how long it took.
        answer: &'e Answer,
    },
    /// The panel has answered.
    Judged {
        /// The transaction; `SESSION.0` for the connection.
        id: &'e TransactionId,
        /// The client. If it is refused when it connects, no transaction follows and this is all that
        /// there is for a record.
        peer: &'e Peer,
        /// The stage at which it was asked.
        stage: Stage,
        /// The recipient that it was asked about, at RCPT.
        recipient: Option<&'e ForwardPath>,
        /// All that scorers have said by then, with what led to the verdict. What was found on a
        /// recipient that is refused counts here, and no longer in what follows.
        tally: &'e Tally,
        /// What follows from it.
        verdict: &'e Verdict,
    },
    /// The relay target has answered. An answer to the content is observed once the client's reply
    /// was written, or could not be.
    Relayed {
        /// The transaction.
        id: &'e TransactionId,
        /// The recipient that it was asked about; `None` for the content. With PRDR there are as
        /// many answers to that as recipients, in their order.
        recipient: Option<&'e ForwardPath>,
        /// Its answer.
        outcome: &'e Outcome,
    },
    /// A transaction has ended. If a reply to the content ended it, this is observed once that reply
    /// was written, or could not be.
    Ended(&'e TransactionRecord),
    /// A message has been taken, but the client's connection broke before it was told, or before
    /// anything was heard of it since: it will send it again (RFC 1047), most likely, and the onward
    /// server will have it twice.
    Unacknowledged(&'e TransactionRecord),
    /// Waiting took too long.
    Late {
        /// The session.
        session: &'e SessionId,
        /// What was waited for.
        awaiting: Awaiting,
    },
    /// The relay target panicked where no answer tells of it: asked for its capabilities, closing, or
    /// dropped. A panic in place of an answer is an [`Outcome::Failed`] in [`Relayed`](Self::Relayed).
    RelayPanicked {
        /// The session.
        session: &'e SessionId,
        /// The message of the panic.
        panic: &'e str,
    },
    /// Another observer panicked for the first time. The gate goes on calling it, and counts in
    /// [`Gate::observer_panics`](crate::Gate::observer_panics) how often it panics.
    ObserverFailed {
        /// Which observer: 0 for the one that was added to the gate first.
        observer: usize,
        /// The message of the panic.
        panic: &'e str,
    },
    /// The session is over.
    Disconnected {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
        /// How long it took.
        duration: Duration,
        /// What it did against the rules.
        conduct: &'e Conduct,
    },
}

/// All that a log needs of a transaction: who, what, why, and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransactionRecord {
    /// Envelope, refused recipients, size, cause and reply.
    pub end: TransactionEnd,
    /// Every finding and every failure of a scorer.
    pub tally: Tally,
    /// What the relay target answered, in order: to recipients, then to the content.
    pub onward: Vec<Reply>,
    /// Why the relay target could not be asked, where that was so.
    pub failures: Vec<RelayError>,
    /// What the onward server calls the message.
    pub queue_id: Option<Box<str>>,
    /// Time spent on waiting for scorers.
    pub scoring: Duration,
    /// Time spent on waiting for the relay target.
    pub relaying: Duration,
}

/// Recipients that the line of a record lists, accepted and refused ones each. It counts the others.
const LISTED: usize = 50;

impl fmt::Display for TransactionRecord {
    /// One line, `key=value` separated by spaces; what peers chose is quoted and escaped. Of accepted
    /// and of refused recipients it lists 50 each, and counts the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::with_capacity(512);
        self.write(&mut line)?;
        f.write_str(&line)
    }
}

impl TransactionRecord {
    /// Whether the onward server took the message and says that it goes no further
    /// ([`Receipt::is_discarded`](crate::Receipt::is_discarded)).
    pub fn is_discarded(&self) -> bool {
        let taken = self.end.cause == EndCause::Accepted;
        taken && self.end.reply.as_ref().is_some_and(partial::is_discarded)
    }

    fn write(&self, line: &mut String) -> fmt::Result {
        let envelope = &self.end.envelope;
        let peer = &*envelope.peer;
        put(line, "id=", &envelope.id)?;
        put(line, " client=", peer)?;
        if peer.vouched != Vouched::default() {
            write!(line, " via={}", peer.vouched)?;
        }
        if let Some(helo) = &peer.helo {
            put(line, " helo=", &Quoted(&*helo.name))?;
        }
        if let Some(tls) = &peer.tls {
            put(line, " tls=", &Printable(&*tls.version))?;
        }
        put(line, " from=", &Quoted(&envelope.reverse_path.path))?;
        let (accepted, refused) = (&envelope.forward_paths, &self.end.refused);
        let listed = accepted.iter().take(LISTED);
        for recipient in listed {
            put(line, " to=", &Quoted(&recipient.path))?;
        }
        put_rest(line, " to_more=", accepted.len())?;
        for (recipient, reply) in refused.iter().take(LISTED) {
            put(line, " refused=", &Quoted(&recipient.path))?;
            put(line, " because=", &Quoted(reply))?;
        }
        put_rest(line, " refused_more=", refused.len())?;
        put(line, " size=", &self.end.size)?;
        put(line, " ", &self.tally)?;
        put(line, " result=", self.end.cause.word())?;
        if let Some(reply) = &self.end.reply {
            put(line, " reply=", &Quoted(reply))?;
        }
        if self.is_discarded() {
            line.push_str(" discarded=onward");
        }
        if let Some(queue_id) = &self.queue_id {
            put(line, " queue_id=", &Printable(&**queue_id))?;
        }
        for failure in self.failures.iter().take(LISTED) {
            write!(line, " relay_failure={:?}", failure.to_string())?;
        }
        for failure in self.tally.failures().take(LISTED) {
            write!(line, " scorer_failure={:?}", format!("{}: {}", failure.scorer, failure.cause))?;
        }
        for (key, time) in [
            (" ms=", self.end.duration),
            (" scoring_ms=", self.scoring),
            (" relaying_ms=", self.relaying),
        ] {
            put(line, key, &u64::try_from(time.as_millis()).unwrap_or(u64::MAX))?;
        }
        Ok(())
    }
}

/// Writes how many recipients are not listed, if there are such.
fn put_rest(line: &mut String, key: &str, recipients: usize) -> fmt::Result {
    match recipients.saturating_sub(LISTED) {
        0 => Ok(()),
        rest => put(line, key, &(rest as u64)),
    }
}

/// Writes one thing of a record.
fn put(line: &mut String, key: &str, value: &(impl Written + ?Sized)) -> fmt::Result {
    line.push_str(key);
    value.write_to(line)
}
