//! Mail data of a session: behind DATA, and in chunks behind BDAT.

use std::time::Instant;

use bytes::Buf;

use super::loops::LoopWatch;
use super::state::{Asking, DataProgress, Fate, Phase, Receiving, State, Transaction};
use super::{EndCause, Session, replies};
use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::message::Message;
use crate::network::Network;
use crate::wire::budget::BLOCK;
use crate::wire::content::{ContentDecoder, LineEndings, Progress};
use crate::wire::holders::Owner;

impl Session {
    /// For the content of this transaction, which the client may have announced with SIZE.
    pub(super) fn decoder(&self, transaction: &Transaction) -> Box<ContentDecoder> {
        let announced = transaction.envelope.reverse_path.parameters.size.unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let budget = self.settings.budget.clone();
        let mut decoder = Box::new(ContentDecoder::new(budget, announced, self.size_limit()));
        decoder.set_owner(self.owner());
        decoder
    }

    /// In whose share of the memory a content is. Our own networks and trusted servers, which speak for
    /// others, have no share. An IPv6 address stands for its /64, which is what one customer has.
    fn owner(&self) -> Option<Owner> {
        let is_exempt = self.trusted.is_some() && self.xclient.is_none()
            || self.settings.own_networks.include(&self.peer);
        let address = self.peer.address.filter(|_| !is_exempt)?.ip().to_canonical();
        let (own, network) = if address.is_ipv4() { (32, 24) } else { (64, 48) };
        let first = |prefix| Network::of(address, prefix).first();
        // One message of the largest size is never too much.
        let most = usize::try_from(self.size_limit()).unwrap_or(usize::MAX).saturating_add(BLOCK);
        let hundredth = self.settings.budget.limit() / 100;
        let share = |percent: u8| hundredth.saturating_mul(percent.into()).max(most);
        let limits = &self.settings.limits;
        Some(Owner {
            address: first(own),
            address_share: share(limits.address_share),
            network: first(network),
            network_share: share(limits.network_share),
        })
    }

    /// Tells the decoder what time it is.
    pub(super) fn tell_time(&mut self, now: Instant) {
        if let State::Content(
            Receiving::Data { decoder, .. } | Receiving::Chunk { fate: Fate::Keep(_, decoder), .. },
        ) = &mut self.state
        {
            decoder.tell_time(now);
        }
    }

    /// Gives octets to the decoder of the mail data that is being received; says how many it took.
    pub(super) fn decode(&mut self, octets: &[u8]) -> usize {
        match &mut self.state {
            State::Content(Receiving::Data { decoder, progress, .. })
                if *progress == DataProgress::Running =>
            {
                match decoder.data(octets) {
                    Progress::More => octets.len(),
                    Progress::End(taken) => {
                        *progress = DataProgress::Ended;
                        taken
                    }
                }
            }
            State::Content(Receiving::Chunk { remaining, fate, .. }) => {
                let left = usize::try_from(*remaining).unwrap_or(usize::MAX);
                let chunk = &octets[..octets.len().min(left)];
                *remaining -= chunk.len() as u64;
                if let Fate::Keep(_, decoder) = fate {
                    decoder.chunk(chunk);
                }
                chunk.len()
            }
            _ => 0,
        }
    }

    /// Room in the mail data that is being received.
    pub(super) fn room_in_content(&mut self) -> &mut [u8] {
        match &mut self.state {
            State::Content(Receiving::Data {
                decoder, progress: DataProgress::Running, ..
            }) => decoder.room(),
            State::Content(Receiving::Chunk {
                remaining, fate: Fate::Keep(_, decoder), ..
            }) => {
                let left = usize::try_from(*remaining).unwrap_or(usize::MAX);
                let room = decoder.room();
                let length = room.len().min(left);
                &mut room[..length]
            }
            _ => &mut [],
        }
    }

    /// How many octets of mail data are best read at once where there is no room for them; `None` if
    /// commands are read.
    #[cfg(feature = "serve")]
    pub(crate) fn portion(&self) -> Option<usize> {
        let State::Content(receiving) = &self.state else { return None };
        Some(match receiving {
            Receiving::Data { decoder, .. }
            | Receiving::Chunk { fate: Fate::Keep(_, decoder), .. } => decoder.portion(),
            Receiving::Chunk { fate: Fate::Refuse(..), .. } => usize::MAX,
        })
    }

    /// Takes octets that were read into that room, as far as they are plain; says how many it took
    /// and gives back the others.
    pub(super) fn decode_in_place(&mut self, length: usize) -> (usize, Vec<u8>) {
        match &mut self.state {
            State::Content(Receiving::Data { decoder, .. }) => decoder.data_in_place(length),
            State::Content(Receiving::Chunk {
                remaining, fate: Fate::Keep(_, decoder), ..
            }) => {
                let (taken, rest) = decoder.chunk_in_place(length);
                *remaining = remaining.saturating_sub(taken as u64);
                (taken, rest)
            }
            _ => Default::default(),
        }
    }

    /// Gives the decoder what is buffered.
    pub(super) fn decode_buffered(&mut self) {
        if self.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let taken = self.decode(&input);
        self.gain(taken);
        input.advance(taken);
        self.input = input;
    }

    /// Goes on behind mail data or a chunk that is complete; says whether it is.
    pub(super) fn complete_content(&mut self, now: Instant) -> bool {
        // Asked first: to move a state there and back costs more than to look at it.
        if !matches!(
            self.state,
            State::Content(
                Receiving::Data { progress: DataProgress::Ended, .. }
                    | Receiving::Chunk { remaining: 0, .. }
            )
        ) {
            return false;
        }
        self.note_line_ends();
        if let State::Content(receiving) = std::mem::replace(&mut self.state, State::Closed) {
            match receiving {
                Receiving::Data { transaction, decoder, .. } => {
                    self.take_content(transaction, decoder, now);
                }
                Receiving::Chunk { size, last, fate, .. } => {
                    self.complete_chunk(size, last, fate, now);
                }
            }
        }
        self.deadline = None;
        true
    }

    fn complete_chunk(&mut self, size: u64, last: bool, fate: Fate, now: Instant) {
        match fate {
            Fate::Refuse(phase, reply) => {
                if !matches!(phase, Phase::Spoiled(_)) {
                    self.pace = None;
                }
                self.state = State::Command(phase);
                self.fault(reply);
            }
            Fate::Keep(transaction, decoder) if last => {
                self.take_content(transaction, decoder, now);
            }
            Fate::Keep(transaction, decoder) => {
                if let Some(fault) = decoder.fault() {
                    self.state = State::Command(Phase::Spoiled(transaction));
                    return self.reply(&replies::content_fault(fault));
                }
                self.state = State::Command(Phase::Chunks(transaction, decoder));
                match size {
                    0 => self.junk(&replies::CHUNK_OK),
                    _ => self.reply(&replies::CHUNK_OK),
                }
            }
        }
    }

    /// The header fields that scorers add, as far as there may be so many.
    pub(super) fn within_limit(&self, mut fields: Vec<HeaderField>) -> Vec<HeaderField> {
        let mut left = self.settings.limits.added_fields;
        fields.retain(|field| {
            let rest = left.checked_sub(field.octets().len());
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        fields
    }

    /// The whole content is there: it is fit to be asked about, or refused.
    fn take_content(
        &mut self,
        mut transaction: Box<Transaction>,
        decoder: Box<ContentDecoder>,
        now: Instant,
    ) {
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
            Err(reply) => {
                return self.finish(*transaction, EndCause::RefusedBySession, reply, false);
            }
        };
        let (began, time_of_day) = self.began;
        let received = time_of_day + now.saturating_duration_since(began);
        // XFORWARD is for scorers and logs; the trace header says who was connected (RFC 5321 section
        // 4.4): the server that forwards has put the client into one of its own.
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
            Ok(message) => self.state = State::Asking(Asking::Content(transaction, message)),
            Err(reply) => self.finish(*transaction, EndCause::RefusedBySession, reply, false),
        }
    }
}
