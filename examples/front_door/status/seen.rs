//! The recent past, for the status page. Everything is bounded.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use nobounce::envelope::SessionId;
use nobounce::observer::TransactionRecord;
use nobounce::reply::ReplyClass;
use nobounce::session::EndCause;
use nobounce::tally::Tally;
use nobounce::verdict::Stage;
use nobounce::{Event, Outcome, Verdict};

use super::records::{Record, Records};
use super::scorers::Scorers;
use super::servers::Servers;
use crate::time::today;

/// Number of minutes that are shown.
pub(super) const MINUTES: usize = 60;
/// Maximum number of symbols that are counted.
const SYMBOLS: usize = 1_000;

/// The events that the status page shows.
#[derive(Default)]
pub(super) struct Seen(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: u64,
    /// The sessions in a transaction that has a recipient. The gate bounds their number.
    busy: HashSet<SessionId>,
    pub(super) connections: u64,
    pub(super) turned_away: u64,
    pub(super) unacknowledged: u64,
    minutes: Minutes,
    pub(super) symbols: HashMap<String, Counts>,
    pub(super) scorers: Scorers,
    pub(super) onward: Onward,
    pub(super) servers: Servers,
    pub(super) records: Records,
}

/// Numbers of messages, or of messages, recipients and clients that were refused.
#[derive(Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) deferred: u64,
    pub(super) refused: u64,
}

/// Counts of each minute. A minute has the index `minute % MINUTES`.
struct Minutes([(u64, Counts); MINUTES]);

/// The answers of the onward server.
#[derive(Default, Clone)]
pub(super) struct Onward {
    pub(super) answers: Counts,
    pub(super) failures: u64,
}

impl Seen {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected { .. } => {
                let mut state = self.state();
                state.sessions += 1;
                state.connections += 1;
            }
            Event::Disconnected(record) => {
                let mut state = self.state();
                state.sessions = state.sessions.saturating_sub(1);
                state.busy.remove(record.session);
            }
            Event::TurnedAway { .. } | Event::Unproxied { .. } => self.state().turned_away += 1,
            Event::Scored { stage, answer, .. } => self.state().scorers.answered(*stage, answer),
            Event::Judged { id, peer, stage, tally, verdict, .. } => {
                if let (Verdict::Pass | Verdict::Tag(_), Stage::Connect) = (verdict, stage) {
                    return;
                }
                let mut state = self.state();
                if *stage == Stage::Rcpt {
                    state.busy.insert(id.session().clone());
                }
                if let Verdict::Refuse(refusal) = verdict {
                    state.count(Fate::of(refusal.reply().class()));
                    if *stage == Stage::Connect {
                        state.find(tally, Some(Fate::of(refusal.reply().class())));
                        state.records.push(Record::of_client(id, peer, tally, refusal));
                    }
                }
            }
            Event::Relayed { recipient, outcome, took, .. } => {
                let mut state = self.state();
                let has_failed = matches!(outcome, Outcome::Failed(_));
                state.servers.relayed(recipient.is_some(), *took, has_failed);
                state.relayed(outcome);
            }
            Event::OnwardConnect(attempt) => self.state().servers.connected(attempt),
            Event::Stored(call) => self.state().servers.stored(call),
            Event::LookedUp(lookup) => self.state().servers.looked_up(lookup),
            Event::Ended(record) => self.state().ended(record),
            Event::Unacknowledged(_) => self.state().unacknowledged += 1,
            _ => {}
        }
    }
}

/// The answer to a client.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Accepted,
    Deferred,
    Refused,
}

impl Fate {
    fn of(class: ReplyClass) -> Self {
        match class {
            ReplyClass::Completion | ReplyClass::Intermediate => Self::Accepted,
            ReplyClass::Transient => Self::Deferred,
            ReplyClass::Permanent => Self::Refused,
        }
    }
}

impl State {
    /// Returns the number of sessions in a transaction.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Returns the counts of the last minutes, the oldest first.
    pub(super) fn minutes(&self) -> [Counts; MINUTES] {
        let now = minute();
        std::array::from_fn(|n| {
            let wanted = now.saturating_sub((MINUTES - 1 - n) as u64);
            let (minute, counts) = self.minutes.0[wanted as usize % MINUTES];
            if minute == wanted { counts } else { Counts::default() }
        })
    }

    fn count(&mut self, fate: Fate) {
        let now = minute();
        let (minute, counts) = &mut self.minutes.0[now as usize % MINUTES];
        if *minute != now {
            (*minute, *counts) = (now, Counts::default());
        }
        counts.add(fate);
    }

    fn relayed(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted(_) => self.onward.answers.add(Fate::Accepted),
            Outcome::Refused(refusal) => {
                let fate = Fate::of(refusal.reply().class());
                self.onward.answers.add(fate);
                self.count(fate);
            }
            Outcome::Failed(_) => {
                self.onward.failures += 1;
                self.count(Fate::Deferred);
            }
        }
    }

    fn ended(&mut self, record: &TransactionRecord) {
        let end = &record.end;
        self.busy.remove(end.envelope.id.session());
        let fate = end.reply.as_ref().map(|reply| Fate::of(reply.class()));
        if end.cause == EndCause::Accepted {
            self.count(Fate::Accepted);
        }
        if let (EndCause::RefusedBySession, Some(fate)) = (end.cause, fate) {
            self.count(fate);
        }
        self.find(&record.tally, fate);
        if let Some(record) = Record::of_transaction(record) {
            self.records.push(record);
        }
    }

    /// Counts the symbols that counted for a reply.
    fn find(&mut self, tally: &Tally, fate: Option<Fate>) {
        let Some(fate) = fate else { return };
        for entry in tally.counted() {
            let symbol = format!("{}:{}", entry.scorer, entry.finding.symbol());
            let has_room = self.symbols.len() < SYMBOLS;
            match self.symbols.get_mut(&symbol) {
                Some(counts) => counts.add(fate),
                None if has_room => self.symbols.entry(symbol).or_default().add(fate),
                None => {}
            }
        }
    }
}

impl Counts {
    pub(super) fn all(&self) -> u64 {
        self.accepted + self.deferred + self.refused
    }

    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Accepted => self.accepted += 1,
            Fate::Deferred => self.deferred += 1,
            Fate::Refused => self.refused += 1,
        }
    }
}

impl Default for Minutes {
    fn default() -> Self {
        Self([Default::default(); MINUTES])
    }
}

/// Returns the number of minutes since 1970.
fn minute() -> u64 {
    today().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 60
}
