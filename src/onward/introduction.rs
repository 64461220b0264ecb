//! The start of a connection: EHLO, STARTTLS, and naming the client.

use std::sync::Arc;

use bytes::Bytes;

use super::identify::{self, Identify};
use super::owed::Awaited;
use super::request::Asked;
use super::state::Event;
use super::{Onward, Protocol, TlsPolicy};
use crate::capabilities::Capabilities;
use crate::outcome::{RelayError, TlsError};
use crate::peer::Helo;
use crate::wire::attributes::AttributeCommand;
use crate::wire::reply::{Reply, ReplyClass};

/// The TLS state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// TLS was not tried yet on this connection.
    Untried,
    /// The connection is encrypted.
    Private,
    /// TLS failed, and the policy allows a connection without it. The next connection does not use
    /// TLS.
    InVain,
    /// This connection does not use TLS.
    Waived,
}

impl Onward {
    /// Starts connecting to the server. Fails if a PROXY header is required and the client has no
    /// address.
    pub(super) fn start(&mut self) {
        if matches!(self.settings.identify, Identify::Proxy(_)) && self.proxy_header().is_none() {
            return self.fail(RelayError::NoAddress);
        }
        self.machine.apply(Event::Connect);
    }

    fn proxy_header(&self) -> Option<Bytes> {
        match (self.settings.identify, &self.client) {
            (Identify::Proxy(version), Some(client)) => identify::proxy(version, client),
            _ => None,
        }
    }

    /// Sends the PROXY header before the server's greeting. The client may have changed since the
    /// connection was started.
    pub(super) fn send_proxy_header(&mut self) {
        if !matches!(self.settings.identify, Identify::Proxy(_)) {
            return;
        }
        match self.proxy_header() {
            Some(header) => {
                self.output.push(header);
                self.told = self.client.clone();
            }
            None => self.fail(RelayError::NoAddress),
        }
    }

    /// Returns whether the greeting contains the mark of the gate that makes the request. If so,
    /// the gate has connected to itself.
    pub(super) fn leads_back(&self, greeting: &Reply) -> bool {
        let session = self.transaction().map(|transaction| transaction.id.session());
        let mut words = greeting.lines().flat_map(str::split_ascii_whitespace);
        session.is_some_and(|session| words.any(|word| session.is_of_the_gate(word)))
    }

    pub(super) fn send_xclient(&mut self) {
        let offered = self.offered.as_ref().and_then(|offered| offered.xclient.as_deref());
        let client = self.client.as_deref().map(identify::xclient);
        match offered.zip(client).and_then(|(offered, client)| client.xclient(offered)) {
            Some(command) => self.send(Awaited::Xclient, command),
            None => self.fail(RelayError::NotOffered(AttributeCommand::Xclient)),
        }
    }

    /// Handles a refusal after the server was told who the client is. If the reply can be meant for
    /// the client, it is the outcome. Any other reply concerns the gate, which the server does not
    /// allow to name clients.
    pub(super) fn client_refused(&mut self, reply: Reply) {
        let for_client =
            reply.class() == ReplyClass::Transient || matches!(reply.code().value(), 521 | 554);
        if for_client && self.asks() {
            self.refuse(reply);
            self.break_off();
        } else {
            self.fail(RelayError::NotBelieved(reply));
        }
    }

    /// Returns whether a request waits for its outcome.
    pub(super) fn asks(&self) -> bool {
        self.transaction().is_some()
    }

    /// Returns the introduction for EHLO or HELO. It contains the client's name if the server
    /// treats the connection as the client's. While TLS is still possible, it is EHLO even if the
    /// client sent HELO, because a server offers STARTTLS only in reply to EHLO.
    pub(super) fn hello(&self) -> Helo {
        let (extended, name) = self.introduction();
        Helo { extended, name: name.into() }
    }

    /// Returns whether the last introduction sent is still the right one.
    pub(super) fn is_introduced(&self) -> bool {
        let said = self.introduced_as.as_ref().map(|said| (said.extended, &*said.name));
        said == Some(self.introduction())
    }

    fn introduction(&self) -> (bool, &str) {
        let client = self.told.as_ref().and(self.client.as_ref());
        let clients = client.and_then(|client| client.helo.as_ref());
        let ours = (true, &*self.settings.host);
        let (extended, name) = clients.map_or(ours, |helo| (helo.extended, &*helo.name));
        let for_tls = self.privacy == Privacy::Untried && self.settings.tls != TlsPolicy::Never;
        (extended || for_tls, name)
    }

    pub(super) fn say_hello(&mut self, hello: Helo) {
        let (awaited, verb) = match (self.settings.protocol, hello.extended) {
            (Protocol::Lmtp, _) => (Awaited::Ehlo, "LHLO"),
            (Protocol::Smtp, true) => (Awaited::Ehlo, "EHLO"),
            (Protocol::Smtp, false) => (Awaited::Helo, "HELO"),
        };
        let command = identify::hello(verb, &hello.name);
        self.introduced_as = Some(self.hello());
        self.send(awaited, command);
    }

    /// Returns whether to try HELO after EHLO was refused. A server that was told who the client is
    /// supports EHLO.
    pub(super) fn is_ehlo_unknown(&self, reply: &Reply) -> bool {
        let unknown = self.told.is_none() && reply.class() == ReplyClass::Permanent;
        unknown && self.settings.protocol == Protocol::Smtp
    }

    /// Handles the refusal of EHLO with the client's name: the refusal is the outcome for the
    /// client.
    ///
    /// After a PROXY header the reply can have another cause. A server that does not expect the
    /// header takes it for a command and replies to it after its greeting. That reply arrives where
    /// the reply to EHLO is expected, so the replies are out of step.
    pub(super) fn hello_refused(&mut self, reply: Reply) {
        let unsure = self.offered.is_none() && self.privacy != Privacy::Private;
        if unsure && matches!(reply.code().value(), 500 | 502 | 503) {
            return self.fail(RelayError::NotBelieved(reply));
        }
        self.introduced_as = None;
        self.refuse(reply);
        if unsure {
            self.break_off();
        }
    }

    pub(super) fn introduced(&mut self, mut offered: Capabilities) {
        if self.privacy == Privacy::Untried {
            match self.settings.tls {
                TlsPolicy::May | TlsPolicy::Must if offered.start_tls => {
                    return self.send(Awaited::StartTls, Bytes::from_static(b"STARTTLS\r\n"));
                }
                TlsPolicy::Must => return self.fail(RelayError::NoTls(TlsError::NotOffered)),
                TlsPolicy::May | TlsPolicy::Never => self.privacy = Privacy::Waived,
            }
        }
        // EHLO ends any transaction (RFC 5321 section 4.1.4).
        self.open = None;
        self.dirty = false;
        if self.settings.one_recipient.applies(self.is_amavisd) {
            offered.recipients_max = Some(1);
        }
        self.offered = Some(Arc::new(offered));
        self.is_offer_new = true;
        if matches!(self.asked, Some(Asked::Introduction)) {
            self.asked = None;
        }
    }

    /// Continues after the TLS handshake. The session starts again, and everything received before
    /// TLS is discarded (RFC 3207 section 4.2).
    pub(super) fn upgrade(&mut self) {
        self.machine.apply(Event::TlsStarted);
        self.privacy = Privacy::Private;
        self.reader.clear();
        self.deadline = None;
        self.introduced_as = None;
        self.say_hello(self.hello());
    }

    /// Handles a TLS failure. The connection can no longer be used. The policy decides whether
    /// another connection without TLS is tried.
    pub(super) fn go_without_tls(&mut self, fault: TlsError) {
        if self.settings.tls == TlsPolicy::May {
            self.privacy = Privacy::InVain;
            self.break_off();
        } else {
            self.fail(RelayError::NoTls(fault));
        }
    }
}
