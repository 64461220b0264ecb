//! The self-test: checks that the onward server refuses mail that must be refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use super::Smtp;
use super::probing::Probe;
use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::{Helo, Peer};
use crate::runtime::Runtime;
use crate::verdict::Refusal;
use crate::wire::content::MailData;
use crate::wire::mailbox::{ForwardPath, PathError, ReversePath};
use crate::wire::reply::Reply;

/// Senders and recipients that are foreign wherever this runs. Their domains are reserved (RFC
/// 2606) or do not belong to any user of this crate. A server that accepts any mail for its own
/// domain is not an open relay. No recipient may therefore have a form that can be read as local.
const PROBES: [(&str, &str); 5] = [
    ("<>", "<self-test@relay-test.invalid>"),
    ("<>", "<self-test@example.com>"),
    ("<>", "<self-test%example.com@relay-test.invalid>"),
    ("<>", "<@relay-test.invalid:self-test@example.com>"),
    ("<self-test@example.net>", "<self-test@example.com>"),
];

/// The address of a client that cannot exist (RFC 5737).
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The reason why a self-test failed: no mail should be accepted for this onward server, or not
/// yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The server accepted a message from a stranger for a foreign recipient. Its configuration
    /// trusts our address (Postfix `mynetworks`), or it trusts every client.
    #[error(
        "the onward server is an open relay behind this gate: it accepted a message for {recipient} from a \
         stranger: {reply}. Remove this machine's address from the networks it trusts (Postfix: mynetworks=, \
         smtpd_relay_restrictions=reject_unauth_destination; amavisd: the same in the server that \
         $forward_method names), or identify the client to it (XCLIENT, PROXY)"
    )]
    WouldRelay {
        /// The recipient of the accepted message.
        recipient: Box<str>,
        /// The reply to the content.
        reply: Reply,
    },
    /// The client cannot be announced to the server, because XCLIENT or XFORWARD is not offered or
    /// not trusted. Fault of its configuration (Postfix `smtpd_authorized_xclient_hosts`) or of
    /// ours.
    #[error("the onward server does not accept the client's identity: {0}")]
    Unidentified(RelayError),
    /// The server leads back to this gate, so that every RCPT would loop. The relay target is the
    /// address of this gate, or the onward server relays to it.
    #[error(
        "mail loop: the relay target leads back to this gate, directly or through another server"
    )]
    Loop,
    /// The server could not be asked, so the result is unknown. Every client would get 451. Retry
    /// later.
    #[error("the onward server did not answer: {0}")]
    Unanswered(RelayError),
}

impl<R: Runtime> Smtp<R> {
    /// Checks that the onward server is not an open relay and does not lead back to this gate. Call
    /// it before the first client is served. The test acts as a stranger from a documentation
    /// address (192.0.2.1, RFC 5737) and offers mail for foreign recipients.
    ///
    /// If a recipient is accepted, the test sends a message that explains itself. Servers such as
    /// amavisd accept every recipient and ask the next server at the end of data. Only an accepted
    /// message therefore proves an open relay. The message goes to a reserved domain that has no
    /// mail server.
    ///
    /// Finally the test asks about `<postmaster>` (RFC 5321 section 4.5.1), with a random token in
    /// MAIL, and sends no message. If the token comes back to this gate, the server leads back to
    /// it ([`SelfTestError::Loop`]).
    ///
    /// With [`Identify::None`](crate::onward::Identify::None), the test checks whether our own
    /// address is trusted. With [`Identify::XForward`](crate::onward::Identify::XForward) the test
    /// is useful only if the onward server is not meant to trust us. In a sandwich setup it is
    /// meant to.
    ///
    /// A 4yz reply counts as a refusal. The exception is a 4yz reply to the content because the
    /// next server cannot be asked (any status except `4.1.x` and `4.7.x`): that is
    /// [`SelfTestError::Unanswered`]. A server that refuses these domains but accepts others passes
    /// the test.
    pub async fn self_test(&self) -> Result<(), SelfTestError> {
        let result = self.probe().await;
        self.server.guard.conclude(&result);
        result
    }

    async fn probe(&self) -> Result<(), SelfTestError> {
        let mut peer = Peer::new(SocketAddr::new(STRANGER, 25));
        peer.helo = Some(Helo { extended: true, name: "relay-test.invalid".into() });
        let peer = Arc::new(peer);
        let session = SessionId::new("selftest");
        let mut connection = self.connection(peer.clone());
        let mut result = Ok(());
        let probe = Probe::new();
        let _expected = self.server.probing.expect(probe.clone());
        for (n, (sender, recipient)) in (1..).zip(PROBES) {
            let recipient = recipient.replace("self-test", probe.token());
            let Ok((reverse_path, recipient)) = paths(sender, &recipient) else {
                continue;
            };
            let id = session.transaction(n);
            let mut envelope = Envelope::new(id, peer.clone(), reverse_path);
            let mut outcome =
                connection.ask_onward(Request::Recipient(&envelope, &recipient)).await;
            if let Outcome::Accepted(_) = outcome {
                envelope.forward_paths.push(recipient.clone());
                let message = self.message(&envelope);
                outcome = connection.ask_onward(Request::Content(&envelope, message)).await;
                if let Outcome::Refused(refusal) = &outcome
                    && is_undecided(refusal)
                {
                    let reply = refusal.reply().clone();
                    outcome = Outcome::Failed(RelayError::Unexpected(reply));
                }
            }
            result = match probe.has_come_back() {
                true => Err(SelfTestError::Loop),
                false => judge(&recipient, outcome),
            };
            if result.is_err() {
                break;
            }
        }
        // A server that refuses unknown recipients does not send the probes above back to the gate,
        // even if there is a loop. The postmaster must be accepted (RFC 5321 section 4.5.1), so
        // this probe detects such a loop.
        if result.is_ok()
            && let Ok(postmaster) = ForwardPath::parse("<postmaster>")
            && connection.comes_back(&postmaster).await
        {
            result = Err(SelfTestError::Loop);
        }
        connection.leave().await;
        result
    }

    /// Returns the message for an accepted foreign recipient. It has all the fields that content
    /// filters expect. If it were refused as spam, the test would not detect an open relay.
    fn message(&self, envelope: &Envelope) -> Message {
        let (host, id) = (&*self.server.settings.host, &envelope.id);
        let now = self.server.runtime.time_of_day();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let text = format!(
            "From: nobounce self-test <postmaster@{host}>\n\
             To: <self-test@relay-test.invalid>\n\
             Subject: Self-test: this message should have been refused\n\
             Message-ID: <{id}.{seconds}@{host}>\n\
             Auto-Submitted: auto-generated\n\
             MIME-Version: 1.0\n\
             Content-Type: text/plain; charset=us-ascii\n\
             \n\
             The gate {host} has sent this message to itself to find out whether the server\n\
             behind it relays mail from strangers to strangers. If you read it, that server\n\
             is an open relay: it must not trust the address of the gate.\n"
        );
        let content = MailData::normalise(text.as_bytes());
        let mut message = Message::new(host, envelope, now, content);
        message.date(now);
        message
    }
}

/// Returns whether a refusal of the content concerns the server and not the recipient, for example
/// because the next server is down.
fn is_undecided(refusal: &Refusal) -> bool {
    let about_server = match refusal.reply().status() {
        Some(status) => !matches!(status.subject(), 1 | 7),
        None => refusal.reply().code().value() != 450,
    };
    refusal.is_transient() && about_server
}

fn paths(sender: &str, recipient: &str) -> Result<(ReversePath, ForwardPath), PathError> {
    Ok((ReversePath::parse(sender)?, ForwardPath::parse(recipient)?))
}

fn judge(recipient: &ForwardPath, outcome: Outcome) -> Result<(), SelfTestError> {
    match outcome {
        Outcome::Accepted(receipt) => Err(SelfTestError::WouldRelay {
            recipient: recipient.path.to_string().into(),
            reply: receipt.reply().clone(),
        }),
        // The server closes the connection without an answer to the request.
        Outcome::Refused(refusal) if refusal.reply().code().value() == 421 => {
            Err(SelfTestError::Unanswered(RelayError::Unexpected(refusal.reply().clone())))
        }
        Outcome::Refused(_) => Ok(()),
        Outcome::Failed(RelayError::Loop) => Err(SelfTestError::Loop),
        Outcome::Failed(
            error
            @ (RelayError::NotOffered(_) | RelayError::NotBelieved(_) | RelayError::NoAddress),
        ) => Err(SelfTestError::Unidentified(error)),
        Outcome::Failed(error) => Err(SelfTestError::Unanswered(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::{PROBES, SelfTestError, Smtp, paths};
    use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn};

    #[test]
    fn self_test_sends_every_probe() {
        for (sender, recipient) in PROBES {
            paths(sender, recipient).unwrap();
        }
    }

    /// Runs the self-test against a server that accepts every recipient and gives this reply to the
    /// content. Returns the result and the input of the server.
    fn tested(to_content: &str) -> (Result<(), SelfTestError>, String) {
        let turn =
            |tail: &[u8], says: &str| Turn { cue: Cue::Tail(tail.into()), says: says.into() };
        let mut turns = vec![turn(b"", "220 o\r\n"), turn(b"\r\n", "250 o\r\n")];
        for _ in PROBES {
            turns.extend(["250 Ok\r\n", "250 Ok\r\n", "354 Go\r\n"].map(|it| turn(b"\r\n", it)));
            turns.extend([turn(b"\r\n.\r\n", to_content), turn(b"RSET\r\n", "250 Ok\r\n")]);
        }
        turns.push(turn(b"\r\n", "221 Bye\r\n"));
        let runtime = Rehearsal::with(Script { turns, ..Script::new("", usize::MAX, Then::Hang) });
        let server = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
        (runtime.run(server.self_test()), runtime.heard())
    }

    #[test]
    fn server_that_refuses_after_data_is_not_an_open_relay() {
        for refusal in ["554 5.7.1 Relay denied\r\n", "450 4.1.2 No domain\r\n", "450 No\r\n"] {
            let (result, heard) = tested(refusal);
            result.unwrap();
            assert_eq!(heard.matches("\r\nDATA\r\n").count(), PROBES.len(), "{heard}");
            assert!(heard.contains("Subject: Self-test"), "{heard}");
        }
    }

    #[test]
    fn server_that_accepts_the_message_is_an_open_relay() {
        let (result, heard) = tested("250 2.0.0 Ok: queued as 1\r\n");
        let error = result.unwrap_err();
        assert!(matches!(error, SelfTestError::WouldRelay { .. }), "{error}");
        assert!(error.to_string().contains("mynetworks="), "{error}");
        assert_eq!(heard.matches("\r\nDATA\r\n").count(), 1, "{heard}");
        assert!(heard.contains("MAIL FROM:<>\r\n"), "{heard}");
    }

    #[test]
    fn transient_reply_leaves_the_self_test_undecided() {
        for reply in ["451 4.5.0 Connection refused\r\n", "451 Later\r\n", "421 4.3.2 Bye\r\n"] {
            let (result, _) = tested(reply);
            assert!(matches!(result, Err(SelfTestError::Unanswered(_))), "{reply}: {result:?}");
        }
    }
}
