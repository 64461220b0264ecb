//! Counts which faults happened at which positions of the dialogue. Every possible pair must be
//! covered.

use std::fmt::Write as _;

use super::reach::{Reach, reach};

/// The position of a client: the command whose reply it waits for (whether sent in part or whole),
/// or else its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Waits for the greeting.
    Greeting,
    /// Has read the greeting and sent nothing.
    Greeted,
    /// Waits for the reply to EHLO or HELO.
    Hello,
    /// Between two transactions, or before the first.
    Ready,
    /// Waits for the reply to MAIL.
    Mail,
    /// Has sent MAIL, and no RCPT.
    Sender,
    /// Waits for the reply to RCPT.
    Rcpt,
    /// Has at least one accepted recipient.
    Recipients,
    /// Waits for 354.
    Data,
    /// While sending mail data or a chunk.
    Content,
    /// Waits for the reply to a chunk that is not the last.
    Chunk,
    /// Between two chunks.
    Chunks,
    /// Waits for the reply to its content.
    Ended,
    /// Waits for the reply to an invalid command, or to one without effect.
    Other,
    /// Waits for the reply to QUIT.
    Quit,
    /// Has disconnected. The gate may still be closing its onward session.
    Gone,
}

/// The position of a connection to the onward server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onward {
    /// No connection.
    None,
    Connecting,
    Greeting,
    Hello,
    /// XCLIENT or XFORWARD.
    Identify,
    /// No transaction, and perhaps no client.
    Idle,
    Rset,
    Mail,
    Rcpt,
    /// A transaction with no pending request.
    Held,
    Data,
    Content,
    Ended,
    Quit,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    ClientResets,
    /// The client ends its input, but still reads.
    ClientHalfCloses,
    /// The client sends nothing more and waits.
    ClientStalls,
    /// The client disappears without closing.
    ClientVanishes,
    ClientStopsReading,
    /// The client sends before its turn.
    ClientOutOfTurn,
    Unreachable,
    ConnectsLate,
    Refuses,
    Defers,
    /// Replies 421 or 521.
    Leaves,
    Closes,
    Resets,
    Silent,
    Late,
    /// Sends half a reply.
    Cuts,
    /// Sends `250-` lines forever.
    Endless,
    Nonsense,
    /// Sends a reply of a class that the command does not allow.
    WrongClass,
    ServerOutOfTurn,
    ServerStopsReading,
    ScorerErrs,
    ScorerPanics,
    /// Exceeds its budget.
    ScorerLate,
    ScorerRefuses,
    ScorerDefers,
    ScorerHangsUp,
    ScorerTags,
    Shutdown,
    /// The machine was suspended.
    Leap,
    DayForward,
    DayBack,
}

impl At {
    pub const ALL: [Self; 16] = [
        Self::Greeting,
        Self::Greeted,
        Self::Hello,
        Self::Ready,
        Self::Mail,
        Self::Sender,
        Self::Rcpt,
        Self::Recipients,
        Self::Data,
        Self::Content,
        Self::Chunk,
        Self::Chunks,
        Self::Ended,
        Self::Other,
        Self::Quit,
        Self::Gone,
    ];
}

impl Onward {
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::Connecting,
        Self::Greeting,
        Self::Hello,
        Self::Identify,
        Self::Idle,
        Self::Rset,
        Self::Mail,
        Self::Rcpt,
        Self::Held,
        Self::Data,
        Self::Content,
        Self::Ended,
        Self::Quit,
    ];
}

impl Fault {
    pub const ALL: [Self; 32] = [
        Self::ClientResets,
        Self::ClientHalfCloses,
        Self::ClientStalls,
        Self::ClientVanishes,
        Self::ClientStopsReading,
        Self::ClientOutOfTurn,
        Self::Unreachable,
        Self::ConnectsLate,
        Self::Refuses,
        Self::Defers,
        Self::Leaves,
        Self::Closes,
        Self::Resets,
        Self::Silent,
        Self::Late,
        Self::Cuts,
        Self::Endless,
        Self::Nonsense,
        Self::WrongClass,
        Self::ServerOutOfTurn,
        Self::ServerStopsReading,
        Self::ScorerErrs,
        Self::ScorerPanics,
        Self::ScorerLate,
        Self::ScorerRefuses,
        Self::ScorerDefers,
        Self::ScorerHangsUp,
        Self::ScorerTags,
        Self::Shutdown,
        Self::Leap,
        Self::DayForward,
        Self::DayBack,
    ];
}

/// A position on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Client(At),
    Onward(Onward),
    /// The client is in the tarpit, at any position.
    Tarpit,
}

impl Place {
    pub fn all() -> impl Iterator<Item = Self> {
        let onward = Onward::ALL.into_iter().map(Self::Onward);
        At::ALL.into_iter().map(Self::Client).chain(onward).chain([Self::Tarpit])
    }
}

const PLACES: usize = At::ALL.len() + Onward::ALL.len() + 1;

/// A counter for each fault at each position.
#[derive(Clone)]
pub struct Coverage([[u64; Fault::ALL.len()]; PLACES]);

impl Default for Coverage {
    fn default() -> Self {
        Self([[0; Fault::ALL.len()]; PLACES])
    }
}

impl Coverage {
    pub fn visit(&mut self, place: Place, fault: Fault) {
        let row = match place {
            Place::Client(at) => at as usize,
            Place::Onward(onward) => At::ALL.len() + onward as usize,
            Place::Tarpit => PLACES - 1,
        };
        self.0[row][fault as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (row, others) in self.0.iter_mut().zip(&other.0) {
            row.iter_mut().zip(others).for_each(|(own, others)| *own += others);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (Place, Fault, u64)> {
        Place::all().zip(&self.0).flat_map(|(place, row)| {
            Fault::ALL.into_iter().zip(row).map(move |(fault, count)| (place, fault, *count))
        })
    }

    /// Returns how many required pairs were visited, and how many are required.
    pub fn counts(&self) -> (usize, usize) {
        let must = || self.pairs().filter(|(place, fault, _)| reach(*place, *fault) == Reach::Must);
        (must().filter(|(.., count)| *count > 0).count(), must().count())
    }

    /// Returns the required pairs that were not visited, by fault.
    pub fn missing(&self) -> Vec<String> {
        let by_fault = |fault: Fault| {
            let missing = self.pairs().filter(|(place, of, count)| {
                *of == fault && *count == 0 && reach(*place, *of) == Reach::Must
            });
            let places: Vec<_> = missing.map(|(place, ..)| format!("{place:?}")).collect();
            (!places.is_empty()).then(|| format!("{fault:?}: {}", places.join(" ")))
        };
        Fault::ALL.into_iter().filter_map(by_fault).collect()
    }

    /// Returns the visited pairs that were declared impossible.
    pub fn impossible(&self) -> Vec<String> {
        self.pairs()
            .filter(|(.., count)| *count > 0)
            .filter_map(|(place, fault, _)| match reach(place, fault) {
                Reach::Never(why) => Some(format!("{place:?} × {fault:?}, although {why}")),
                Reach::Must | Reach::Perhaps(_) => None,
            })
            .collect()
    }

    /// Returns the least visited of the required pairs.
    pub fn rarest(&self, count: usize) -> String {
        let must = |it: &(Place, Fault, u64)| it.2 > 0 && reach(it.0, it.1) == Reach::Must;
        let mut pairs: Vec<_> = self.pairs().filter(must).collect();
        pairs.sort_by_key(|(.., count)| *count);
        let mut text = String::new();
        for (place, fault, times) in pairs.into_iter().take(count) {
            let _ = writeln!(text, "  {place:?} × {fault:?}: {times}");
        }
        text
    }
}
