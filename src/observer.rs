//! Observers: notified of events, without influence on the session.

mod during;
#[cfg(feature = "json")]
pub mod json;
mod limit;
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
mod observers;
mod queue;
#[cfg(feature = "recording")]
mod recorder;
#[cfg(all(feature = "json", unix))]
mod refused_mail;
#[cfg(feature = "tracing")]
mod tracing;

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{AdmissionError, ProxyError};
use crate::capabilities::Capabilities;
use crate::deadline::Awaiting;
#[cfg(feature = "dns")]
use crate::dns::Lookup;
use crate::envelope::{SessionId, TransactionId};
use crate::outcome::{Outcome, RequestKind};
use crate::panel::Answer;
use crate::peer::{Peer, TlsInfo};
use crate::record::Note;
pub use crate::record::{RecordedField, SessionRecord, Timing, TransactionRecord};
use crate::relay::ConnectAttempt;
use crate::scorers::Lessons;
use crate::store::Call;
use crate::tally::Tally;
use crate::verdict::{Stage, Subject, Verdict};
use crate::wire::mailbox::ForwardPath;
pub use during::During;
pub use limit::LineLimit;
pub use lines::LineLogger;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub(crate) use observers::Observers;
pub use queue::{Queue, Queued};
#[cfg(feature = "recording")]
pub use recorder::Recorder;
#[cfg(all(feature = "json", unix))]
pub use refused_mail::{
    KeptMail, KeptMailError, RefusedMail, RefusedMailLimits, RefusedMailReport, RefusedMailWriter,
    Release, ReleaseAnswer,
};
#[cfg(feature = "tracing")]
pub use tracing::Tracing;

/// A receiver of every event of every session. An observer cannot change the outcome of a session.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use nobounce::{Event, Observer};
///
/// /// Counts messages that the onward server accepted.
/// #[derive(Default)]
/// struct Accepted(AtomicU64);
///
/// impl Observer for Accepted {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Ended(record) = event
///             && record.queue_id.is_some()
///         {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
///
/// [`Gate::observed_by`](crate::Gate::observed_by) adds it to a gate.
/// # Panics in an observer
///
/// The gate catches a panic of an observer. The session goes on, the other observers still get the
/// event, and [`Gate::observer_panics`](crate::Gate::observer_panics) counts it. The first panic of
/// each observer is reported to the others as [`Event::ObserverFailed`]. A program that is built
/// with `panic = "abort"` ends at the panic instead; do not use it with observers that may panic.
///
/// # Observers that block
///
/// An observer is called in the task of the session. If it blocks, it blocks this session and every
/// other session on the same thread. The reply to a message does not wait for observers. Events
/// between the relay target's answer and the client's reply are delivered after the reply was
/// written. Use [`Queue`] to pass events to your own thread or task.
pub trait Observer: Send + Sync {
    /// Handles an event. The gate calls it for each event.
    fn observe(&self, event: &Event<'_>);

    /// Returns whether the observer uses [`Event::Received`] and [`Event::Transmitted`]. They are
    /// delivered for each read and each write. If no observer of a gate uses them, they cost nothing.
    /// The gate asks once, when the observer is added to it. The default is true.
    fn uses_octets(&self) -> bool {
        true
    }
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Returns an observer that calls this closure with every event except [`Event::Received`] and
/// [`Event::Transmitted`]. See [`Observer::uses_octets`].
///
/// ```
/// # use nobounce::{Event, Gate, Runtime, observer};
/// # fn observed<R: Runtime>(gate: Gate<R>) -> Gate<R> {
/// gate.observed_by(observer::without_octets(|event| {
///     if let Event::Ended(record) = event {
///         println!("{record}");
///     }
/// }))
/// # }
/// ```
pub fn without_octets(observe: impl Fn(&Event<'_>) + Send + Sync) -> impl Observer {
    struct WithoutOctets<F>(F);

    impl<F: Fn(&Event<'_>) + Send + Sync> Observer for WithoutOctets<F> {
        fn observe(&self, event: &Event<'_>) {
            // Another observer may use them.
            if !matches!(event, Event::Received { .. } | Event::Transmitted { .. }) {
                (self.0)(event);
            }
        }

        fn uses_octets(&self) -> bool {
            false
        }
    }

    WithoutOctets(observe)
}

impl Observer for Lessons {
    /// Makes a lesson of every transaction that ends.
    fn observe(&self, event: &Event<'_>) {
        if let Event::Ended(record) = event {
            self.give_of(&record.end, &record.tally, &record.onward);
        }
    }

    fn uses_octets(&self) -> bool {
        false
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }

    fn uses_octets(&self) -> bool {
        (**self).uses_octets()
    }
}

/// An event in a session.
///
/// The example has two observers. One writes a line for every refusal at connect and at RCPT, with
/// the findings that led to it. The other counts findings per symbol.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, ConnectContext, Finding, Opinion, Panel, Peer, Runtime, Score, Scorer};
/// # use nobounce::{relay, ScorerError, Settings};
/// # use nobounce::gate::GateStep;
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
/// use nobounce::{Event, Gate, Verdict};
/// use nobounce::verdict::Stage;
///
/// let log = Arc::new(Mutex::new(Vec::new()));
/// let lines = log.clone();
/// let counts = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
/// let counters = counts.clone();
/// let gate = gate
///     .panel(panel)
///     .report_answers()
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
/// # let client = Peer::new(([192, 0, 2, 1], 4711).into());
/// # pollster::block_on(async {
/// #     let mut session = gate.open(client).await.unwrap();
/// #     let GateStep::Ask(question) = session.poll(Instant::now()) else { panic!() };
/// #     question.ask().await;
/// # });
///
/// // After a client that is on a list has connected:
/// assert!(log.lock().unwrap()[0].contains("client=unknown[192.0.2.1] to=\"none\" score=7.00 lists:LISTED=7.00"));
/// assert_eq!(counts.lock().unwrap()["lists:LISTED"], 1);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A client has connected.
    Connected {
        /// The new session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// The session has a new client, announced by a trusted peer (XCLIENT).
    ClientChanged {
        /// The session.
        session: &'e SessionId,
        /// The new client.
        peer: &'e Peer,
    },
    /// A connection could not be accepted. It broke first, or the process or the system has no
    /// descriptors or memory left. The accept loop of `nobounce::tokio` or `nobounce::smol`
    /// retries.
    AcceptFailed {
        /// The error of the system.
        error: &'e io::Error,
    },
    /// A connection was closed because its client is unknown: the PROXY header is missing,
    /// malformed or not from a trusted network. No session began.
    Unproxied {
        /// The peer that connected.
        peer: &'e Peer,
        /// The reason why it was closed.
        error: &'e ProxyError,
    },
    /// A client was turned away. No session began. Observed after the client got its reply, and by
    /// [`Gate::open`](crate::Gate::open) before it returns.
    TurnedAway {
        /// The client.
        peer: &'e Peer,
        /// The reason.
        reason: AdmissionError,
    },
    /// Stress has begun or ended; see [`Admission`](crate::admission::Admission).
    Overload {
        /// Whether the gate is under stress now.
        on: bool,
        /// The number of connections at this moment.
        connections: usize,
    },
    /// An idle session is closed to give its place to another client.
    Evicted {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// Replies to this client are delayed from now on, because of its score.
    Tarpitted {
        /// The session.
        session: &'e SessionId,
        /// The client.
        peer: &'e Peer,
    },
    /// The extensions of the relay target are known, and the session offers those that both have.
    Offered {
        /// The session.
        session: &'e SessionId,
        /// The extensions of the relay target.
        extensions: &'e Capabilities,
    },
    /// The client sent these octets.
    Received {
        /// The session.
        session: &'e SessionId,
        /// The octets, as sent: untrusted input, which includes mail content.
        octets: &'e [u8],
        /// What the session was doing.
        during: During,
    },
    /// The client has closed its sending direction (EOF). It may still read replies.
    InputEnded {
        /// The session.
        session: &'e SessionId,
        /// What the session was doing.
        during: During,
    },
    /// The connection with the client is lost: it was reset, or a write failed.
    ClientLost {
        /// The session.
        session: &'e SessionId,
        /// What the session was doing.
        during: During,
    },
    /// The TLS handshake after STARTTLS succeeded.
    Secured {
        /// The session.
        session: &'e SessionId,
        /// The TLS session.
        tls: &'e TlsInfo,
    },
    /// The TLS handshake after STARTTLS failed.
    NotSecured {
        /// The session.
        session: &'e SessionId,
    },
    /// The limits for a gate under stress apply to the session from now on, or no longer.
    Stressed {
        /// The session.
        session: &'e SessionId,
        /// Whether they apply.
        on: bool,
    },
    /// The session was told that the gate shuts down.
    ShuttingDown {
        /// The session.
        session: &'e SessionId,
    },
    /// These octets were written to the client.
    Transmitted {
        /// The session.
        session: &'e SessionId,
        /// Complete reply lines.
        octets: &'e [u8],
    },
    /// A scorer has answered or failed. Observed for each scorer, in the order of the seats, before
    /// [`Judged`](Self::Judged), if the gate [reports answers](crate::Gate::report_answers).
    Scored {
        /// The transaction; `SESSION.0` for the connection.
        id: &'e TransactionId,
        /// The stage at which the scorer was asked.
        stage: Stage,
        /// The scorer's answer and the time it took.
        answer: &'e Answer,
    },
    /// The panel has given its verdict.
    Judged {
        /// The transaction; `SESSION.0` for the connection.
        id: &'e TransactionId,
        /// The client. If it is refused at connect, no transaction follows, and this event is the
        /// only source for a record.
        peer: &'e Peer,
        /// The stage at which the panel was asked.
        stage: Stage,
        /// The recipient in question, at RCPT.
        recipient: Option<&'e ForwardPath>,
        /// The subject of the question: with the envelope at RCPT, and with envelope and message at
        /// the DATA stage. A clone of the message shares its octets, and holds their part of
        /// [`Settings::budget`](crate::Settings::budget).
        subject: Subject<'e>,
        /// All findings of scorers so far, including the findings that led to the verdict. Findings on a
        /// refused recipient are counted in this tally, but not in later ones of the transaction.
        tally: &'e Tally,
        /// The verdict.
        verdict: &'e Verdict,
        /// The answers of all scorers, in the order of the seats. Empty unless the gate
        /// [reports answers](crate::Gate::report_answers).
        answers: &'e [Answer],
    },
    /// The relay target has answered. An answer to the content is observed after the reply to the
    /// client was written, or after writing it failed.
    Relayed {
        /// The transaction.
        id: &'e TransactionId,
        /// The kind of the request. A renewal is reported only if it failed.
        request: RequestKind,
        /// The recipient in question; `None` for the content. With PRDR there is one answer to the
        /// content for each recipient, in order.
        recipient: Option<&'e ForwardPath>,
        /// The answer.
        outcome: &'e Outcome,
        /// The time from the request to the answer.
        took: Duration,
    },
    /// A transaction has ended. If it ended with a reply to the content, this is observed after
    /// that reply was written, or after writing it failed.
    Ended(&'e TransactionRecord),
    /// A message was accepted, but the connection broke before the client confirmed the reply with
    /// further input. The client will most likely send the message again (RFC 1047). The onward
    /// server then gets a duplicate.
    Unacknowledged(&'e TransactionRecord),
    /// A wait has timed out.
    Late {
        /// The session.
        session: &'e SessionId,
        /// The event that the session waited for.
        awaiting: Awaiting,
    },
    /// The relay target panicked in a call without an outcome: when it was opened, when its
    /// capabilities were read, or when it was closed or dropped. A panic in any other call is an
    /// [`Outcome::Failed`] in [`Relayed`](Self::Relayed).
    RelayPanicked {
        /// The session.
        session: &'e SessionId,
        /// The message of the panic.
        panic: &'e str,
    },
    /// Another observer panicked for the first time. The gate continues to call it, and counts its
    /// panics in [`Gate::observer_panics`](crate::Gate::observer_panics).
    ObserverFailed {
        /// The index of the observer: 0 is the one that was added to the gate first.
        observer: usize,
        /// The message of the panic.
        panic: &'e str,
    },
    /// The TLS handshake at the start of a connection failed (implicit TLS). No session began.
    HandshakeFailed {
        /// The client.
        peer: &'e Peer,
        /// The reason.
        error: &'e (dyn Error + Send + Sync),
    },
    /// The session has ended.
    Disconnected(&'e SessionRecord<'e>),
    /// An operation of a store has ended. Gates do not deliver this event. Pass it to an observer in
    /// the closure of [`store::Observed`](crate::store::Observed).
    Stored(&'e Call<'e>),
    /// A DNS lookup has ended. Gates do not deliver this event. Pass it to an observer in the closure
    /// of [`dns::Cache::on_lookup`](crate::dns::Cache::on_lookup).
    #[cfg(feature = "dns")]
    LookedUp(&'e Lookup<'e>),
    /// An attempt to connect to the onward server has ended. Gates do not deliver this event. Pass it
    /// to an observer in the closure of [`relay::Smtp::on_connect`](crate::relay::Smtp::on_connect).
    OnwardConnect(&'e ConnectAttempt<'e>),
}

impl<'e> From<&'e Call<'e>> for Event<'e> {
    fn from(call: &'e Call<'e>) -> Self {
        Self::Stored(call)
    }
}

#[cfg(feature = "dns")]
impl<'e> From<&'e Lookup<'e>> for Event<'e> {
    fn from(lookup: &'e Lookup<'e>) -> Self {
        Self::LookedUp(lookup)
    }
}

impl<'e> From<&'e ConnectAttempt<'e>> for Event<'e> {
    fn from(attempt: &'e ConnectAttempt<'e>) -> Self {
        Self::OnwardConnect(attempt)
    }
}

impl<'n> From<Note<'n>> for Event<'n> {
    fn from(note: Note<'n>) -> Self {
        match note {
            Note::Relayed { id, request, recipient, outcome, took } => {
                Self::Relayed { id, request, recipient, outcome, took }
            }
            Note::Late { session, awaiting } => Self::Late { session, awaiting },
            Note::Ended(record) => Self::Ended(record),
            Note::Unacknowledged(record) => Self::Unacknowledged(record),
        }
    }
}
