//! Pending changes, not yet written to disk.

use std::collections::HashMap;

use redb::{TableDefinition, Value};

use super::octets::{OctetChanges, fill};
use crate::store::balance::{Balance, Weighed};
use crate::store::bucket::Bucket;
use crate::store::log::LogChange;
use crate::store::sighting::Seen;
use crate::store::table::{Name, Record};
use crate::store::value;

/// A pending change.
pub(super) trait Note {
    /// Adds the change to `changes`. It replaces an older change of the same record.
    fn note(self, changes: &mut Changes);
}

/// New record for each name. `None` removes the record.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) sightings: HashMap<Name, Option<Seen>>,
    pub(super) buckets: HashMap<Name, Option<Bucket>>,
    pub(super) balances: HashMap<Name, Option<Weighed>>,
    pub(super) octets: OctetChanges,
}

/// A record as stored in the file.
pub(super) trait Row: Record {
    type Columns: for<'a> Value<SelfType<'a> = Self::Columns> + 'static;
    const TABLE: TableDefinition<'static, Name, Self::Columns>;

    fn columns(self) -> Self::Columns;
    fn of(columns: Self::Columns) -> Self;
    fn changes(changes: &mut Changes) -> &mut HashMap<Name, Option<Self>>;
}

impl Row for Seen {
    type Columns = (u64, u64, u64, u32, u32);
    const TABLE: TableDefinition<'static, Name, Self::Columns> = TableDefinition::new("sightings");

    fn columns(self) -> Self::Columns {
        (self.first, self.last, self.expires, self.times, self.early)
    }

    fn of((first, last, expires, times, early): Self::Columns) -> Self {
        Self { first, last, expires, times, early }
    }

    fn changes(changes: &mut Changes) -> &mut HashMap<Name, Option<Self>> {
        &mut changes.sightings
    }
}

impl Row for Bucket {
    type Columns = u64;
    const TABLE: TableDefinition<'static, Name, u64> = TableDefinition::new("buckets");

    fn columns(self) -> u64 {
        self.full
    }

    fn of(full: u64) -> Self {
        Self { full }
    }

    fn changes(changes: &mut Changes) -> &mut HashMap<Name, Option<Self>> {
        &mut changes.buckets
    }
}

impl Row for Weighed {
    type Columns = (f64, f64, u64, u64);
    const TABLE: TableDefinition<'static, Name, Self::Columns> = TableDefinition::new("balances");

    fn columns(self) -> Self::Columns {
        (self.balance.good, self.balance.bad, self.at, self.expires)
    }

    fn of((good, bad, at, expires): Self::Columns) -> Self {
        Self { balance: Balance::new(good, bad), at, expires }
    }

    fn changes(changes: &mut Changes) -> &mut HashMap<Name, Option<Self>> {
        &mut changes.balances
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        let small =
            self.sightings.is_empty() && self.buckets.is_empty() && self.balances.is_empty();
        small && self.octets.is_empty()
    }

    /// Merges older changes. Newer changes of the same record win.
    pub(super) fn fill_up(&mut self, older: Self) {
        fill(&mut self.sightings, older.sightings);
        fill(&mut self.buckets, older.buckets);
        fill(&mut self.balances, older.balances);
        self.octets.fill_up(older.octets);
    }
}

impl<T: Row> Note for (Name, Option<T>) {
    fn note(self, changes: &mut Changes) {
        T::changes(changes).insert(self.0, self.1);
    }
}

impl Note for (Name, Option<value::Value>) {
    fn note(self, changes: &mut Changes) {
        changes.octets.note_value(self.0, self.1);
    }
}

impl Note for LogChange {
    fn note(self, changes: &mut Changes) {
        changes.octets.note_log(self);
    }
}
