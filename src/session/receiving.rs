//! Mail data that is being received: all of it after DATA, or one chunk after BDAT.

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

/// The extent of the mail data.
#[derive(Debug)]
enum Extent {
    /// Up to the end-of-data mark. `is_read` tells whether it was read. Octets after it are
    /// commands.
    EndOfData { is_read: bool },
    /// A chunk of `size` octets, of which `remaining` are still to come.
    Chunk { size: u64, remaining: u64, last: bool },
}

/// The complete content or chunk.
#[derive(Debug)]
pub(super) enum Completed {
    /// The content.
    All(Box<Transaction>, Box<ContentDecoder>),
    /// A chunk of this size; more chunks follow.
    Chunk(Box<Transaction>, Box<ContentDecoder>, u64),
}

impl Receiving {
    /// Creates the state after DATA.
    pub(super) fn data(transaction: Box<Transaction>, decoder: Box<ContentDecoder>) -> Self {
        Self { transaction, decoder, extent: Extent::EndOfData { is_read: false } }
    }

    /// Creates the state after BDAT (RFC 3030 section 2).
    pub(super) fn chunk(
        transaction: Box<Transaction>,
        decoder: Box<ContentDecoder>,
        size: u64,
        last: bool,
    ) -> Self {
        Self { transaction, decoder, extent: Extent::Chunk { size, remaining: size, last } }
    }

    /// Decodes octets. Returns the number of octets that are mail data.
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

    /// Returns a buffer into which mail data can be read without a copy.
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

    /// Decodes octets that were read into the [`room`](Self::room) buffer, as long as they need no
    /// change. Returns the number of octets taken, and the other octets.
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

    /// Returns the best number of octets for one read when no room is reserved.
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

    /// Returns whether the content is complete and contains a bare CR or LF.
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
