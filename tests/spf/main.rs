//! SPF beside others: the public test suite of RFC 7208, and random policies beside pyspf. Run by
//! `.ci/programs/spf.sh`, which says where the suite and pyspf are.

#![cfg(feature = "sender-authentication")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod differential;
mod policies;
mod suite;

/// Returns a variable of the environment. A missing one is a failure, not a reason to skip a test.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run .ci/programs/spf.sh"))
}
