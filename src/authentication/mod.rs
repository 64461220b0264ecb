//! Evaluation of the claims that a message makes about its origin: SPF, DKIM, ARC and DMARC.
//!
//! The evaluators do no I/O and have no clock. They say which DNS records they need, and the caller
//! looks them up. [`spf()`] and [`dmarc()`] do so over a [`Resolver`](crate::dns::Resolver). DKIM and ARC
//! share the parsed header section ([`Content`]) and the public keys ([`Keys`]). DMARC compares the domains
//! that SPF and DKIM have verified ([`DmarcIdentifier`]) with those of the author ([`Authors`]).
//!
//! The scorer [`Authentication`](crate::scorers::Authentication) does all of this.
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
//! use nobounce::authentication::{Authors, Content, Dmarc, DmarcIdentifier, DmarcStep, Keys, arc, dkim};
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
//! let verified = signatures.verify(&keys, now);
//! assert!(verified.is_empty());
//! assert_eq!(chain.verify(&keys, now).result, arc::ChainResult::None);
//!
//! let authors = Authors::read(&message).domains().to_vec();
//! let mut dmarc = Dmarc::new(authors, verified.iter().filter_map(DmarcIdentifier::dkim));
//! let outcome = loop {
//!     let answer = match dmarc.poll() {
//!         DmarcStep::Ask { name, .. } => lookup(name),
//!         DmarcStep::Done(outcome) => break outcome.clone(),
//!     };
//!     dmarc.answer(answer);
//! };
//! assert_eq!(outcome.to_string(), "none (no DMARC record for example.org)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arc;
pub mod dkim;

mod author;
mod base64;
mod body;
mod canonicalization;
mod content;
mod dmarc;
mod key;
mod signature;
mod spf;
mod tags;

pub use author::Authors;
pub use content::Content;
pub use dmarc::{
    Dmarc, DmarcIdentifier, DmarcMechanism, DmarcOutcome, DmarcPolicy, DmarcProblem, DmarcResult,
    DmarcStep, dmarc,
};
pub use key::Keys;
#[cfg(fuzzing)]
pub(crate) use spf::Policy;
pub use spf::{Spf, SpfIdentity, SpfOutcome, SpfProblem, SpfResult, SpfStep, spf};
