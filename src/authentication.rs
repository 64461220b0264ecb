//! Authentication of mail: which domains a message really comes from.
//!
//! The evaluators do no I/O. They ask for DNS records one at a time and can be driven by hand, or by
//! the async functions beside them over a [`Resolver`](crate::dns::Resolver).

mod spf;

#[cfg(fuzzing)]
pub(crate) use spf::Policy;
pub use spf::{Spf, SpfIdentity, SpfOutcome, SpfProblem, SpfResult, SpfStep, spf};
