//! The states of an onward connection and all its transitions, and nothing else.
//!
//! ```text
//!                   Connect               Connected
//!    Disconnected ───────────► Connecting ───────────► Awaiting
//!         ▲                                            │      ▲
//!         │                          Heard, if no more │      │ Sent
//!         │ Disconnected               replies are due ▼      │
//!         │                              ┌─────────── Ready ──┴─────────┐
//!         │                     StartTls │              │ GoAhead       │ OwesAnswer
//!         │        BrokenOff             ▼              ▼               ▼
//!       Broken ◄─────────────────    Upgrading        Sending       Answering
//!                 any state          TlsStarted       Written      AnswerAsked
//!               with a connection        ▼              ▼               ▼
//!                                      Ready         Awaiting        Awaiting
//! ```
//!
//! - A connection begins with the greeting and EHLO: `Awaiting` leads to `Ready`, back to
//!   `Awaiting`, and so on. After STARTTLS, EHLO is sent again. XCLIENT leads to another greeting
//!   and another EHLO.
//! - A request sends its commands and returns to `Ready`. RSET, XFORWARD, MAIL and RCPT are sent in
//!   groups (RFC 2920), and DATA is sent alone. The reply 354 leads to `Sending`.
//! - An LMTP server replies to the content once for each recipient (RFC 2033). Until the last
//!   reply, `Answering` takes the place of `Ready`.
//! - Lost connections, timeouts and malformed replies lead to `Broken`.
//!
//! The field of [`Machine`] is private, so only this file writes it. The other files report an
//! [`Event`] and read the [`State`].

use bytes::Bytes;

use super::owed::{Awaited, Owed};
use crate::wire::content::DataWriter;

/// The state machine of one onward connection.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
}

/// The state of a connection. Each variant is named for the event that it waits for.
#[derive(Debug)]
pub(super) enum State {
    /// A request, without a connection.
    Disconnected,
    /// The connection, which the caller makes.
    Connecting,
    /// These replies, in this order.
    Awaiting(Owed),
    /// The end of the mail data, which is being written.
    Sending(Box<DataWriter>),
    /// TLS, which the caller starts.
    Upgrading,
    /// A request.
    Ready,
    /// A request for the next reply to the content, which the server still owes.
    Answering,
    /// The end of the connection, which the caller closes.
    Broken,
}

/// A cause of a transition.
#[derive(Debug)]
pub(super) enum Event {
    /// There is a request.
    Connect,
    /// The connection is established.
    Connected,
    /// Commands were sent. The server owes these replies.
    Sent(Owed),
    /// The next reply was received.
    Heard,
    /// The server is ready for the TLS handshake (220 to STARTTLS).
    StartTls,
    /// The TLS handshake is done.
    TlsStarted,
    /// The server is ready for the mail data (354 to DATA).
    GoAhead(Box<DataWriter>),
    /// The mail data was written, or cannot be written any further.
    Written,
    /// The server owes the reply to the content for another recipient.
    OwesAnswer,
    /// The reply to the content for another recipient was requested.
    AnswerAsked,
    /// The connection can no longer be used.
    BrokenOff,
    /// The connection is closed.
    Disconnected,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { state: State::Disconnected }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn is_owed_replies(&self) -> bool {
        matches!(self.state, State::Awaiting(_) | State::Sending(_))
    }

    /// Applies the transition that this event causes. If the state has no transition for the event,
    /// nothing changes.
    pub(super) fn apply(&mut self, event: Event) {
        let content = || State::Awaiting(Owed::one(Awaited::Content));
        let next = match (&mut self.state, event) {
            (State::Disconnected, Event::Connect) => State::Connecting,
            (State::Connecting, Event::Connected) => State::Awaiting(Owed::one(Awaited::Greeting)),
            (State::Ready, Event::Sent(owed)) => State::Awaiting(owed),
            (State::Awaiting(owed), Event::Heard) => {
                if owed.settle() {
                    return;
                }
                State::Ready
            }

            (State::Ready, Event::StartTls) => State::Upgrading,
            (State::Upgrading, Event::TlsStarted) => State::Ready,

            (State::Ready, Event::GoAhead(writer)) => State::Sending(writer),
            (State::Sending(_), Event::Written) => content(),

            (State::Ready, Event::OwesAnswer) => State::Answering,
            (State::Answering, Event::AnswerAsked) => content(),

            (State::Disconnected | State::Connecting, Event::BrokenOff) => State::Disconnected,
            (_, Event::BrokenOff) => State::Broken,
            (_, Event::Disconnected) => State::Disconnected,

            (_, _) => return,
        };
        self.state = next;
    }

    /// Appends the next part of the mail data to `output`, if mail data is being written. After the
    /// last part, the machine waits for the reply to the content.
    pub(super) fn write_content(&mut self, output: &mut Vec<Bytes>) {
        if let State::Sending(writer) = &mut self.state {
            writer.write(output);
            if writer.is_done() {
                self.apply(Event::Written);
            }
        }
    }
}

#[cfg(test)]
mod tests;
