//! The onward server, behind its self-test: no message goes there before it has shown that it does not relay
//! for strangers. Until then clients are greeted, and told 451 at RCPT.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nobounce::relay::{SelfTestError, Smtp};
use nobounce::{Envelope, ForwardPath, Message, Outcome, Peer, Relay, RelayError, Target};
use tokio::time::{sleep, timeout};

use crate::output::Output;
use crate::runtime::Tokio;

/// How long the greeting of the first clients waits for the test. A server that is up takes much less.
const FIRST: Duration = Duration::from_secs(3);
/// How often a server that has not answered is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// A relay target whose self-test decides whether it gets anything.
#[derive(Clone)]
pub(crate) struct Tested {
    target: Arc<Smtp<Tokio>>,
    passed: Arc<AtomicBool>,
}

impl Tested {
    pub(crate) fn new(target: Smtp<Tokio>) -> Self {
        Self { target: Arc::new(target), passed: Arc::default() }
    }

    /// Takes it as tested.
    pub(crate) fn trust(&self) {
        self.passed.store(true, Ordering::Release);
    }

    /// Tests it once. A server that does not answer is no error here.
    pub(crate) async fn test(&self, errors: &Output) -> Result<(), SelfTestError> {
        let again = "clients are told 451, and it is asked again";
        match timeout(FIRST, self.target.self_test()).await {
            Ok(Ok(())) => self.trust(),
            Ok(Err(SelfTestError::Unanswered(error))) => {
                errors.report(format_args!("the onward server has not answered: {error}; {again}"));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let seconds = FIRST.as_secs();
                errors.report(format_args!(
                    "the onward server has not answered within {seconds} s; {again}"
                ));
            }
        }
        Ok(())
    }

    /// Tests it until it has answered, and returns only if it fails the test.
    pub(crate) async fn test_again(&self, errors: &Output) -> SelfTestError {
        while !self.passed.load(Ordering::Acquire) {
            sleep(AGAIN).await;
            match self.target.self_test().await {
                Ok(()) => {
                    self.trust();
                    errors.report("the onward server has answered and passed the self-test");
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
        match self.passed.load(Ordering::Acquire) {
            true => self.target.open(peer),
            false => Box::new(Untested),
        }
    }
}

/// Fails for a whole session. It offers everything: a client that needs an extension which is not offered
/// bounces the mail, and this one is to come again.
struct Untested;

#[async_trait]
impl Relay for Untested {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        untested()
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        untested()
    }
}

fn untested() -> Outcome {
    let reason = std::io::Error::other("the onward server has not passed its self-test yet");
    Outcome::Failed(RelayError::Unreachable(Arc::new(reason)))
}
