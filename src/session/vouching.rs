//! Being told for whom a trusted server speaks: XCLIENT and XFORWARD, as Postfix has them.

use super::recipients::Refused;
use super::replies::Answer;
use super::state::{AfterCommand, Phase};
use super::{Session, replies};
use crate::conduct::Conduct;
use crate::peer::{Peer, Voucher};
use crate::wire::attributes::{Attribute, AttributeCommand, AttributeFault, ClientAttributes};

/// A command that tells of a client, and what it says or why that cannot be read.
pub(super) type Told = (AttributeCommand, Result<ClientAttributes, AttributeFault>);

impl Session {
    /// What this line tells of a client, if it comes from somebody who may.
    pub(super) fn read_told(&self, line: &[u8]) -> Option<Told> {
        let (command, argument) = AttributeCommand::split(line)?;
        let may = self.may_say(command);
        may.then(|| (command, ClientAttributes::parse(command, argument)))
    }

    /// Offers the commands to those who may say them. Where the client had connected to, which XCLIENT
    /// could tell as well, is nothing to us.
    pub(super) fn ask_to_be_told(&self, text: &mut String) {
        for command in [AttributeCommand::Xclient, AttributeCommand::Xforward] {
            if self.may_say(command) {
                text.extend(["\n", command.verb()]);
                let names = command.attributes().iter().filter(|name| !name.starts_with("DEST"));
                names.for_each(|name| text.extend([" ", name]));
            }
        }
    }

    /// The right is that of the client which the session began with: XCLIENT neither gives it to the
    /// client it speaks for nor loses it.
    fn may_say(&self, command: AttributeCommand) -> bool {
        let networks = match command {
            AttributeCommand::Xclient => &self.settings.xclient_from,
            AttributeCommand::Xforward => &self.settings.xforward_from,
        };
        self.trusted.as_ref().is_some_and(|it| networks.include(it))
    }

    /// XCLIENT and XFORWARD, from those who may.
    pub(super) fn be_told(&mut self, (command, told): Told, phase: Phase) -> AfterCommand {
        let between = matches!(phase, Phase::Connected | Phase::Ready);
        let answer = match (told, command) {
            _ if !between => Answer::Fault(replies::IN_TRANSACTION),
            (Err(fault), _) => Answer::Fault(replies::attribute_fault(command, fault)),
            (Ok(told), AttributeCommand::Xclient) => {
                self.xclient(told);
                return AfterCommand::AskConnection;
            }
            (Ok(told), AttributeCommand::Xforward) => {
                self.xforward(told);
                Answer::Reply(replies::OK)
            }
        };
        AfterCommand::Command(phase, answer)
    }

    /// XCLIENT: the session begins anew, with another client. HELO and PROTO of an earlier command
    /// are forgotten, and with another address all the rest of what it said.
    fn xclient(&mut self, told: ClientAttributes) {
        let mut client = self.xclient.take().unwrap_or_default();
        let unsaid = |it: &ClientAttributes| it.address == Attribute::Omitted;
        if unsaid(&told) || unsaid(&client) || told.address == client.address {
            (client.helo, client.protocol) = (Attribute::Omitted, Attribute::Omitted);
        } else {
            client = Box::default();
        }
        client.update(told);
        let server = self.trusted.as_ref().unwrap_or(&self.peer);
        let server = Peer { tls: self.peer.tls.clone(), ..(**server).clone() };
        let peer = server.speaking_for(&client, Voucher::XClient(server.address));
        self.peer = self.known(peer).into();
        self.xclient = Some(client);
        self.conduct = Conduct::default();
        self.refused = Refused::default();
    }

    /// XFORWARD: the next transaction is another client's. Nothing of what is known of the server
    /// that says so is mixed in.
    fn xforward(&mut self, told: ClientAttributes) {
        let unavailable = || Box::new(ClientAttributes::unavailable());
        self.xforward.get_or_insert_with(unavailable).update(told);
    }

    /// The client of the transaction that begins, if it is not that of the session.
    pub(super) fn forwarded(&self) -> Option<Peer> {
        let voucher = Voucher::XForward(self.trusted.as_ref().and_then(|it| it.address));
        let client = |told| self.known(Peer::local().speaking_for(told, voucher));
        self.xforward.as_deref().map(client)
    }

    /// The client, and whether it is one of our own.
    fn known(&self, client: Peer) -> Peer {
        Peer { own: self.settings.own_networks.include(&client), ..client }
    }
}
