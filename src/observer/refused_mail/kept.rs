//! One copy of a refused message: its record, and what a release needs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::folder::{message_path, record_path, write_private};
use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::observer::json::{Entry, Line, Transaction, ascii_line};
use crate::peer::{Helo, NameLookup, Peer, TlsInfo};
use crate::record::TransactionRecord;
use crate::wire::mailbox::{ForwardPath, PathError, ReversePath, SmtpPath};

/// Version of the format of the record.
const VERSION: u32 = 1;

/// The content of `REFERENCE.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sidecar {
    v: u32,
    /// Whether the message is whole, not only its header.
    whole: bool,
    /// The arguments of MAIL and RCPT with their parameters. `%` and octets that are not printable
    /// ASCII are percent-encoded.
    mail: String,
    rcpt: Vec<String>,
    /// Whether DNS has answered, if the client has no name.
    name_lookup: Lookup,
    /// The log line of the transaction.
    record: Line,
    #[serde(default)]
    released: Vec<Release>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Lookup {
    NotAsked,
    Answered,
    Failed,
}

/// A release of a message to the onward server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Release {
    /// Unix time in seconds.
    pub time: f64,
    /// The recipients for which the onward server accepted the message, as in
    /// [`KeptMail::recipients`].
    pub recipients: Vec<String>,
    /// The reply of the onward server.
    pub reply: String,
}

/// A copy of a refused message, as [`RefusedMail`](super::RefusedMail) writes it.
///
/// ```no_run
/// use nobounce::observer::KeptMail;
///
/// let kept = KeptMail::open("/var/lib/gate/refused".as_ref(), "1k19wrxwwfq-2tb-0.1")?;
/// println!("{}", kept.record());
/// # Ok::<(), nobounce::observer::KeptMailError>(())
/// ```
#[derive(Debug)]
pub struct KeptMail {
    folder: PathBuf,
    sidecar: Sidecar,
    /// The file of the message. It is locked, so that a message is released once.
    message: File,
}

/// The reason why a copy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptMailError {
    /// There is no copy with this reference. It was never kept, or has been removed.
    #[error("no copy with this reference")]
    NotFound,
    /// Another process is releasing this message.
    #[error("another process is releasing this message")]
    InUse,
    /// A file cannot be read or written.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The record is not one of this format.
    #[error("{path}: {1}", path = .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
    /// The record has another version.
    #[error("{path}: version {1} of the record; expected {VERSION}", path = .0.display())]
    Version(PathBuf, u32),
    /// The record has an envelope that cannot be sent.
    #[error("{path}: the envelope is malformed: {1}", path = .0.display())]
    Envelope(PathBuf, #[source] PathError),
    /// Only the header was kept.
    #[error("only the header of the message was kept")]
    HeaderOnly,
}

impl Sidecar {
    /// Returns the record of a transaction whose message was received at this time.
    pub(super) fn of(record: &TransactionRecord, received: SystemTime, whole: bool) -> Self {
        let envelope = &record.end.envelope;
        let ReversePath { path, parameters } = &envelope.reverse_path;
        let rcpt = envelope.forward_paths.iter();
        Self {
            v: VERSION,
            whole,
            mail: argument(path, &parameters.raw),
            rcpt: rcpt.map(|it| argument(&it.path, &it.parameters.raw)).collect(),
            name_lookup: match envelope.peer.name_lookup {
                NameLookup::NotAsked => Lookup::NotAsked,
                NameLookup::Answered => Lookup::Answered,
                NameLookup::Failed => Lookup::Failed,
            },
            record: Line::new(Entry::Transaction(record.into()), received),
            released: Vec::new(),
        }
    }

    fn transaction(&self) -> Option<&Transaction> {
        match &self.record.entry {
            Entry::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }

    pub(super) fn reference(&self) -> &str {
        self.transaction().map_or("", |transaction| &transaction.id)
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", ascii_line(self))
    }
}

impl KeptMail {
    /// Opens the copy with this reference, and locks it against a release by another process.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such copy, or if it cannot be read.
    pub fn open(folder: &Path, reference: &str) -> Result<Self, KeptMailError> {
        let path = message_path(folder, reference);
        let message = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeptMailError::NotFound,
            _ => KeptMailError::Io(path.clone(), error),
        })?;
        message.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => KeptMailError::InUse,
            fs::TryLockError::Error(error) => KeptMailError::Io(path, error),
        })?;
        let path = record_path(folder, reference);
        let text = fs::read_to_string(&path).map_err(|it| KeptMailError::Io(path.clone(), it))?;
        let sidecar: Sidecar = match serde_json::from_str(&text) {
            Ok(sidecar) => sidecar,
            Err(error) => return Err(KeptMailError::Malformed(path, error)),
        };
        if sidecar.v != VERSION || sidecar.transaction().is_none() {
            return Err(KeptMailError::Version(path, sidecar.v));
        }
        Ok(Self { folder: folder.to_owned(), sidecar, message })
    }

    /// Returns the log line of the transaction.
    pub fn record(&self) -> &Line {
        &self.sidecar.record
    }

    /// Returns whether the whole message was kept, not only its header.
    pub fn is_whole(&self) -> bool {
        self.sidecar.whole
    }

    /// Returns the recipients, as arguments of RCPT with their parameters. `%` and octets that are not
    /// printable ASCII are percent-encoded.
    pub fn recipients(&self) -> &[String] {
        &self.sidecar.rcpt
    }

    /// Returns the releases of this message so far.
    pub fn releases(&self) -> &[Release] {
        &self.sidecar.released
    }

    /// Returns the client that sent the message.
    pub fn client(&self) -> Peer {
        let Some(Transaction { client, .. }) = self.sidecar.transaction() else {
            return Peer::local();
        };
        let mut peer = match client.address {
            Some(address) => Peer::new(SocketAddr::new(address, client.port.unwrap_or_default())),
            None => Peer::local(),
        };
        peer.name = client.name.as_deref().map(Into::into);
        peer.reverse_name = client.reverse_name.as_deref().map(Into::into);
        peer.name_lookup = match self.sidecar.name_lookup {
            Lookup::NotAsked => NameLookup::NotAsked,
            Lookup::Answered => NameLookup::Answered,
            Lookup::Failed => NameLookup::Failed,
        };
        peer.helo = client
            .helo
            .as_deref()
            .map(|name| Helo { extended: client.esmtp.unwrap_or_default(), name: name.into() });
        peer.login = client.login.as_deref().map(Into::into);
        peer.tls = client.tls.as_ref().map(|tls| TlsInfo::new(&tls.version, &tls.cipher));
        peer
    }

    /// Returns the envelope without recipients, for the `n`th transaction of a release.
    pub(super) fn envelope(&self, n: u32) -> Result<Envelope, KeptMailError> {
        let reference = self.sidecar.reference();
        let (session, number) = reference.rsplit_once('.').unwrap_or((reference, "0"));
        let number = number.parse::<u32>().unwrap_or_default().saturating_add(n);
        let id = SessionId::new(session).transaction(number);
        let sender = ReversePath::parse(octets(&self.sidecar.mail));
        let sender = sender.map_err(|error| self.malformed(error))?;
        Ok(Envelope::new(id, Arc::new(self.client()), sender))
    }

    pub(super) fn recipient(&self, argument: &str) -> Result<ForwardPath, KeptMailError> {
        ForwardPath::parse(octets(argument)).map_err(|error| self.malformed(error))
    }

    /// Returns the message with a field that says by whom and when it was released.
    pub(super) fn message(&mut self, host: &str, at: SystemTime) -> Result<Message, KeptMailError> {
        if !self.sidecar.whole {
            return Err(KeptMailError::HeaderOnly);
        }
        let reference = self.sidecar.reference();
        let mut octets = Vec::new();
        let read = self.message.rewind().and_then(|()| self.message.read_to_end(&mut octets));
        let path = || message_path(&self.folder, reference);
        read.map_err(|error| KeptMailError::Io(path(), error))?;
        let mut message = Message::relayed(&octets, at);
        message.mark_released(&format!("{reference} by {host}"), at);
        Ok(message)
    }

    /// Records a release.
    pub(super) fn note_release(&mut self, release: Release) -> Result<(), KeptMailError> {
        self.sidecar.released.push(release);
        let path = record_path(&self.folder, self.sidecar.reference());
        write_private(&path, self.sidecar.to_string().as_bytes())
            .map_err(|error| KeptMailError::Io(path, error))
    }

    /// Removes the copy.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be removed.
    pub fn remove(self) -> Result<(), KeptMailError> {
        let reference = self.sidecar.reference();
        for path in [message_path(&self.folder, reference), record_path(&self.folder, reference)] {
            fs::remove_file(&path).map_err(|error| KeptMailError::Io(path, error))?;
        }
        Ok(())
    }

    fn malformed(&self, error: PathError) -> KeptMailError {
        KeptMailError::Envelope(record_path(&self.folder, self.sidecar.reference()), error)
    }
}

/// Returns the argument of MAIL or RCPT in ASCII.
fn argument(path: &SmtpPath, parameters: &[u8]) -> String {
    let mut text = String::new();
    let space: &[u8] = if parameters.is_empty() { b"" } else { b" " };
    for &octet in [path.written(), space, parameters].into_iter().flatten() {
        match octet {
            b'%' | 0..b' ' | 0x7f.. => text.push_str(&format!("%{octet:02X}")),
            _ => text.push(octet.into()),
        }
    }
    text
}

/// Returns the octets of an [`argument`]. A `%` that is not part of a code stays.
fn octets(argument: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = argument.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|code| str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = &after[2..];
            }
            _ => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    octets
}

/// Returns a Unix time in seconds.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_record() {
        for written in [
            &b"<a@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb"[..],
            b"<>",
            "<gr\u{fc}\u{df}e@example.org>".as_bytes(),
            b"<100%25@example.org>",
            b"<\"a b\"@example.org> NOTIFY=SUCCESS ORCPT=rfc822;x+20@y",
            b"<\xff\xfe@example.org>",
        ] {
            let path = ForwardPath::parse(written).map(|it| argument(&it.path, &it.parameters.raw));
            let text = path.or_else(|_| {
                ReversePath::parse(written).map(|it| argument(&it.path, &it.parameters.raw))
            });
            let text = text.unwrap();
            assert!(text.is_ascii(), "{text}");
            assert_eq!(octets(&text), written);
        }
    }
}
