//! Mail data of a session, after DATA or in chunks after BDAT.

use std::time::Instant;

use bytes::Buf;

use super::loops::LoopWatch;
use super::replies::Answer;
#[cfg(feature = "serve")]
use super::state::State;
use super::state::{AfterContent, Finish, Phase};
use super::transaction::Transaction;
use super::{EndCause, Session, replies};
use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::message::Message;
use crate::network::Network;
use crate::wire::budget::BLOCK;
use crate::wire::content::{ContentDecoder, LineEndings};
use crate::wire::holders::Owner;
use crate::wire::reply::Reply;

impl Session {
    /// Returns a decoder for the content of this transaction. The client may have given the size
    /// with SIZE.
    pub(super) fn decoder(&self, transaction: &Transaction) -> Box<ContentDecoder> {
        let announced = transaction.envelope.reverse_path.parameters.size.unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let budget = self.settings.budget.clone();
        let mut decoder = Box::new(ContentDecoder::new(budget, announced, self.size_limit()));
        decoder.set_owner(self.owner());
        decoder
    }

    /// Returns the address and the network whose memory share the content counts against. Our own
    /// networks and trusted servers have no share, because trusted servers forward for other
    /// clients. For IPv6, the /64 counts as one address, because one customer has a /64.
    fn owner(&self) -> Option<Owner> {
        let is_exempt = self.trusted.is_some() && self.xclient.is_none()
            || self.settings.own_networks.include(&self.peer);
        let address = self.peer.address.filter(|_| !is_exempt)?.ip();
        // One message of the maximum size always fits.
        let most = usize::try_from(self.size_limit()).unwrap_or(usize::MAX).saturating_add(BLOCK);
        let hundredth = self.settings.budget.limit() / 100;
        let share = |percent: u8| hundredth.saturating_mul(percent.into()).max(most);
        let limits = &self.settings.limits;
        Some(Owner {
            address: Network::of_client(address).first(),
            address_share: share(limits.address_share),
            network: Network::around(address).first(),
            network_share: share(limits.network_share),
        })
    }

    /// Returns the best number of octets for one read of mail data when [`room`](Self::room) is
    /// empty, or `None` if commands are expected.
    #[cfg(feature = "serve")]
    pub(crate) fn portion(&self) -> Option<usize> {
        match self.machine.state() {
            State::GoAhead(_, decoder) => Some(decoder.portion()),
            State::Content(receiving) => Some(receiving.portion()),
            State::Skipping { .. } => Some(usize::MAX),
            _ => None,
        }
    }

    /// Passes buffered input to the decoder.
    pub(super) fn decode_buffered(&mut self) {
        if self.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let taken = self.machine.decode(&input);
        self.gain(taken);
        input.advance(taken);
        self.input = input;
    }

    /// Handles the end of a refused chunk.
    pub(super) fn skipped(&mut self, phase: Phase, refusal: Reply) -> AfterContent {
        if !matches!(phase, Phase::Spoiled(_)) {
            self.pace = None;
        }
        AfterContent::Command(phase, Answer::Fault(refusal))
    }

    /// Handles the end of a chunk that is not the last.
    pub(super) fn take_chunk(
        transaction: Box<Transaction>,
        decoder: Box<ContentDecoder>,
        size: u64,
    ) -> AfterContent {
        if let Some(fault) = decoder.fault() {
            let refusal = Answer::Reply(replies::content_fault(fault));
            return AfterContent::Command(Phase::Spoiled(transaction), refusal);
        }
        let answer = match size {
            0 => Answer::Junk(replies::CHUNK_OK),
            _ => Answer::Reply(replies::CHUNK_OK),
        };
        AfterContent::Command(Phase::Chunks(transaction, decoder), answer)
    }

    /// Returns the header fields of scorers, without fields that exceed the limit.
    pub(super) fn within_limit(&self, mut fields: Vec<HeaderField>) -> Vec<HeaderField> {
        let mut left = self.settings.limits.added_fields;
        fields.retain(|field| {
            let rest = left.checked_sub(field.octets().len());
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        fields
    }

    /// Handles the end of the content. The content goes to the panel, or it is refused.
    pub(super) fn take_content(
        &mut self,
        mut transaction: Box<Transaction>,
        decoder: Box<ContentDecoder>,
        now: Instant,
    ) -> AfterContent {
        self.pace = None;
        transaction.size = decoder.size();
        let strict = self.settings.line_endings == LineEndings::Refuse;
        let bare = decoder.saw_bare() && strict;
        let content = match decoder.finish().map_err(replies::content_fault) {
            Ok(_) if bare => Err(replies::BARE_LINE_END),
            content => content,
        };
        let content = match content {
            Ok(content) => content,
            Err(reply) => return refused(transaction, reply),
        };
        let (began, time_of_day) = self.began;
        let received = time_of_day + now.saturating_duration_since(began);
        // The trace header field names the connected server (RFC 5321 section 4.4). A forwarding
        // server has already named the client in its own trace field. XFORWARD is only for scorers
        // and logs.
        let connected = transaction.envelope.xforward.is_some().then(|| {
            let envelope = transaction.envelope.clone();
            Envelope { peer: self.peer.clone(), ..envelope }
        });
        let envelope = connected.as_ref().unwrap_or(&transaction.envelope);
        let (id, host) = (self.settings.authserv_id.as_deref(), &self.settings.host);
        let mime = self.settings.limits.mime;
        let mut watch = LoopWatch::new(self, &transaction);
        let visit = &mut |line: &[u8]| watch.line(line);
        let message = Message::within(mime, id, host, envelope, received, content, visit);
        let message = message.map_err(replies::content_fault);
        match watch.refusal().map_or(message, Err) {
            Ok(message) => AfterContent::AskContent(transaction, message),
            Err(reply) => refused(transaction, reply),
        }
    }
}

/// Ends the transaction with a refusal of the content by the session.
fn refused(transaction: Box<Transaction>, reply: Reply) -> AfterContent {
    let cause = EndCause::RefusedBySession;
    AfterContent::Finish(Finish { transaction, cause, reply, closes: false })
}
