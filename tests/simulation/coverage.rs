//! Which faults struck where the dialogue stood: counted, and none of the possible ones left out.

use std::fmt::Write as _;

use super::reach::{Reach, reach};

/// Where a client stands: for whose answer it waits (said in part or whole), or else how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Waits for its greeting.
    Greeting,
    /// Was greeted and has said nothing.
    Greeted,
    /// Waits for the answer to EHLO or HELO.
    Hello,
    /// Stands between two transactions, or before the first.
    Ready,
    /// Waits for the answer to MAIL.
    Mail,
    /// Stands behind MAIL.
    Sender,
    /// Waits for the answer to RCPT.
    Rcpt,
    /// Stands behind an accepted RCPT.
    Recipients,
    /// Waits for 354.
    Data,
    /// Is in its mail data, or in a chunk of it.
    Content,
    /// Waits for the answer to a chunk that is not the last.
    Chunk,
    /// Stands between two chunks.
    Chunks,
    /// Waits for the answer to its content.
    Ended,
    /// Waits for the answer to a command that moves nothing, or to nonsense.
    Other,
    /// Waits for the answer to QUIT.
    Quit,
    /// Is gone; the gate may still be taking leave of the onward server.
    Gone,
}

/// Where a connection to the onward server stands, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onward {
    /// There is none.
    None,
    Connecting,
    Greeting,
    Hello,
    /// XCLIENT or XFORWARD.
    Identify,
    /// No transaction; perhaps no client either.
    Idle,
    Rset,
    Mail,
    Rcpt,
    /// A transaction, and nothing is asked.
    Held,
    Data,
    Content,
    Ended,
    Quit,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    ClientResets,
    /// It ends its input and still reads.
    ClientHalfCloses,
    /// It says nothing more and waits.
    ClientStalls,
    /// It is gone without a sign.
    ClientVanishes,
    ClientStopsReading,
    /// It talks before its turn.
    ClientOutOfTurn,
    Unreachable,
    ConnectsLate,
    Refuses,
    Defers,
    /// 421 or 521.
    Leaves,
    Closes,
    Resets,
    Silent,
    Late,
    /// Says half of a reply.
    Cuts,
    /// `250-` for ever.
    Endless,
    Nonsense,
    /// A reply of another class than this command can have.
    WrongClass,
    ServerOutOfTurn,
    ServerStopsReading,
    ScorerErrs,
    ScorerPanics,
    /// Does not answer within its budget.
    ScorerLate,
    ScorerRefuses,
    ScorerDefers,
    ScorerHangsUp,
    ScorerTags,
    Shutdown,
    /// The machine slept.
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

/// A place of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Client(At),
    Onward(Onward),
    /// The client is answered slowly, wherever it stands.
    Tarpit,
}

impl Place {
    pub fn all() -> impl Iterator<Item = Self> {
        let onward = Onward::ALL.into_iter().map(Self::Onward);
        At::ALL.into_iter().map(Self::Client).chain(onward).chain([Self::Tarpit])
    }
}

const PLACES: usize = At::ALL.len() + Onward::ALL.len() + 1;

/// How often each fault struck at each place.
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

    /// Pairs that must be visited: how many were, and how many there are.
    pub fn counts(&self) -> (usize, usize) {
        let must = || self.pairs().filter(|(place, fault, _)| reach(*place, *fault) == Reach::Must);
        (must().filter(|(.., count)| *count > 0).count(), must().count())
    }

    /// Pairs that must be visited and were not, by fault.
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

    /// Pairs that were said to be impossible.
    pub fn impossible(&self) -> Vec<String> {
        self.pairs()
            .filter(|(.., count)| *count > 0)
            .filter_map(|(place, fault, _)| match reach(place, fault) {
                Reach::Never(why) => Some(format!("{place:?} × {fault:?}, although {why}")),
                Reach::Must | Reach::Perhaps(_) => None,
            })
            .collect()
    }

    /// The rarest pairs, of those that must be visited.
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
