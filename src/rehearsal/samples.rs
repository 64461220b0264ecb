//! Sample values for tests, each from one call.

use std::sync::Arc;
use std::time::SystemTime;

use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::peer::Peer;
use crate::wire::command::MailParameters;
#[cfg(test)]
use crate::wire::command::RcptParameters;
use crate::wire::content::MailData;
#[cfg(test)]
use crate::wire::mailbox::ForwardPath;
use crate::wire::mailbox::{ReversePath, SmtpPath};

/// Returns a client: `192.0.2.1`, port 4711, without a name and before its HELO.
///
/// ```
/// let mut peer = nobounce::testing::peer();
/// peer.name = Some("client.example".into());
/// assert_eq!(peer.to_string(), "client.example[192.0.2.1]");
/// ```
pub fn peer() -> Peer {
    Peer::new(([192, 0, 2, 1], 4711).into())
}

/// Returns the envelope of the first transaction of a session `test`, with this sender and no
/// recipients. The client is [`peer`].
///
/// ```
/// let envelope = nobounce::testing::envelope("<a@example.org>");
/// assert_eq!(envelope.reverse_path.path.written(), b"<a@example.org>");
/// assert_eq!(envelope.id.to_string(), "test.1");
/// ```
/// # Panics
///
/// Panics if the sender is not a path in angle brackets, such as `<a@example.org>` or `<>`.
#[track_caller]
pub fn envelope(sender: &str) -> Envelope {
    let (path, _) = SmtpPath::scan(sender.as_bytes()).expect("a path in angle brackets");
    let reverse_path = ReversePath { path, parameters: MailParameters::default() };
    Envelope::new(SessionId::new("test").transaction(1), Arc::new(peer()), reverse_path)
}

/// Returns the session name used in tests.
#[cfg(test)]
pub(crate) fn session() -> SessionId {
    SessionId::new("test")
}

#[cfg(test)]
pub(crate) fn recipient() -> ForwardPath {
    let (path, _) = SmtpPath::scan(b"<rcpt@example.org>").expect("a path");
    ForwardPath { path, parameters: RcptParameters::default() }
}

/// Returns a message with this content, received by `mx.example` from `<a@example.com>` at the Unix
/// epoch. Bare CR and LF are treated as line ends.
///
/// ```
/// let message = nobounce::testing::message("Subject: hello\n\nHello!\n");
/// assert_eq!(**message.content(), *b"Subject: hello\r\n\r\nHello!\r\n");
/// ```
pub fn message(content: &(impl AsRef<[u8]> + ?Sized)) -> Message {
    let content = MailData::normalise(content.as_ref());
    Message::new("mx.example", &envelope("<a@example.com>"), SystemTime::UNIX_EPOCH, content)
}
