//! A wrapper of the onward server that enforces its self-test: no message is forwarded before the
//! server has shown that it does not relay for strangers. Until then clients get the greeting, but
//! 451 to RCPT.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nobounce::relay::{SelfTestError, Smtp};
use nobounce::{Peer, Relay, Target};
use tokio::time::{sleep, timeout};

use crate::output::Output;
use nobounce::tokio::Tokio;

/// Time that the greeting of the first clients waits for the test. A running server needs much
/// less.
const FIRST: Duration = Duration::from_secs(3);
/// Interval between tests of a server that has not answered.
const AGAIN: Duration = Duration::from_secs(2);

/// A relay target that gets no mail until its self-test has passed.
#[derive(Clone)]
pub(crate) struct Tested {
    target: Smtp<Tokio>,
    passed: Arc<AtomicBool>,
}

impl Tested {
    /// Wraps a target that must pass the test first.
    pub(crate) fn new(target: Smtp<Tokio>) -> Self {
        Self { target: target.tested_first(), passed: Arc::default() }
    }

    /// Wraps a target without a test.
    pub(crate) fn trusted(target: Smtp<Tokio>) -> Self {
        Self { target, passed: Arc::new(true.into()) }
    }

    /// Tests the server once. A server that does not answer is not an error here.
    pub(crate) async fn test(&self, errors: &Output) -> Result<(), SelfTestError> {
        let again = "clients get 451, and the test is repeated";
        match timeout(FIRST, self.target.self_test()).await {
            Ok(Ok(())) => self.passed.store(true, Ordering::Release),
            Ok(Err(SelfTestError::Unanswered(error))) => {
                errors.report(format_args!("the onward server does not answer: {error}; {again}"));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let seconds = FIRST.as_secs();
                errors.report(format_args!(
                    "the onward server did not answer within {seconds} s; {again}"
                ));
            }
        }
        Ok(())
    }

    /// Repeats the test until the server has answered. Returns only if the server fails the test.
    pub(crate) async fn test_again(&self, errors: &Output) -> SelfTestError {
        while !self.passed.load(Ordering::Acquire) {
            sleep(AGAIN).await;
            match self.target.self_test().await {
                Ok(()) => {
                    self.passed.store(true, Ordering::Release);
                    errors.report("the onward server answers now and passed the self-test");
                }
                Err(SelfTestError::Unanswered(_)) => {}
                Err(error) => return error,
            }
        }
        pending().await
    }
}

impl Target for Tested {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        self.target.open(peer)
    }
}
