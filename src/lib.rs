//! SMTP-time spam rejection: an SMTP session that asks before it answers.
//!
//! nobounce is **not** a mail server: it has no queue and does not retry. It is not a spam filter: it
//! asks filters while the client waits, and enforces their verdict. It cannot discard mail, and it never
//! sends a bounce: a refused message stays with the client.
//!
//! It accepts connections from the internet, speaks SMTP with the client, asks [`Scorer`]s, relays each
//! command in lock-step to the onward server, and answers the client with that server's answer.
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
//! # A complete program
//!
//! A gate on tokio with a scorer, a relay to Postfix and a graceful shutdown. It serves until its client,
//! which is left out here, has been refused. `examples/minimal.rs` serves until SIGTERM.
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use nobounce::tokio::{Tokio, listen, serve};
//! use nobounce::{Event, Finding, Gate, Opinion, Panel, RcptContext, Score};
//! use nobounce::{Scorer, ScorerError, Settings, async_trait, relay};
//!
//! /// Dislikes clients whose HELO or EHLO name has no dot.
//! struct NoDot;
//!
//! #[async_trait]
//! impl Scorer for NoDot {
//!     fn name(&self) -> &str {
//!         "no-dot"
//!     }
//!
//!     async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
//!         let no_dot = at.peer.helo.as_ref().is_some_and(|helo| !helo.name.contains('.'));
//!         Ok(no_dot.then(|| Finding::new("HELO_NO_DOT", Score::points(8))).into())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let onward = relay::Smtp::new(Tokio, "127.0.0.1:10025".parse()?, "mx.example.org");
//!     let gate = Gate::new(Tokio, Settings::new("mx.example.org"), onward)
//!         .panel(Panel::new().scorer(NoDot))
//!         .observer(|event| {
//!             if let Event::Ended(record) = event {
//!                 println!("{record}");
//!             }
//!         });
//!     let listener = listen(&"127.0.0.1:0".parse()?).await?;
//!     let client = client(listener.local_address()?.to_string());
//!     serve(listener, gate).with_graceful_shutdown(client).await?;
//!     Ok(())
//! }
//! # async fn client(gate: String) {
//! #     use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//! #     let stream = tokio::net::TcpStream::connect(gate).await.unwrap();
//! #     let mut stream = BufReader::new(stream);
//! #     let mut reply = String::new();
//! #     stream.read_line(&mut reply).await.unwrap();
//! #     for line in ["HELO spammer", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"] {
//! #         assert!(reply.starts_with('2'), "{reply}");
//! #         stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
//! #         reply.clear();
//! #         stream.read_line(&mut reply).await.unwrap();
//! #     }
//! #     assert!(reply.starts_with("550 5.7.1 "), "{reply}");
//! # }
//! ```
//!
//! # The promise
//!
//! When nobounce answers a message with 2xx, the relay target has accepted that message before. Nothing
//! is dropped and nothing is bounced, whatever fails in between. The types enforce it:
//!
//! - an [`Opinion`] holds evidence or a refusal; it cannot accept a message, and it cannot discard one;
//! - a 2xx to RCPT and to the content is made from an [`Outcome`] that holds a [`Receipt`]; a receipt is
//!   read from the wire for that very request, or made by your own relay target, which stores the
//!   message durably ([`Receipt::kept`]);
//! - a [`Refusal`] is 4yz or 5yz, and its enhanced status code has the same class;
//! - an answer consumes its [`Question`] or [`Forward`]; one that is dropped is asked again, and a message
//!   that was handed over without an answer is not accepted.
//!
//! When the outcome is unknown, the client gets 451 and retries (RFC 1047): a duplicate is possible, a
//! loss is not.
//!
//! # The run loop
//!
//! A [`Session`] does no I/O and has no clock: call `poll`, do what the [`Step`] says, repeat. This loop
//! has no scorers and no relay. [`Gate::open`] returns a session that has them, with limits, tarpit,
//! events, records and shutdown: a [`GateSession`](gate::GateSession). [`serve`] is a loop over it.
//!
//! ```
//! use std::time::{Instant, SystemTime};
//! use nobounce::{Outcome, Peer, Receipt, Request, Session, Settings, Step, Verdict};
//! use nobounce::envelope::SessionId;
//!
//! // The client's octets, as they would come from a socket.
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
//!                 // Only after a durable write:
//!                 Request::Content(..) | Request::Answer(..) => Receipt::kept("4711"),
//!             };
//!             pending.complete(Outcome::Accepted(receipt));
//!         }
//!         // 5. Record it.
//!         Step::Ended(end) => println!("{}: {}", end.envelope.id, end.cause),
//!         // 6. Upgrade the connection. These settings do not offer it.
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
//! - `serve` (default): scorers, panel, relay targets and the driver. Without it, the crate consists of
//!   the wire, plain values and the two machines, and nothing is async.
//! - `tokio`, `smol`: a runtime adapter with an accept loop: `nobounce::tokio`, `nobounce::smol`. The rest
//!   of the crate depends on no runtime.
//! - `tls`: STARTTLS on both sides and implicit TLS, with rustls: `Gate::tls`, `serve_tls`,
//!   `relay::Smtp::with_tls`.
//! - `links`: the links and the visible text of a message, as browsers and mail programs show them:
//!   `Message::rendered`.
//! - `dns`: DNS lists of addresses, names and links, reverse names, HELO checks, and the client's name
//!   for the onward server; with a resolver over the gate's [`Runtime`]. See `dns` and `scorers`.
//! - `hickory`: hickory's resolver instead.
//! - `sender-authentication`: SPF, DKIM, ARC and DMARC, and `Authentication-Results` (RFC 8601).
//! - `rspamd`: the scorer `scorers::Rspamd`.
//! - `json`: lines of a log in JSON, written and read: `observer::json`.
//! - `recording`: recordings of sessions and their replay: `observer::Recorder`, `recording`, `replay`.
//! - `redb`: a store in a file: `store::Embedded`.
//! - `metrics`: an observer that exports metrics for Prometheus: `observer::Metrics`.
//! - `tracing`: an observer that emits spans and events for the `tracing` crate: `observer::Tracing`.
//! - `front-door`: the features that the program for operators, `examples/front_door`, needs.
//! - `testing`: the testing kit `testing`: virtual time, scripted clients and servers, SMTP dialogues.
//!
//! # Pages
//!
//! The guide, with tested programs:
//!
//! - [`docs::scorers`]: your own scorer, with failures and with state for a session.
//! - [`docs::panels`]: how findings become a verdict, and a panel from a configuration.
//! - [`docs::relay_targets`]: your own relay target, and what a 2xx promises.
//! - [`docs::testing`]: testing your scorer, without sockets and without waiting.
//! - [`docs::logs_and_metrics`]: a line for each refusal, a counter for each symbol.
//! - [`docs::questions`]: twenty questions of a postmaster's day, each answered by one command.
//! - [`docs::explaining`]: why a message was refused, and what would become of one.
//! - [`docs::replaying`]: what another configuration would have done with recorded sessions.
//! - [`docs::recipients`]: decisions that differ for each recipient.
//! - [`docs::several_gates`]: several processes or machines with one memory.
//! - [`docs::postfix`]: how to run `front_door` in front of Postfix.
//!
//! About the crate:
//!
//! - [`docs::architecture`]: layers, the two machines, decisions.
//! - [`docs::security`]: threats, guarantees, their limits, and the test of each.
//! - [`docs::bounds`]: everything a peer can make grow, and its limit.
//! - [`docs::figures`]: measured performance.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capabilities;
mod conduct;
mod deadline;
pub mod docs;
pub mod envelope;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod host;
pub mod message;
pub mod network;
/// Reverse-paths, forward-paths and mailboxes (RFC 5321 section 4.1.2), as written and canonical.
pub mod mailbox {
    pub use crate::wire::canonical::{CanonicalMailbox, canonical_domain};
    pub use crate::wire::mailbox::{ForwardPath, Mailbox, PathError, ReversePath, SmtpPath};
}
pub mod onward;
pub mod outcome;
pub mod peer;
pub mod session;
pub mod verdict;
mod wire;

#[cfg(feature = "serve")]
pub mod admission;
#[cfg(feature = "sender-authentication")]
pub mod authentication;
#[cfg(feature = "serve")]
pub mod breaker;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "serve")]
pub mod driver;
#[cfg(feature = "serve")]
pub mod gate;
#[cfg(feature = "dns")]
mod naming;
#[cfg(feature = "serve")]
pub mod observer;
#[cfg(feature = "serve")]
mod opinion;
#[cfg(feature = "serve")]
pub mod panel;
#[cfg(feature = "serve")]
mod record;
#[cfg(feature = "recording")]
pub mod recording;
#[cfg(any(test, feature = "testing"))]
mod rehearsal;
#[cfg(feature = "serve")]
pub mod relay;
#[cfg(feature = "recording")]
pub mod replay;
#[cfg(feature = "serve")]
pub mod runtime;
#[cfg(feature = "serve")]
pub mod score;
#[cfg(feature = "serve")]
mod scorer;
#[cfg(feature = "serve")]
pub mod scorers;
#[cfg(feature = "serve")]
pub mod store;
#[cfg(feature = "serve")]
pub mod tally;
#[cfg(feature = "serve")]
mod tarpit;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(all(feature = "serve", not(feature = "tls")))]
mod tls;
#[cfg(feature = "serve")]
mod unwind;

// The names that most programs need. All others are in the modules.
#[doc(inline)]
pub use envelope::Envelope;
#[doc(inline)]
pub use host::HostName;
#[doc(inline)]
pub use message::Message;
#[doc(inline)]
pub use onward::Onward;
#[doc(inline)]
pub use outcome::{Outcome, Receipt, Request};
#[doc(inline)]
pub use peer::Peer;
#[doc(inline)]
pub use session::{Forward, Question, Session, Settings, Step};
#[doc(inline)]
pub use verdict::{Refusal, Verdict};
#[doc(inline)]
pub use wire::mailbox::{ForwardPath, ReversePath};
#[doc(inline)]
pub use wire::reply::Reply;
#[doc(inline)]
pub use wire::{attributes, command, proxy, reply};

#[cfg(feature = "serve")]
#[doc(inline)]
pub use driver::serve;
#[cfg(feature = "tls")]
#[doc(inline)]
pub use driver::serve_tls;
#[cfg(feature = "serve")]
#[doc(inline)]
pub use gate::Gate;
#[cfg(feature = "serve")]
#[doc(inline)]
pub use observer::{Event, Observer};
#[cfg(feature = "serve")]
#[doc(inline)]
pub use opinion::{Opinion, ScorerError};
#[cfg(feature = "serve")]
#[doc(inline)]
pub use panel::{Panel, Thresholds};
#[cfg(feature = "serve")]
#[doc(inline)]
pub use relay::{Relay, Target};
#[cfg(feature = "smol")]
pub use runtime::smol;
#[cfg(feature = "tokio")]
pub use runtime::tokio;
#[cfg(feature = "serve")]
#[doc(inline)]
pub use runtime::{Address, Runtime};
#[cfg(feature = "serve")]
#[doc(inline)]
pub use score::{Finding, Score};
#[cfg(feature = "serve")]
#[doc(inline)]
pub use scorer::{ConnectContext, DataContext, RcptContext, Scorer, SessionScorer};

/// The attribute macro for implementations of this crate's async traits.
#[cfg(feature = "serve")]
pub use async_trait::async_trait;
/// `Bytes`, of which messages and replies are made.
pub use bytes;
/// The I/O traits of a client's connection, from the `futures` crate.
#[cfg(feature = "serve")]
pub use futures::io::{AsyncRead, AsyncWrite};
/// The `prometheus-client` crate, for [`Metrics`](observer::Metrics).
#[cfg(feature = "metrics")]
pub use prometheus_client;
/// The `rustls` crate, for [`TlsServer::from_config`](tls::TlsServer::from_config).
#[cfg(feature = "tls")]
pub use rustls;

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use wire::exposed as wire_exposed;

/// The README's examples compile, or the tests fail.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
