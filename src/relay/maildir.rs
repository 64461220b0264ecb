//! A Maildir as the relay target: a message is kept in a folder, durably, before anyone says 250.

mod folder;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;

use self::folder::Folder;
use super::{Mailboxes, Relay, Target};
use crate::capabilities::Capabilities;
use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::message::Message;
use crate::outcome::{Outcome, Receipt};
use crate::peer::Peer;
use crate::verdict::Refusal;
use crate::wire::mailbox::{ForwardPath, Path};

/// Deliveries that may be under way at once, each with a thread and an open file: half of the 1,024
/// open files that a process usually may have. A disk that hangs costs this and no more.
const DELIVERIES: usize = 512;
/// Octets of stack for a delivery's thread, which calls nothing but the file system.
const STACK: usize = 128 * 1024;

/// A relay target that keeps messages in a [Maildir](https://cr.yp.to/proto/maildir.html).
///
/// A message is written to `tmp/`, synchronised, linked into `new/`, and `new/` is synchronised,
/// before the client is told `250 2.0.0 Ok: queued as NAME`; `NAME` is its file in `new/`. When any
/// of it fails the client is told 451 (452 if there is no room) and keeps the message. A crash in
/// between may leave a message that the client sends again: a duplicate, never a loss.
///
/// The file holds `Return-Path:`, one `Delivered-To:` for each recipient, and the
/// [message](Message::segments) octet for octet, its CRLF line ends included: what a signature was
/// made over stays what it was, and mail readers take either line end.
///
/// Whoever delivers here is where the mail ends: DSN (RFC 3461) is not offered, because nobody here
/// would write the notifications. Deliveries block, so each has a thread of its own; no runtime is
/// needed.
///
/// ```
/// use nobounce::relay::{Mailboxes, Maildir};
///
/// let sink = Maildir::new("maildir"); // takes mail for anyone
/// let mailbox = Maildir::new("maildir").recipients(Mailboxes::new(["alice@example.org"])?);
/// # Ok::<(), nobounce::relay::BadMailbox>(())
/// ```
#[derive(Debug, Clone)]
pub struct Maildir {
    folder: Arc<Folder>,
    /// Whose mail it takes; `None` is everybody's.
    recipients: Option<Arc<Mailboxes>>,
}

impl Maildir {
    /// The Maildir at `path`, for mail to anyone: a sink. Nothing is touched before the first
    /// delivery, which creates what is missing of the folder and of its `tmp/`, `new/` and `cur/`
    /// (mode 0700); the folder's parent must be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::new(path.into())), recipients: None }
    }

    /// Sets the mailboxes that mail is accepted for; any other is refused with `550 5.1.1`.
    #[must_use]
    pub fn recipients(self, mailboxes: Mailboxes) -> Self {
        Self { recipients: Some(Arc::new(mailboxes)), ..self }
    }

    /// Whether mail for this path is taken.
    fn takes(&self, path: &Path) -> bool {
        let Some(mailboxes) = &self.recipients else { return !path.is_null() };
        mailboxes.contains(path)
    }

    /// Keeps the message on a thread of its own.
    async fn keep(&self, segments: Vec<Bytes>) -> io::Result<String> {
        let folder = Arc::clone(&self.folder);
        let slot = folder.slot(DELIVERIES).ok_or(ErrorKind::ResourceBusy)?;
        let (sender, receiver) = oneshot::channel();
        let deliver = move || {
            let kept = folder.draft(&segments).and_then(|draft| match sender.is_canceled() {
                // The client was told 451 meanwhile and will be back with the same message.
                true => Err(ErrorKind::TimedOut.into()),
                false => draft.keep(),
            });
            drop(slot);
            let _ = sender.send(kept);
        };
        let thread = thread::Builder::new().name("maildir".into()).stack_size(STACK);
        drop(thread.spawn(deliver)?);
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the delivery died")))
    }
}

impl Target for Maildir {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Relay for Maildir {
    async fn capabilities(&mut self) -> Capabilities {
        // It keeps addresses and header fields as they are. It writes no reports.
        Capabilities { smtp_utf8: true, ..Capabilities::basic() }
    }

    async fn rcpt(&mut self, _: &Envelope, recipient: &ForwardPath) -> Outcome {
        const UNKNOWN: Refusal = Refusal::fixed(550, 1, 1, "No such mailbox here");
        match self.takes(&recipient.path) {
            true => Outcome::Accepted(Receipt::recipient()),
            false => Outcome::Refused(UNKNOWN),
        }
    }

    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        let fields = delivery_fields(envelope);
        let segments = fields.chain(message.into_segments()).collect();
        match self.keep(segments).await {
            Ok(name) => Outcome::Accepted(Receipt::kept(&name)),
            Err(error) => failure(error),
        }
    }
}

/// What final delivery puts before a message (RFC 5321 section 4.4).
fn delivery_fields(envelope: &Envelope) -> impl Iterator<Item = Bytes> {
    let from = [b"<", envelope.reverse_path.path.address(), b">"].concat();
    let from = HeaderField::fold("Return-Path", &from);
    let to = envelope.forward_paths.iter();
    let to = to.map(|to| HeaderField::fold("Delivered-To", to.path.address()));
    std::iter::once(from).chain(to).map(|field| field.octets().clone())
}

/// What becomes of a delivery that failed.
fn failure(error: io::Error) -> Outcome {
    const NO_ROOM: Refusal = Refusal::fixed(452, 3, 1, "Insufficient system storage");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Outcome::Refused(NO_ROOM),
        _ => Outcome::failed(error),
    }
}
