//! nobounce
#![forbid(unsafe_code)]

mod capabilities;
mod deadline;
mod envelope;
mod header;
mod message;
mod outcome;
mod peer;
mod verdict;
mod wire;

#[cfg(feature = "serve")]
pub mod relay;
#[cfg(feature = "serve")]
mod runtime;
#[cfg(feature = "serve")]
mod score;
#[cfg(feature = "serve")]
mod scorer;

pub use capabilities::Capabilities;
pub use deadline::{Awaiting, Deadline, OnwardTimeouts, SessionTimeouts};
pub use envelope::{Envelope, SessionId, TransactionId};
pub use header::{BadFieldName, HeaderField};
pub use message::{Field, Fields, Message, MessageView, MimePart};
pub use outcome::{Outcome, Receipt, Request};
pub use peer::{Helo, Peer, Tls};
pub use verdict::{Refusal, Stage, Subject, Verdict};
pub use wire::command::{Body, MailParameters, RcptParameters};
pub use wire::content::{LineEndings, MailData};
pub use wire::line::LineFault;
pub use wire::mailbox::{ForwardPath, Mailbox, Path, ReversePath};
pub use wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode, ReplyFault};

#[cfg(feature = "serve")]
pub use relay::{Relay, Target};
#[cfg(feature = "serve")]
pub use runtime::{Address, BadAddress, Runtime};
#[cfg(feature = "serve")]
pub use score::{Finding, Score};
#[cfg(feature = "serve")]
pub use scorer::{Opinion, Scorer, ScorerError};
