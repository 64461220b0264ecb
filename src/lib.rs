//! SMTP-time spam rejection: a session that asks before it answers.
//!
//! nobounce is **not** a mail server: it has no queue and no second attempts. It is not a spam
//! filter: it asks filters and acts on what they say while the client waits. It cannot discard mail
//! and it never bounces: whom it refuses keeps the message.
//!
//! It stands where the internet connects, talks SMTP to the client, asks [`Scorer`]s, relays in
//! lock-step to the onward server, and answers the client with that server's answer.
//!
//! ```text
//!             octets            steps, questions            octets
//!  client ◄──────────► Session ◄────────────────► Onward ◄──────────► onward server
//!  (the internet)      SMTP server half           SMTP client half     (Postfix, Exim, LMTP, …)
//!                         ▲                            ▲
//!                      questions                    requests
//!                         ▼                            ▼
//!                       Panel  ── asks ──► Scorer…   Relay (SMTP, LMTP, Maildir, yours)
//!                         └── tells ──► Observer
//! ```
//!
//! # The promise
//!
//! A message that nobounce has answered with 2xx is one that the relay target had taken before.
//! Nothing is dropped, nothing is bounced, whatever fails in between. It is made by types:
//!
//! - an [`Opinion`] is nothing, evidence or no; there is no yes in it, and no "discard";
//! - a 2xx to RCPT and to the content comes from an [`Outcome`] that holds a [`Receipt`], and a
//!   receipt is read off the wire for that very request, or stated by a relay target of one's own
//!   that keeps the message durably ([`Receipt::kept`]);
//! - a [`Refusal`] is 4yz or 5yz, and its enhanced status is of the same class;
//! - a [`Question`] and a [`Forward`] are consumed by their answer, and asked again if dropped; a
//!   message that was handed over with one cannot pass for one that was taken.
//!
//! Where there is doubt the client is told 451 and sends again (RFC 1047): a duplicate, never a
//! loss.
//!
//! What else is promised, against whom, what is not, and how each is tested: [`docs::security`]. All
//! that a peer can make grow, and how far: [`docs::bounds`].
//!
//! # A scorer
//!
#![cfg_attr(feature = "serve", doc = "```")]
#![cfg_attr(not(feature = "serve"), doc = "```ignore")]
//! # use nobounce::{Finding, Opinion, RcptContext, Score, Scorer, ScorerError};
//! struct NoDot;
//!
//! #[async_trait::async_trait]
//! impl Scorer for NoDot {
//!     fn name(&self) -> &str { "no-dot" }
//!
//!     async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
//!         let plain = at.peer.helo.as_ref().is_some_and(|helo| !helo.name.contains('.'));
//!         Ok(plain.then(|| Finding::new("HELO_NO_DOT", Score::points(2))).into())
//!     }
//! }
//! # use std::sync::Arc;
//! # use nobounce::{Envelope, ForwardPath, Helo, Peer, ReversePath, SessionId};
//! # let mut peer = Peer::local();
//! # peer.helo = Some(Helo { extended: true, name: "spammer".into() });
//! # let sender = ReversePath::parse("<a@example.org>")?;
//! # let recipient = ForwardPath::parse("<b@example.net>")?;
//! # let id = SessionId::new("example").transaction(1);
//! # let envelope = Envelope::new(id, Arc::new(peer), sender);
//! # let opinion = pollster::block_on(NoDot.on_rcpt(&RcptContext::new(&envelope, &recipient)))?;
//! assert_eq!(opinion, Finding::new("HELO_NO_DOT", Score::points(2)).into());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Put it in a [`Panel`], the panel in a [`Gate`], and hand each client to [`serve`].
//!
//! # The run loop
//!
//! [`serve`] is this loop with deadlines. A [`Session`] does no I/O and has no clock: `poll` it, do
//! what the [`Step`] says, repeat.
//!
//! ```
//! use std::time::{Instant, SystemTime};
//! use nobounce::{Outcome, Peer, Receipt, Request, Session, SessionId, Settings, Step, Verdict};
//!
//! // A client that waits for its turn, as its octets would come from a socket.
//! let mut client = [
//!     "EHLO client.example\r\n",
//!     "MAIL FROM:<alice@client.example>\r\n",
//!     "RCPT TO:<bob@mx.example>\r\n",
//!     "DATA\r\n",
//!     "Subject: hello\r\n\r\nHello!\r\n.\r\n",
//!     "QUIT\r\n",
//! ]
//! .into_iter();
//! let mut written = Vec::new();
//!
//! let settings = Settings::new("mx.example").into();
//! let (now, time_of_day) = (Instant::now(), SystemTime::now());
//! let id = SessionId::new("example");
//! let mut session = Session::new(settings, id, Peer::local(), now, time_of_day);
//! loop {
//!     match session.poll(Instant::now()) {
//!         // 1. Write to the client.
//!         Step::Transmit(octets) => written.extend_from_slice(&octets),
//!         // 2. Read from it, until `session.deadline()`.
//!         Step::Receive => match client.next() {
//!             Some(octets) => session.receive(octets.as_bytes()),
//!             None => session.receive_eof(),
//!         },
//!         // 3. Ask the panel.
//!         Step::Ask(question) => question.answer(Verdict::Pass),
//!         // 4. Ask the relay target.
//!         Step::Forward(forward) => {
//!             let (request, pending) = forward.take();
//!             let receipt = match request {
//!                 Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
//!                 // Only behind a durable write:
//!                 Request::Content(..) | Request::Answer(..) => Receipt::kept("4711"),
//!             };
//!             pending.complete(Outcome::Accepted(receipt));
//!         }
//!         // 5. Take notes.
//!         Step::Ended(end) => println!("{}: {}", end.envelope.id, end.cause),
//!         // 6. Upgrade the connection: not offered by these settings.
//!         Step::StartTls => session.lose_client(),
//!         Step::Close => break,
//!     }
//! }
//! let written = String::from_utf8(written)?;
//! assert!(written.starts_with("220 mx.example ESMTP"));
//! assert!(written.ends_with("250 2.0.0 Ok: queued as 4711\r\n221 2.0.0 Bye\r\n"));
//! # Ok::<(), std::string::FromUtf8Error>(())
//! ```
//!
//! # Features
//!
//! - `serve` (default): scorers, panel, relay targets, driver. Without it there remain the wire, the
//!   words and the two machines, and nothing is async.
//! - `rspamd`: the scorer `scorers::Rspamd`.
//! - `tls`: STARTTLS on both sides and TLS from the first octet, with rustls: `Gate::tls`,
//!   `serve_tls`, `relay::Smtp::with_tls`.
//! - `redb`: a store for what scorers remember in a file: `store::Embedded`.
//! - `dns`: DNS lists of addresses, names and links, reverse names, HELO, and the client's name for
//!   the server behind; with a resolver over the gate's [`Runtime`]. See `dns` and `scorers`.
//! - `hickory`: hickory's resolver in its place.
//! - `auth`: SPF, DKIM, ARC and DMARC, and `Authentication-Results` (RFC 8601).
//! - `tokio`, `smol`: the adapter for a runtime, with its accept loop: `nobounce::tokio`,
//!   `nobounce::smol`. The rest of the crate depends on no runtime.
//! - `testing`: a kit for tests, `testing`: virtual time, scripted clients and servers, SMTP dialogues.
//!
//! # Where building taught better than the design
//!
//! - Time enters a [`Session`] at [`poll`](Session::poll) and
//!   [`handle_timeout`](Session::handle_timeout) only; `receive` and `answer` need none.
//! - [`Step::Ended`] carries what the session knows of a transaction to the record: reporting is a
//!   step like any other and needs no second queue.
//! - [`Verdict::Tag`] carries header fields: a tag is a kind of pass, and it never touches content.
//! - [`Outcome::Failed`] keeps apart what the onward server said and what went wrong on the way to
//!   it: the client is told 451, observers are told why.
//! - A [`ForwardPath`] and a [`ReversePath`] carry the parameters of their command, so that nobody
//!   can forward one without the other.
//! - Mail data ends in CRLF by type ([`MailData`]); a last chunk without it gets it.
//! - Mail data is kept in blocks that are never moved, taken from one [`Budget`] and used again: a
//!   session costs its content and a constant, and large mail costs no page faults. Who wants it in
//!   one piece ([`Message::content`]) has it copied; MIME and the way onward do not need that.
//! - Large mail data is read to its place in these blocks ([`Session::room`]), beside
//!   [`Session::receive`]: no octet of it is copied between the two sockets.

#![forbid(unsafe_code)]

mod capabilities;
mod conduct;
mod deadline;
pub mod docs;
mod envelope;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod host;
mod message;
mod network;
mod onward;
mod outcome;
mod peer;
mod session;
mod verdict;
mod wire;

#[cfg(feature = "serve")]
mod admission;
#[cfg(feature = "serve")]
pub mod breaker;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "serve")]
mod driver;
#[cfg(feature = "serve")]
mod gate;
#[cfg(feature = "dns")]
mod naming;
#[cfg(feature = "serve")]
mod observer;
#[cfg(feature = "serve")]
mod opinion;
#[cfg(feature = "serve")]
mod panel;
#[cfg(any(test, feature = "testing"))]
mod rehearsal;
#[cfg(feature = "serve")]
pub mod relay;
#[cfg(feature = "serve")]
mod runtime;
#[cfg(feature = "serve")]
mod score;
#[cfg(feature = "serve")]
mod scorer;
#[cfg(feature = "serve")]
pub mod scorers;
#[cfg(feature = "serve")]
pub mod store;
#[cfg(feature = "serve")]
mod tally;
#[cfg(feature = "serve")]
mod tarpit;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "serve")]
mod tls;
#[cfg(feature = "serve")]
mod unwind;

pub use capabilities::Capabilities;
pub use conduct::{Conduct, Misconduct};
pub use deadline::{Awaiting, Deadline, OnwardTimeouts, SessionTimeouts};
pub use envelope::{Envelope, SessionId, TransactionId};
pub use header::{BadFieldName, HeaderField};
pub use host::HostName;
pub use message::{Field, Fields, Message, MessageView, MimeLimits, MimePart};
pub use network::{BadNetwork, Network, Networks};
pub use onward::{
    Identify, OneRecipient, Onward, OnwardSettings, OnwardStep, Protocol, ProxyVersion, TlsPolicy,
};
pub use outcome::{Outcome, Receipt, RelayError, Request, RequestKind, TlsFault};
pub use peer::{Helo, NameLookup, Peer, Tls, Vouched, Voucher};
pub use session::{
    EarlyInput, EndCause, Forward, Limits, Pending, Question, Session, Settings, Step, Stress,
    TransactionEnd,
};
pub use verdict::{Refusal, Stage, Subject, Verdict};
pub use wire::attributes::{
    Attribute, AttributeCommand, AttributeFault, ClientAttributes, ClientOrigin,
};
pub use wire::budget::Budget;
pub use wire::canonical::{CanonicalMailbox, canonical_domain};
pub use wire::command::{Body, MailParameters, ParameterFault, RcptParameters};
pub use wire::content::{LineEndings, MailData};
pub use wire::line::LineFault;
pub use wire::mailbox::{ForwardPath, Mailbox, Path, PathFault, ReversePath};
pub use wire::proxy::{ProxyFault, ProxyHeader};
pub use wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode, ReplyFault, ReplyLimits};

/// The attribute that implementations of this crate's traits carry.
#[cfg(feature = "serve")]
pub use async_trait::async_trait;
/// `Bytes`, of which messages and replies are made.
pub use bytes;
/// The I/O traits of a client's connection, from the `futures` crate.
#[cfg(feature = "serve")]
pub use futures::io::{AsyncRead, AsyncWrite};
/// For [`TlsServer::from_config`].
#[cfg(feature = "tls")]
pub use rustls;

#[cfg(feature = "serve")]
pub use admission::{Admission, AdmissionLimits, Place, ProxyError, Rate, TurnedAway};
#[cfg(feature = "tls")]
pub use driver::serve_tls;
#[cfg(feature = "serve")]
pub use driver::{ServeError, serve};
#[cfg(feature = "serve")]
pub use gate::Gate;
#[cfg(feature = "serve")]
pub use observer::{Event, Lines, Observer, Queue, Queued, TransactionRecord};
#[cfg(feature = "serve")]
pub use opinion::{FailurePolicy, Opinion, ScorerError};
#[cfg(feature = "serve")]
pub use panel::{Answer, Judge, Panel, Seat, Sitting, ThresholdError, Thresholds, Weights};
#[cfg(feature = "serve")]
pub use relay::{Relay, Target};
#[cfg(feature = "smol")]
pub use runtime::smol;
#[cfg(feature = "tokio")]
pub use runtime::tokio;
#[cfg(feature = "serve")]
pub use runtime::{Address, BadAddress, Datagrams, Runtime};
#[cfg(feature = "serve")]
pub use score::{BadScore, Disclosure, Finding, Score};
#[cfg(feature = "serve")]
pub use scorer::{ConnectContext, DataContext, RcptContext, Scorer, SessionScorer};
#[cfg(feature = "serve")]
pub use tally::{Decision, Entry, Failure, FailureCause, Objection, Tally};
#[cfg(feature = "serve")]
pub use tarpit::Tarpit;
#[cfg(feature = "tls")]
pub use tls::{HandshakeLimits, TlsClient, TlsConfigError, TlsServer};

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use wire::exposed as wire_exposed;

/// The README's examples compile, or the tests fail.
#[cfg(all(doctest, feature = "serve"))]
#[doc = include_str!("../README.md")]
struct Readme;
