//! Commands that wait until they may be sent, and replies that the server owes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::state::Awaited;

/// Most commands that leave in one group: the replies to them must find room on their way back
/// while we still write (RFC 2920 section 3.1).
pub(super) const GROUP: usize = 50;

/// Commands that wait for the replies to those before, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Commands {
    octets: BytesMut,
    /// Whose reply is awaited, and how long the command is.
    each: VecDeque<(Awaited, usize)>,
}

impl Commands {
    /// Puts a command behind the others; it comes in parts.
    pub(super) fn push(&mut self, awaited: Awaited, parts: &[&[u8]]) {
        if self.octets.capacity() == 0 {
            // MAIL and a RCPT, mostly.
            self.octets.reserve(256);
        }
        parts.iter().for_each(|part| self.octets.extend_from_slice(part));
        self.each.push_back((awaited, parts.iter().map(|part| part.len()).sum()));
    }

    /// Takes the first ones, so many and no more than [`GROUP`], and the replies that will be owed.
    pub(super) fn take(&mut self, most: usize) -> (Bytes, Owed) {
        let mut length = 0;
        let first = self.each.drain(..most.min(GROUP).min(self.each.len()));
        let owed = Owed::new(first.map(|(awaited, octets)| {
            length += octets;
            awaited
        }));
        let group = self.octets.split_to(length.min(self.octets.len())).freeze();
        if self.is_empty() {
            // Idle connections keep no buffer.
            self.octets = BytesMut::new();
        }
        (group, owed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Which replies a server owes, in their order: those to one group of commands at the most, so that
/// they need no memory of their own.
#[derive(Debug)]
pub(super) struct Owed {
    awaited: [Awaited; GROUP],
    next: u8,
    end: u8,
}

impl Owed {
    /// The replies to these commands, of which there are no more than [`GROUP`].
    pub(super) fn new(commands: impl IntoIterator<Item = Awaited>) -> Self {
        let mut owed = Self { awaited: [Awaited::Greeting; GROUP], next: 0, end: 0 };
        for (place, awaited) in owed.awaited.iter_mut().zip(commands) {
            *place = awaited;
            owed.end += 1;
        }
        owed
    }

    /// What the next reply is for.
    pub(super) fn first(&self) -> Option<Awaited> {
        self.rest().first().copied()
    }

    /// The next reply was heard.
    pub(super) fn settle(&mut self) {
        self.next = self.end.min(self.next + 1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[Awaited] {
        &self.awaited[usize::from(self.next)..usize::from(self.end)]
    }
}
