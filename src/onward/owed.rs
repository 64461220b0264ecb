//! Replies that the server owes.

use super::state::Awaited;

/// Most commands that leave in one group: the replies to them must find room on their way back
/// while we still write (RFC 2920 section 3.1).
pub(super) const GROUP: usize = 50;

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
