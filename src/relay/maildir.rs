//! A Maildir as the relay target: a message is stored durably in a folder before the client gets
//! 250.

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
use crate::wire::mailbox::{ForwardPath, SmtpPath};

/// Maximum number of concurrent deliveries, each with a thread and an open file. It is half of the
/// 1,024 open files that a process usually may have. A disk that hangs blocks at most this many.
const DELIVERIES: usize = 512;
/// Stack size of a delivery's thread in octets. The thread makes only file system calls.
const STACK: usize = 128 * 1024;

/// A relay target that stores messages in a [Maildir](https://cr.yp.to/proto/maildir.html).
///
/// A message is written to `tmp/` and synchronised, then linked into `new/`, and `new/` is
/// synchronised. Only then does the client get `250 2.0.0 Ok: queued as NAME`. `NAME` is the name
/// of the file in `new/`. If a step fails, the client gets 451 (452 if the disk is full) and keeps
/// the message. A crash in between may leave a message that the client sends again. That is a
/// duplicate, but never a loss.
///
/// The file holds `Return-Path:`, one `Delivered-To:` for each recipient, and the unchanged
/// [message](Message::segments). Its CRLF line ends are kept, so that signatures remain valid; mail
/// readers accept both kinds of line ends.
///
/// This is final delivery. DSN (RFC 3461) is not offered, because this target cannot write the
/// notifications. Deliveries block, so each runs on its own thread. No runtime is needed.
///
/// ```
/// use nobounce::relay::{Mailboxes, Maildir};
///
/// let sink = Maildir::new("maildir"); // accepts mail for any recipient
/// let mailbox = Maildir::new("maildir").recipients(Mailboxes::new(["alice@example.org"])?);
/// # Ok::<(), nobounce::relay::MailboxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Maildir {
    folder: Arc<Folder>,
    /// The accepted recipients; `None` accepts any.
    recipients: Option<Arc<Mailboxes>>,
}

impl Maildir {
    /// Creates a target for the Maildir at `path` that accepts mail for any recipient. The file
    /// system is not accessed before the first delivery. That creates the folder and its `tmp/`,
    /// `new/` and `cur/` if they are missing (mode 0700). The parent of the folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::new(path.into())), recipients: None }
    }

    /// Sets the accepted mailboxes. Any other recipient is refused with `550 5.1.1`.
    #[must_use]
    pub fn recipients(self, mailboxes: Mailboxes) -> Self {
        Self { recipients: Some(Arc::new(mailboxes)), ..self }
    }

    /// Returns whether mail for this path is accepted.
    fn takes(&self, path: &SmtpPath) -> bool {
        let Some(mailboxes) = &self.recipients else { return !path.is_null() };
        mailboxes.contains(path)
    }

    /// Stores the message, on a separate thread.
    async fn keep(&self, segments: Vec<Bytes>) -> io::Result<String> {
        let folder = Arc::clone(&self.folder);
        let slot = folder.slot(DELIVERIES).ok_or(ErrorKind::ResourceBusy)?;
        let (sender, receiver) = oneshot::channel();
        let deliver = move || {
            let kept = folder.draft(&segments).and_then(|draft| match sender.is_canceled() {
                // The client got 451 meanwhile and will send the same message again.
                true => Err(ErrorKind::TimedOut.into()),
                false => draft.keep(),
            });
            drop(slot);
            let _ = sender.send(kept);
        };
        let thread = thread::Builder::new().name("maildir".into()).stack_size(STACK);
        drop(thread.spawn(deliver)?);
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the delivery thread panicked")))
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
        // Addresses and header fields are stored unchanged. DSN reports are not supported.
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

/// Returns the fields that final delivery adds to a message (RFC 5321 section 4.4).
fn delivery_fields(envelope: &Envelope) -> impl Iterator<Item = Bytes> {
    let from = [b"<", envelope.reverse_path.path.address(), b">"].concat();
    let from = HeaderField::fold("Return-Path", &from);
    let to = envelope.forward_paths.iter();
    let to = to.map(|to| HeaderField::fold("Delivered-To", to.path.address()));
    std::iter::once(from).chain(to).map(|field| field.octets().clone())
}

/// Returns the outcome of a delivery that failed with this error.
fn failure(error: io::Error) -> Outcome {
    const NO_ROOM: Refusal = Refusal::fixed(452, 3, 1, "Insufficient system storage");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Outcome::Refused(NO_ROOM),
        _ => Outcome::failed(error),
    }
}
