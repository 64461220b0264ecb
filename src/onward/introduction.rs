//! How a connection begins: who we are, and for whom we speak.

use std::sync::Arc;

use bytes::Bytes;

use super::identify::{self, Identify};
use super::owed::Awaited;
use super::request::Asked;
use super::state::Event;
use super::{Onward, Protocol, TlsPolicy};
use crate::capabilities::Capabilities;
use crate::outcome::{RelayError, TlsFault};
use crate::peer::Helo;
use crate::wire::attributes::AttributeCommand;
use crate::wire::reply::{Reply, ReplyClass};

/// What has become of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Nothing yet, on this connection.
    Untried,
    /// The connection is private.
    Private,
    /// It was tried in vain, and the policy lets it be: the next connection is in the clear.
    InVain,
    /// The connection stays in the clear.
    Waived,
}

impl Onward {
    /// Connects, unless it must be said for whom and there is nothing to say.
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

    /// Before the server says a word. The client may have become another since it was connected for.
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

    /// Returns whether the server greets with the name of the gate that asks: it is that gate.
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

    /// The server greets the client, and not kindly. What can be meant for a client is its answer;
    /// all else is meant for us, who may not speak for it.
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

    /// Whether somebody waits for an outcome.
    pub(super) fn asks(&self) -> bool {
        self.transaction().is_some()
    }

    /// What the server is told in EHLO: the client's name where it takes us for the client. As long
    /// as TLS is to be had, EHLO even where the client said HELO: nothing is offered to that.
    pub(super) fn hello(&self) -> Helo {
        let (extended, name) = self.introduction();
        Helo { extended, name: name.into() }
    }

    /// Whether that was said last.
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

    /// Whether HELO may do: a server that was told who the client is knows EHLO.
    pub(super) fn is_ehlo_unknown(&self, reply: &Reply) -> bool {
        let unknown = self.told.is_none() && reply.class() == ReplyClass::Permanent;
        unknown && self.settings.protocol == Protocol::Smtp
    }

    /// The name was the client's, and so is the answer to it. Unless a PROXY header went before it
    /// and nothing was understood since: a server that expects none takes it for a command, greets
    /// us, and answers the header where the answer to EHLO is waited for. The connection is out of
    /// step then.
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
                TlsPolicy::Must => return self.fail(RelayError::NoTls(TlsFault::NotOffered)),
                TlsPolicy::May | TlsPolicy::Never => self.privacy = Privacy::Waived,
            }
        }
        // EHLO has ended whatever ran (RFC 5321 section 4.1.4).
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

    /// The connection is private now, and as good as new (RFC 3207 section 4.2): nothing that was
    /// heard in the clear is believed.
    pub(super) fn upgrade(&mut self) {
        self.machine.apply(Event::TlsStarted);
        self.privacy = Privacy::Private;
        self.reader.clear();
        self.deadline = None;
        self.introduced_as = None;
        self.say_hello(self.hello());
    }

    /// TLS was tried in vain. After that the connection is of no use; whether another is, in the
    /// clear, is the policy's to say.
    pub(super) fn go_without_tls(&mut self, fault: TlsFault) {
        if self.settings.tls == TlsPolicy::May {
            self.privacy = Privacy::InVain;
            self.break_off();
        } else {
            self.fail(RelayError::NoTls(fault));
        }
    }
}
