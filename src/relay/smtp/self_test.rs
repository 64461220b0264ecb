//! A question to the onward server that must be answered with no.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Smtp;
use crate::envelope::{Envelope, SessionId};
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::{Helo, Peer};
use crate::runtime::Runtime;
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
    /// It takes mail for strangers from strangers. Its configuration trusts our address (Postfix
    /// `mynetworks`), or it trusts everybody.
    #[error(
        "the onward server is an open relay behind us: mail for {recipient} would be taken: {reply}"
    )]
    WouldRelay {
        /// The recipient that it would have taken mail for.
        recipient: Box<str>,
        /// What it said.
        reply: Reply,
    },
    /// It cannot be told who the client is: XCLIENT or XFORWARD is not offered or not believed. Its
    /// configuration is at fault (Postfix `smtpd_authorized_xclient_hosts`), or ours.
    #[error("the onward server does not let us say who the client is: {0}")]
    Unidentified(RelayError),
    /// It could not be asked, so nobody knows; every client would be told 451. It may be asked again.
    #[error("the onward server has not answered: {0}")]
    Unanswered(RelayError),
}

impl<R: Runtime> Smtp<R> {
    /// Asks the onward server what must be refused: as a stranger from a documentation address
    /// (192.0.2.1, RFC 5737) it offers mail for foreign recipients, and never any content. To be
    /// called before the first client is served.
    ///
    /// With [`Identify::None`](crate::Identify::None) it tells whether our own address is trusted.
    /// With [`Identify::XForward`](crate::Identify::XForward) it is of use only if the server behind
    /// is not meant to trust us; in a sandwich it is.
    ///
    /// 4yz counts as refused. A server that would refuse these domains, but not others, passes.
    pub async fn self_test(&self) -> Result<(), SelfTestError> {
        let mut peer = Peer::new(SocketAddr::new(STRANGER, 25));
        peer.helo = Some(Helo { extended: true, name: "relay-test.invalid".into() });
        let peer = Arc::new(peer);
        let session = SessionId::new("self-test");
        let mut connection = self.connection(peer.clone());
        let mut result = Ok(());
        for (n, (sender, recipient)) in (1..).zip(PROBES) {
            let Ok((reverse_path, recipient)) = paths(sender, recipient) else {
                continue;
            };
            let id = session.transaction(n);
            let envelope = Envelope::new(id, peer.clone(), reverse_path);
            result =
                judge(&recipient, connection.ask(Request::Recipient(&envelope, &recipient)).await);
            if result.is_err() {
                break;
            }
        }
        connection.leave().await;
        result
    }
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

    use super::{PROBES, paths};

    #[test]
    fn every_probe_is_asked() {
        for (sender, recipient) in PROBES {
            paths(sender, recipient).unwrap();
        }
    }
}
