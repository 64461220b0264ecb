//! Gates that break the promise, to check that the simulation detects it.

use async_trait::async_trait;
use nobounce::reply::EnhancedStatus;
use nobounce::session::Capabilities;
use nobounce::{Envelope, ForwardPath, Message, Outcome, Peer, Receipt, Refusal, Relay, Target};

/// A defect of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Replies 2xx to every tenth mail without forwarding it.
    Lies,
    /// Does not report mails that it could not acknowledge.
    Conceals,
    /// Forwards mail that scorers refuse.
    Disobeys,
    /// Silently abandons clients after a while.
    Leaves,
    /// Forgets to close connections.
    Leaks,
    /// Discloses internal errors to clients.
    Tells,
}

/// A relay target with a defect.
pub struct Sabotaged<T>(pub T, pub Option<Sabotage>);

struct Relayed {
    inner: Option<Box<dyn Relay>>,
    sabotage: Sabotage,
    asked: usize,
}

impl<T: Target> Target for Sabotaged<T> {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        let inner = self.0.open(peer);
        match self.1 {
            Some(sabotage) => Box::new(Relayed { inner: Some(inner), sabotage, asked: 0 }),
            None => inner,
        }
    }
}

impl Relayed {
    fn inner(&mut self) -> &mut dyn Relay {
        self.asked += 1;
        self.inner.as_deref_mut().unwrap()
    }
}

#[async_trait]
impl Relay for Relayed {
    async fn capabilities(&mut self) -> Capabilities {
        self.inner().capabilities().await
    }

    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let outcome = self.inner().rcpt(envelope, recipient).await;
        match outcome {
            Outcome::Failed(error) if self.sabotage == Sabotage::Tells => {
                let status = EnhancedStatus::new(4, 0);
                Outcome::Refused(Refusal::transient(451, status, &error.to_string()))
            }
            outcome => outcome,
        }
    }

    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        if self.sabotage == Sabotage::Lies && self.asked.is_multiple_of(10) {
            return Outcome::Accepted(Receipt::kept("1"));
        }
        self.inner().content(envelope, message).await
    }

    async fn close(&mut self) {
        self.inner().close().await;
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if self.sabotage == Sabotage::Leaks {
            std::mem::forget(self.inner.take());
        }
    }
}
