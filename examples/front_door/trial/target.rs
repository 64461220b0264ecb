//! A relay target that would accept everything and keeps nothing.

use nobounce::relay::Relay;
use nobounce::session::Capabilities;
use nobounce::{Envelope, ForwardPath, Message, Outcome, Peer, Receipt, Target, async_trait};

/// The queue ID in its replies.
const NOT_SENT: &str = "nothing-is-sent";

/// The relay target. It must never serve real clients.
pub(super) struct WouldAccept;

impl Target for WouldAccept {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for WouldAccept {
    async fn capabilities(&mut self) -> Capabilities {
        let mut offered = Capabilities::basic();
        (offered.smtp_utf8, offered.dsn) = (true, true);
        offered
    }

    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept(NOT_SENT))
    }
}
