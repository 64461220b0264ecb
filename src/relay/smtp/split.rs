//! Split transactions: the retries of a message that the onward server accepted for some recipients
//! only. The client could get only one reply for all of them.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::expiring::Expiring;
use crate::envelope::Envelope;
use crate::message::Message;
use crate::network::Network;
use crate::wire::mailbox::{ForwardPath, SmtpPath};

/// Time for which retries are split, counted from the last split retry.
const TIME: Duration = Duration::from_secs(12 * 3_600);
/// Maximum number of entries. A split message has one entry for each recipient and one for its
/// content.
const ENTRIES: usize = 65_536;
/// Number of octets at the end of a content that identify it.
const TAIL: usize = 1_024;

/// Recipients and contents of messages that were accepted for some of their recipients only. Both
/// are stored as hashes with a secret.
///
/// - **Recipients**, with the client's network ([`Network::around`]) and the sender. In a retry from that
///   network and sender, each of them is accepted as the first recipient of its transaction, and
///   otherwise gets 452. The content is not known at that point. Another message of this sender to
///   these recipients is therefore split too.
/// - **Contents**, with the sender. A retry may come from another network (large senders have
///   many). The content identifies it before it is forwarded again.
#[derive(Debug)]
pub(super) struct Splits {
    secret: RandomState,
    until: Mutex<Expiring<u64>>,
}

impl Default for Splits {
    fn default() -> Self {
        Self { secret: RandomState::new(), until: Mutex::new(Expiring::new(ENTRIES)) }
    }
}

/// Identifier of a content among those of its sender: a hash of its end. The beginning may change
/// from one attempt to the next (trace fields).
#[derive(Debug, Clone, Copy)]
pub(super) struct Content(u64);

impl Splits {
    /// Remembers a message that was accepted for some of its recipients only.
    pub(super) fn remember(&self, envelope: &Envelope, content: Content, now: Instant) {
        let recipients = envelope.forward_paths.iter();
        let names: Vec<u64> = recipients.map(|it| self.recipient(envelope, it)).collect();
        let mut until = self.lock();
        for name in names.into_iter().chain([content.0]) {
            until.set(name, now + TIME, now);
        }
    }

    /// Returns whether this recipient must be the first of its transaction. If it is not the first,
    /// extends the lifetime of its entry, because the client is still retrying.
    pub(super) fn is_split(
        &self,
        envelope: &Envelope,
        recipient: &ForwardPath,
        clock: impl FnOnce() -> Instant,
    ) -> bool {
        if envelope.forward_paths.is_empty() {
            return false;
        }
        let mut until = self.lock();
        if until.is_empty() {
            return false;
        }
        let (name, now) = (self.recipient(envelope, recipient), clock());
        let is_split = until.get(&name, now).is_some();
        if is_split {
            until.set(name, now + TIME, now);
        }
        is_split
    }

    /// Returns whether this content belongs to a message that was accepted for some of its
    /// recipients only. If so, remembers its recipients for the network of this client too.
    pub(super) fn is_known(&self, envelope: &Envelope, content: Content, now: Instant) -> bool {
        let known = self.lock().get(&content.0, now).is_some();
        if known {
            self.remember(envelope, content, now);
        }
        known
    }

    /// Returns the key of this message's content; `None` for a single recipient, which is never
    /// split.
    pub(super) fn content(&self, envelope: &Envelope, message: &Message) -> Option<Content> {
        if envelope.forward_paths.len() < 2 {
            return None;
        }
        let mut tail: Vec<u8> = Vec::with_capacity(TAIL);
        for segment in message.content_segments().iter().rev() {
            let octets = segment.iter().rev();
            tail.extend(octets.take(TAIL - tail.len()));
            if tail.len() == TAIL {
                break;
            }
        }
        let sender = folded(&envelope.reverse_path.path);
        Some(Content(self.secret.hash_one(("content", sender, tail))))
    }

    fn recipient(&self, envelope: &Envelope, recipient: &ForwardPath) -> u64 {
        let network = envelope.peer.address.map(|address| Network::around(address.ip()));
        let paths = [folded(&envelope.reverse_path.path), folded(&recipient.path)];
        self.secret.hash_one(("recipient", network, paths))
    }

    fn lock(&self) -> MutexGuard<'_, Expiring<u64>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the path in lower case.
fn folded(path: &SmtpPath) -> Vec<u8> {
    path.address().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::envelope::SessionId;
    use crate::outcome::Outcome;
    use crate::peer::Peer;
    use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn, message};
    use crate::relay::{Smtp, Target};
    use crate::runtime::Runtime;
    use crate::wire::mailbox::ReversePath;

    fn path(path: &str) -> ForwardPath {
        ForwardPath::parse(path).unwrap()
    }

    fn envelope(address: &str, sender: &str, recipients: &[&str]) -> Envelope {
        let peer = Arc::new(Peer::new((address.parse::<IpAddr>().unwrap(), 25).into()));
        let id = SessionId::new("test").transaction(1);
        let mut envelope = Envelope::new(id, peer, ReversePath::parse(sender).unwrap());
        envelope.forward_paths = recipients.iter().map(|it| path(it)).collect();
        envelope
    }

    #[test]
    fn only_the_retry_of_the_same_client_is_split() {
        let (splits, now) = (Splits::default(), Rehearsal::new().now());
        let mail = message("Subject: x\n\ntext\n");
        let first = envelope("192.0.2.1", "<a@b>", &["<c@d>", "<e@d>"]);
        let content = splits.content(&first, &mail).unwrap();
        splits.remember(&first, content, now);
        for (address, sender, accepted, asked, is_split) in [
            ("192.0.2.99", "<a@b>", "<c@d>", "<e@d>", true),
            ("192.0.2.1", "<A@B>", "<e@d>", "<C@D>", true),
            ("::ffff:192.0.2.1", "<a@b>", "<c@d>", "<e@d>", true),
            // Another client's network, and other senders or recipients of this client.
            ("192.0.3.1", "<a@b>", "<c@d>", "<e@d>", false),
            ("2001:db8::1", "<a@b>", "<c@d>", "<e@d>", false),
            ("192.0.2.1", "<x@b>", "<c@d>", "<e@d>", false),
            ("192.0.2.1", "<>", "<c@d>", "<e@d>", false),
            ("192.0.2.1", "<a@b>", "<c@d>", "<f@d>", false),
        ] {
            let retry = envelope(address, sender, &[accepted]);
            let said = splits.is_split(&retry, &path(asked), || now);
            assert_eq!(said, is_split, "{address} {sender} {accepted} {asked}");
        }
        // The first recipient of a transaction is never split.
        let retry = envelope("192.0.2.1", "<a@b>", &[]);
        assert!(!splits.is_split(&retry, &path("<c@d>"), || now));
    }

    #[test]
    fn retry_is_split_for_twelve_hours_after_the_last_one() {
        let (splits, now) = (Splits::default(), Rehearsal::new().now());
        let mail = message("Subject: x\n\ntext\n");
        let first = envelope("192.0.2.1", "<a@b>", &["<c@d>", "<e@d>"]);
        splits.remember(&first, splits.content(&first, &mail).unwrap(), now);
        let retry = envelope("192.0.2.1", "<a@b>", &["<c@d>"]);
        let is_split = |after| splits.is_split(&retry, &path("<e@d>"), || now + after);
        let second = Duration::from_secs(1);
        assert!(is_split(TIME - second));
        assert!(is_split(2 * TIME - 2 * second));
        assert!(!is_split(3 * TIME - 2 * second));
    }

    #[test]
    fn content_is_recognised_despite_new_trace_fields() {
        let (splits, now) = (Splits::default(), Rehearsal::new().now());
        let text = "Subject: x\n\n".to_owned() + &"0123456789\n".repeat(10_000);
        let mail = message(&text);
        let first = envelope("192.0.2.1", "<a@b>", &["<c@d>", "<e@d>"]);
        splits.remember(&first, splits.content(&first, &mail).unwrap(), now);

        let elsewhere = envelope("198.51.100.1", "<a@b>", &["<c@d>", "<e@d>"]);
        let again = message(&format!("Received: by other\n{text}"));
        let content = splits.content(&elsewhere, &again).unwrap();
        assert!(splits.is_known(&elsewhere, content, now));
        // Retries from that network are split now.
        let retry = envelope("198.51.100.1", "<a@b>", &["<c@d>"]);
        assert!(splits.is_split(&retry, &path("<e@d>"), || now));

        let other = splits.content(&elsewhere, &message("Subject: x\n\nother\n")).unwrap();
        assert!(!splits.is_known(&elsewhere, other, now));
        let other_sender = envelope("198.51.100.1", "<x@b>", &["<c@d>", "<e@d>"]);
        let content = splits.content(&other_sender, &mail).unwrap();
        assert!(!splits.is_known(&other_sender, content, now));
        // A single recipient already has its own transaction.
        assert!(splits.content(&retry, &mail).is_none());
    }

    #[test]
    fn remembered_splits_are_bounded() {
        let splits = Splits { until: Mutex::new(Expiring::new(100)), ..Splits::default() };
        let now = Rehearsal::new().now();
        let mail = message("Subject: x\n\ntext\n");
        for n in 0..1_000 {
            let recipients = [format!("<a{n}@d>"), format!("<b{n}@d>")];
            let recipients = recipients.each_ref().map(String::as_str);
            let envelope = envelope("192.0.2.1", "<a@b>", &recipients);
            let content = splits.content(&envelope, &mail).unwrap();
            splits.remember(&envelope, content, now + Duration::from_millis(n));
            assert!(splits.lock().len() <= 100, "{n}");
        }
        // The newest entries are kept.
        let retry = envelope("192.0.2.1", "<a@b>", &["<a999@d>"]);
        assert!(splits.is_split(&retry, &path("<b999@d>"), || now));
    }

    #[test]
    fn partial_acceptance_leads_to_one_recipient_per_transaction() {
        let turn =
            |tail: &[u8], says: &str| Turn { cue: Cue::Tail(tail.into()), says: says.into() };
        let mut turns = vec![turn(b"", "220 o\r\n"), turn(b"\r\n", "250 o\r\n")];
        turns.extend(
            ["250 M\r\n", "250 R\r\n", "250 R\r\n", "354 Go\r\n"].map(|it| turn(b"\r\n", it)),
        );
        turns.push(turn(b"\r\n.\r\n", "250 2.0.0 Ok: queued as 4D, but 1 REJECT\r\n"));
        turns.extend(["250 M\r\n", "250 R\r\n", "354 Go\r\n"].map(|it| turn(b"\r\n", it)));
        turns.push(turn(b"\r\n.\r\n", "250 2.0.0 Ok: queued as 4E\r\n"));
        let runtime = Rehearsal::with(Script { turns, ..Script::new("", usize::MAX, Then::Hang) });
        let server = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
        let mail = || message("Subject: x\n\ntext\n");
        let (first, second) = (path("<c@d>"), path("<e@d>"));
        runtime.run(async {
            let mut envelope = envelope("192.0.2.1", "<a@b>", &[]);
            let mut relay = server.open(&envelope.peer);
            for recipient in [&first, &second] {
                let outcome = relay.rcpt(&envelope, recipient).await;
                assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
                envelope.forward_paths.push(recipient.clone());
            }
            let outcome = relay.content(&envelope, mail()).await;
            assert!(outcome.reply().to_string().starts_with("451 4.5.0 "), "{outcome:?}");

            // The retry.
            envelope.id = SessionId::new("test").transaction(2);
            envelope.forward_paths.clear();
            let outcome = relay.rcpt(&envelope, &first).await;
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
            envelope.forward_paths.push(first);
            let outcome = relay.rcpt(&envelope, &second).await;
            assert!(outcome.reply().to_string().starts_with("452 4.5.3 "), "{outcome:?}");
            let outcome = relay.content(&envelope, mail()).await;
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");

            // A retry from another network with both recipients: the content is not forwarded a
            // second time.
            let other = self::envelope("198.51.100.1", "<a@b>", &["<c@d>", "<e@d>"]);
            let outcome = server.open(&other.peer).content(&other, mail()).await;
            assert!(outcome.reply().to_string().starts_with("451 4.5.0 "), "{outcome:?}");
        });
        assert_eq!(runtime.connections().0, 1);
    }
}
