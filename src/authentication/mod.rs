//! Evaluation of the claims that a message makes about its origin: SPF, DKIM and ARC.
//!
//! The evaluators do no I/O and have no clock. They say which DNS records they need, and the caller
//! looks them up. [`spf()`] does so over a [`Resolver`](crate::dns::Resolver). DKIM and ARC share the parsed header section ([`Content`]) and the public keys
//! ([`Keys`]).
//!
//! ```
//! # use std::time::{SystemTime, UNIX_EPOCH, Duration};
//! # use std::sync::Arc;
//! # use nobounce::{Envelope, Message, Peer, ReversePath};
//! # use nobounce::envelope::SessionId;
//! # use nobounce::message::MailData;
//! # let id = SessionId::new("example").transaction(1);
//! # let envelope = Envelope::new(id, Arc::new(Peer::local()), ReversePath::parse("<>")?);
//! # let data = MailData::normalise(b"From: a@example.org\r\n\r\nHello!\r\n");
//! # let message = Message::new("mx.example.net", &envelope, UNIX_EPOCH, data);
//! # use nobounce::dns::{Answer, DomainName};
//! # let lookup = |_: &DomainName| Ok(Answer::new([], Duration::ZERO));
//! use nobounce::authentication::{Content, Keys, arc, dkim};
//!
//! let content = Content::read(&message);
//! let signatures = dkim::Signatures::read(&content);
//! let chain = arc::Chain::read(&content);
//!
//! let mut keys = Keys::default();
//! for name in signatures.key_names().chain(chain.key_names()) {
//!     if !keys.contains(name) {
//!         keys.insert(name.clone(), lookup(name));
//!     }
//! }
//! let now = SystemTime::UNIX_EPOCH;
//! assert!(signatures.verify(&keys, now).is_empty());
//! assert_eq!(chain.verify(&keys, now).result, arc::ChainResult::None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arc;
pub mod dkim;

mod base64;
mod body;
mod canonicalization;
mod content;
mod key;
mod signature;
mod spf;
mod tags;

pub use content::Content;
pub use key::Keys;
#[cfg(fuzzing)]
pub(crate) use spf::Policy;
pub use spf::{Spf, SpfIdentity, SpfOutcome, SpfProblem, SpfResult, SpfStep, spf};
