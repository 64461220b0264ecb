//! Mail data while it is received: after DATA to its end, or after BDAT one chunk.

use std::time::Instant;

use super::transaction::Transaction;
use crate::wire::content::{ContentDecoder, Progress};

/// Mail data that is being received, and its transaction.
#[derive(Debug)]
pub(super) struct Receiving {
    transaction: Box<Transaction>,
    decoder: Box<ContentDecoder>,
    extent: Extent,
}

/// How far the mail data goes.
#[derive(Debug)]
enum Extent {
    /// To the end of data, which was read or not. Octets after it are commands.
    EndOfData { is_read: bool },
    /// For `remaining` more octets of `size`.
    Chunk { size: u64, remaining: u64, last: bool },
}

/// What is complete.
#[derive(Debug)]
pub(super) enum Completed {
    /// The content.
    All(Box<Transaction>, Box<ContentDecoder>),
    /// A chunk of this size; more chunks follow.
    Chunk(Box<Transaction>, Box<ContentDecoder>, u64),
}

impl Receiving {
    /// After DATA.
    pub(super) fn data(transaction: Box<Transaction>, decoder: Box<ContentDecoder>) -> Self {
        Self { transaction, decoder, extent: Extent::EndOfData { is_read: false } }
    }

    /// After BDAT (RFC 3030 section 2).
    pub(super) fn chunk(
        transaction: Box<Transaction>,
        decoder: Box<ContentDecoder>,
        size: u64,
        last: bool,
    ) -> Self {
        Self { transaction, decoder, extent: Extent::Chunk { size, remaining: size, last } }
    }

    /// Decodes octets. Returns how many of them are mail data.
    pub(super) fn decode(&mut self, octets: &[u8]) -> usize {
        match &mut self.extent {
            Extent::EndOfData { is_read: true } => 0,
            Extent::EndOfData { is_read } => match self.decoder.data(octets) {
                Progress::More => octets.len(),
                Progress::End(taken) => {
                    *is_read = true;
                    taken
                }
            },
            Extent::Chunk { remaining, .. } => {
                let left = usize::try_from(*remaining).unwrap_or(usize::MAX);
                let chunk = &octets[..octets.len().min(left)];
                *remaining -= chunk.len() as u64;
                self.decoder.chunk(chunk);
                chunk.len()
            }
        }
    }

    /// Room for octets where they stay, so that nothing has to copy them.
    pub(super) fn room(&mut self) -> &mut [u8] {
        match self.extent {
            Extent::EndOfData { is_read: true } => &mut [],
            Extent::EndOfData { is_read: false } => self.decoder.room(),
            Extent::Chunk { remaining, .. } => {
                let left = usize::try_from(remaining).unwrap_or(usize::MAX);
                let room = self.decoder.room();
                let length = room.len().min(left);
                &mut room[..length]
            }
        }
    }

    /// Decodes octets that were read into that room, as far as they are plain. Returns how many it took,
    /// and the others.
    pub(super) fn decode_in_place(&mut self, length: usize) -> (usize, Vec<u8>) {
        match &mut self.extent {
            Extent::EndOfData { .. } => self.decoder.data_in_place(length),
            Extent::Chunk { remaining, .. } => {
                let (taken, rest) = self.decoder.chunk_in_place(length);
                *remaining = remaining.saturating_sub(taken as u64);
                (taken, rest)
            }
        }
    }

    pub(super) fn tell_time(&mut self, now: Instant) {
        self.decoder.tell_time(now);
    }

    /// Returns how many octets are best read at once where there is no room for them.
    #[cfg(feature = "serve")]
    pub(super) fn portion(&self) -> usize {
        self.decoder.portion()
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(
            self.extent,
            Extent::EndOfData { is_read: true } | Extent::Chunk { remaining: 0, .. }
        )
    }

    /// Whether the content is complete and has a bare CR or LF.
    pub(super) fn ends_lines_badly(&self) -> bool {
        let is_last = !matches!(self.extent, Extent::Chunk { last: false, .. });
        self.is_complete() && is_last && self.decoder.saw_bare()
    }

    pub(super) fn complete(self) -> Completed {
        match self.extent {
            Extent::EndOfData { .. } | Extent::Chunk { last: true, .. } => {
                Completed::All(self.transaction, self.decoder)
            }
            Extent::Chunk { size, .. } => Completed::Chunk(self.transaction, self.decoder, size),
        }
    }

    pub(super) fn into_transaction(self) -> Box<Transaction> {
        self.transaction
    }
}
