//! Commands that are queued, and replies that the server owes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::deadline::Awaiting;

/// The maximum number of commands in one group. The replies to them must fit into the network
/// buffers while the group is still being written (RFC 2920 section 3.1).
pub(super) const GROUP: usize = 50;

/// The command whose reply is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Xclient,
    Xforward,
    Rset,
    Mail,
    /// RCPT for a recipient that the server accepted before.
    RcptAgain,
    Rcpt,
    Data,
    Content,
    Quit,
}

impl Awaited {
    pub(super) fn reason(self) -> Awaiting {
        match self {
            Self::Greeting => Awaiting::Greeting,
            Self::Ehlo | Self::Helo => Awaiting::Hello,
            Self::StartTls => Awaiting::Tls,
            Self::Xclient | Self::Xforward => Awaiting::Identification,
            Self::Rset => Awaiting::Reset,
            Self::Mail => Awaiting::Mail,
            Self::Rcpt | Self::RcptAgain => Awaiting::Recipient,
            Self::Data => Awaiting::DataInitiation,
            Self::Content => Awaiting::DataTermination,
            Self::Quit => Awaiting::Quit,
        }
    }
}

/// A queue of commands that must wait for earlier replies.
#[derive(Debug, Default)]
pub(super) struct Commands {
    octets: BytesMut,
    /// The kind and the length of each command.
    each: VecDeque<(Awaited, usize)>,
}

impl Commands {
    /// Appends a command, given in parts.
    pub(super) fn push(&mut self, awaited: Awaited, parts: &[&[u8]]) {
        if self.octets.capacity() == 0 {
            // Enough for MAIL and one RCPT in most cases.
            self.octets.reserve(256);
        }
        parts.iter().for_each(|part| self.octets.extend_from_slice(part));
        self.each.push_back((awaited, parts.iter().map(|part| part.len()).sum()));
    }

    /// Removes the first commands, at most `most` and at most [`GROUP`]. Returns them with the
    /// replies that the server will owe, or `None` if the queue is empty.
    pub(super) fn take(&mut self, most: usize) -> Option<(Bytes, Owed)> {
        let (first, mut length) = self.each.pop_front()?;
        let more = most.min(GROUP).saturating_sub(1).min(self.each.len());
        let more = self.each.drain(..more).map(|(awaited, octets)| {
            length += octets;
            awaited
        });
        let owed = Owed::new(first, more);
        let group = self.octets.split_to(length.min(self.octets.len())).freeze();
        if self.is_empty() {
            // Idle connections keep no buffer.
            self.octets = BytesMut::new();
        }
        Some((group, owed))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The replies that the server owes, in order. There is at least one. There are at most as many as
/// commands in one group, so they need no heap memory.
#[derive(Debug)]
pub(super) struct Owed {
    awaited: [Awaited; GROUP],
    next: u8,
    last: u8,
}

impl Owed {
    pub(super) fn one(awaited: Awaited) -> Self {
        Self::new(awaited, [])
    }

    /// Returns the replies owed for these commands. There must be at most [`GROUP`] of them.
    fn new(first: Awaited, more: impl IntoIterator<Item = Awaited>) -> Self {
        let mut owed = Self { awaited: [first; GROUP], next: 0, last: 0 };
        for (place, awaited) in owed.awaited.iter_mut().skip(1).zip(more) {
            *place = awaited;
            owed.last += 1;
        }
        owed
    }

    /// Returns the command whose reply comes next.
    pub(super) fn first(&self) -> Awaited {
        self.awaited[usize::from(self.next)]
    }

    /// Records that the next reply has arrived. Returns whether more replies are owed.
    pub(super) fn settle(&mut self) -> bool {
        let more = self.next < self.last;
        self.next += u8::from(more);
        more
    }
}
