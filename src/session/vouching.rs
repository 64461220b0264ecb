//! XCLIENT and XFORWARD: a trusted server names the client, as with Postfix.

use super::recipients::Refused;
use super::replies::Answer;
use super::state::{AfterCommand, Phase};
use super::{Session, replies};
use crate::conduct::Conduct;
use crate::peer::{Peer, Voucher};
use crate::wire::attributes::{Attribute, AttributeCommand, AttributeError, ClientAttributes};

/// An XCLIENT or XFORWARD command with its attributes, or the reason why they are invalid. The
/// attributes are boxed because they are large, and an option of them is moved for every command.
pub(super) type Told = (AttributeCommand, Result<Box<ClientAttributes>, AttributeError>);

impl Session {
    /// Parses XCLIENT or XFORWARD, if the peer may use the command.
    pub(super) fn read_told(&self, line: &[u8]) -> Option<Told> {
        let (command, argument) = AttributeCommand::split(line)?;
        let may = self.may_say(command);
        may.then(|| (command, ClientAttributes::parse(command, argument).map(Box::new)))
    }

    /// Adds the commands to the EHLO reply, if the peer may use them. The DEST attributes are not
    /// offered, because the session does not use the destination.
    pub(super) fn ask_to_be_told(&self, text: &mut String) {
        for command in [AttributeCommand::Xclient, AttributeCommand::Xforward] {
            if self.may_say(command) {
                text.extend(["\n", command.verb()]);
                let names = command.attributes().iter().filter(|name| !name.starts_with("DEST"));
                names.for_each(|name| text.extend([" ", name]));
            }
        }
    }

    /// Returns whether the peer may use this command. The peer at the start of the session decides,
    /// and XCLIENT does not change this. The client named by XCLIENT does not get the right.
    fn may_say(&self, command: AttributeCommand) -> bool {
        let networks = match command {
            AttributeCommand::Xclient => &self.settings.xclient_from,
            AttributeCommand::Xforward => &self.settings.xforward_from,
        };
        self.trusted.as_ref().is_some_and(|it| networks.include(it))
    }

    /// Executes XCLIENT or XFORWARD.
    pub(super) fn be_told(&mut self, (command, told): Told, phase: Phase) -> AfterCommand {
        let between = matches!(phase, Phase::Connected | Phase::Ready);
        let answer = match (told, command) {
            _ if !between => Answer::Fault(replies::IN_TRANSACTION),
            (Err(fault), _) => Answer::Fault(replies::attribute_fault(command, fault)),
            (Ok(told), AttributeCommand::Xclient) => {
                self.xclient(*told);
                return AfterCommand::AskConnection;
            }
            (Ok(told), AttributeCommand::Xforward) => {
                self.xforward(*told);
                Answer::Reply(replies::OK)
            }
        };
        AfterCommand::Command(phase, answer)
    }

    /// Executes XCLIENT: the session starts again with another client. HELO and PROTO of an earlier
    /// XCLIENT are discarded. If the address is different, all its other attributes are discarded
    /// as well.
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

    /// Executes XFORWARD: the next transaction belongs to another client. Nothing known about the
    /// forwarding server is used for that client.
    fn xforward(&mut self, told: ClientAttributes) {
        let unavailable = || Box::new(ClientAttributes::unavailable());
        self.xforward.get_or_insert_with(unavailable).update(told);
    }

    /// Returns the client of a new transaction, if XFORWARD has named one.
    pub(super) fn forwarded(&self) -> Option<Peer> {
        let voucher = Voucher::XForward(self.trusted.as_ref().and_then(|it| it.address));
        let client = |told| self.known(Peer::local().speaking_for(told, voucher));
        self.xforward.as_deref().map(client)
    }

    /// Sets whether the client is in our own networks.
    fn known(&self, client: Peer) -> Peer {
        Peer { own: self.settings.own_networks.include(&client), ..client }
    }
}
