//! Replays [recordings](crate::recording): of the policy, and of the protocol.

mod dialogue;
mod onward;
mod policy;
mod protocol;
mod script;

pub use policy::{ReplayedQuestion, ReplayedTransaction, policy};
pub use protocol::{Divergence, ProtocolReplay, protocol};
