//! Commands that wait until they may be sent, and replies that the server owes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::deadline::Awaiting;

/// Most commands that leave in one group: the replies to them must find room on their way back
/// while we still write (RFC 2920 section 3.1).
pub(super) const GROUP: usize = 50;

/// For whose reply we wait.
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
    /// RCPT for a recipient that had been accepted before.
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

    /// Takes the first ones, at most `most` and at most [`GROUP`], and the replies that will be owed. `None` if there
    /// are none.
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

/// Which replies a server owes, in their order: at least one, and at most those to one group of commands, so that
/// they need no memory of their own.
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

    /// The replies to these commands, of which there are at most [`GROUP`].
    fn new(first: Awaited, more: impl IntoIterator<Item = Awaited>) -> Self {
        let mut owed = Self { awaited: [first; GROUP], next: 0, last: 0 };
        for (place, awaited) in owed.awaited.iter_mut().skip(1).zip(more) {
            *place = awaited;
            owed.last += 1;
        }
        owed
    }

    /// Returns what the next reply is for.
    pub(super) fn first(&self) -> Awaited {
        self.awaited[usize::from(self.next)]
    }

    /// Notes that the next reply was heard. Returns whether more are owed.
    pub(super) fn settle(&mut self) -> bool {
        let more = self.next < self.last;
        self.next += u8::from(more);
        more
    }
}
