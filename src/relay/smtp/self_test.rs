//! A question to the onward server that must be answered with no.

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
use crate::wire::mailbox::{ForwardPath, PathFault, ReversePath};
use crate::wire::reply::Reply;

/// Senders and recipients, all foreign wherever this runs: domains that are reserved (RFC 2606) or
/// belong to nobody who runs a gate. A server that takes any mail for its own domain is no relay,
/// so there is no form here that one could read as local.
const PROBES: [(&str, &str); 5] = [
    ("<>", "<self-test@relay-test.invalid>"),
    ("<>", "<self-test@example.com>"),
    ("<>", "<self-test%example.com@relay-test.invalid>"),
    ("<>", "<@relay-test.invalid:self-test@example.com>"),
    ("<self-test@example.net>", "<self-test@example.com>"),
];

/// A client that nobody can be (RFC 5737).
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Why mail should not be taken in front of this onward server, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// It took a message for a stranger from a stranger. Its configuration trusts our address (Postfix
    /// `mynetworks`), or it trusts everybody.
    #[error(
        "the onward server is an open relay behind us: it took a message for {recipient} from a stranger: \
         {reply}. Remove this machine's address from the networks it trusts (Postfix: mynetworks=, \
         smtpd_relay_restrictions=reject_unauth_destination; amavisd: the same in the server that \
         $forward_method names), or tell it who the client is (XCLIENT, PROXY)"
    )]
    WouldRelay {
        /// The recipient that it took the message for.
        recipient: Box<str>,
        /// What it said to the content.
        reply: Reply,
    },
    /// It cannot be told who the client is: XCLIENT or XFORWARD is not offered or not believed. Its
    /// configuration is at fault (Postfix `smtpd_authorized_xclient_hosts`), or ours.
    #[error("the onward server does not let us say who the client is: {0}")]
    Unidentified(RelayError),
    /// It leads back to this gate: every recipient would be asked about in a circle. The relay
    /// target is this gate's own address, or the server behind relays to it.
    #[error("the relay target leads back to this gate, directly or through the server behind it")]
    Loop,
    /// It could not be asked, so nobody knows; every client would be told 451. It may be asked again.
    #[error("the onward server has not answered: {0}")]
    Unanswered(RelayError),
}

impl<R: Runtime> Smtp<R> {
    /// Asks the onward server what must be refused: as a stranger from a documentation address
    /// (192.0.2.1, RFC 5737) it offers mail for foreign recipients. To be called before the first client is
    /// served.
    ///
    /// A recipient that is accepted is sent a message that says what it is: servers such as amavisd take every
    /// recipient and ask the next server at the end of data. Only a message that is taken shows an open relay.
    /// It then goes to a reserved domain that has no mail server.
    ///
    /// At the end it asks about `<postmaster>` (RFC 5321 section 4.5.1) with a random token in MAIL, and sends no
    /// message: if the token comes back to this gate, the server leads back to it ([`SelfTestError::Loop`]).
    ///
    /// With [`Identify::None`](crate::Identify::None) it tells whether our own address is trusted.
    /// With [`Identify::XForward`](crate::Identify::XForward) it is of use only if the server behind
    /// is not meant to trust us; in a sandwich it is.
    ///
    /// 4yz counts as refused, unless the server says to the content that it cannot ask the next one (any status
    /// but `4.1.x` and `4.7.x`): then it is [`SelfTestError::Unanswered`]. A server that would refuse these domains, but not others, passes.
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
        // Recipients that it has no mail for do not come back. RFC 5321 section 4.5.1 has one that it must take.
        if result.is_ok()
            && let Ok(postmaster) = ForwardPath::parse("<postmaster>")
            && connection.comes_back(&postmaster).await
        {
            result = Err(SelfTestError::Loop);
        }
        connection.leave().await;
        result
    }

    /// The message for a stranger whom the server would take mail for. It has all that a content filter misses
    /// in spam: if it were refused as such, nothing would be known of relaying.
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

/// Whether a refusal of the content is about the server and not about the recipient: the next server is down.
fn is_undecided(refusal: &Refusal) -> bool {
    let about_server = match refusal.reply().status() {
        Some(status) => !matches!(status.subject(), 1 | 7),
        None => refusal.reply().code().value() != 450,
    };
    refusal.is_transient() && about_server
}

fn paths(sender: &str, recipient: &str) -> Result<(ReversePath, ForwardPath), PathFault> {
    Ok((ReversePath::parse(sender)?, ForwardPath::parse(recipient)?))
}

fn judge(recipient: &ForwardPath, outcome: Outcome) -> Result<(), SelfTestError> {
    match outcome {
        Outcome::Accepted(receipt) => Err(SelfTestError::WouldRelay {
            recipient: recipient.path.to_string().into(),
            reply: receipt.reply().clone(),
        }),
        // It leaves without an answer to what was asked.
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
    fn every_probe_is_asked() {
        for (sender, recipient) in PROBES {
            paths(sender, recipient).unwrap();
        }
    }

    /// The self-test in front of a server that takes every recipient and says this to the content, and
    /// what the server has heard.
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
    fn a_server_that_refuses_at_the_end_of_data_is_no_open_relay() {
        for refusal in ["554 5.7.1 Relay denied\r\n", "450 4.1.2 No domain\r\n", "450 No\r\n"] {
            let (result, heard) = tested(refusal);
            result.unwrap();
            assert_eq!(heard.matches("\r\nDATA\r\n").count(), PROBES.len(), "{heard}");
            assert!(heard.contains("Subject: Self-test"), "{heard}");
        }
    }

    #[test]
    fn a_server_that_takes_the_message_is_an_open_relay() {
        let (result, heard) = tested("250 2.0.0 Ok: queued as 1\r\n");
        let error = result.unwrap_err();
        assert!(matches!(error, SelfTestError::WouldRelay { .. }), "{error}");
        assert!(error.to_string().contains("mynetworks="), "{error}");
        assert_eq!(heard.matches("\r\nDATA\r\n").count(), 1, "{heard}");
        assert!(heard.contains("MAIL FROM:<>\r\n"), "{heard}");
    }

    #[test]
    fn a_server_that_cannot_ask_the_next_one_has_not_answered() {
        for reply in ["451 4.5.0 Connection refused\r\n", "451 Later\r\n", "421 4.3.2 Bye\r\n"] {
            let (result, _) = tested(reply);
            assert!(matches!(result, Err(SelfTestError::Unanswered(_))), "{reply}: {result:?}");
        }
    }
}
