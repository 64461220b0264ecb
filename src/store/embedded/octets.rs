//! Values and logs as stored in the file.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::store::log::LogChange;
use crate::store::memory::Memory;
use crate::store::table::Name;
use crate::store::value::Value;

/// Expiry times and octets of values.
const VALUES: TableDefinition<'_, Name, (u64, &[u8])> = TableDefinition::new("values");
/// Log records by log and position.
const RECORDS: TableDefinition<'_, (Name, u64), &[u8]> = TableDefinition::new("log records");
/// Expiry time of each log.
const ENDS: TableDefinition<'_, Name, u64> = TableDefinition::new("log ends");

/// New content for each name. `None` removes it.
#[derive(Debug, Default)]
pub(super) struct OctetChanges {
    values: HashMap<Name, Option<Value>>,
    records: HashMap<(Name, u64), Option<Arc<[u8]>>>,
    ends: HashMap<Name, Option<u64>>,
    /// Total size of the values and records in the maps, in octets. It is stored and not computed
    /// on demand, because the writer needs it for every change.
    octets: usize,
}

impl OctetChanges {
    pub(super) fn note_value(&mut self, name: Name, value: Option<Value>) {
        let size = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.octets.len());
        self.octets += size(&value);
        let replaced = self.values.insert(name, value);
        self.octets -= replaced.as_ref().map_or(0, size);
    }

    pub(super) fn note_log(&mut self, change: LogChange) {
        match change {
            LogChange::Record(name, position, record) => {
                let size = |record: &Option<Arc<[u8]>>| record.as_ref().map_or(0, |it| it.len());
                self.octets += size(&record);
                let replaced = self.records.insert((name, position), record);
                self.octets -= replaced.as_ref().map_or(0, size);
            }
            LogChange::End(name, end) => {
                self.ends.insert(name, end);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.records.is_empty() && self.ends.is_empty()
    }

    /// Returns the total size of the values and records to write, in octets. Replaced and removed
    /// ones do not count.
    pub(super) fn len(&self) -> usize {
        self.octets
    }

    /// Merges older changes. Newer changes of the same record win.
    pub(super) fn fill_up(&mut self, older: Self) {
        for (name, value) in older.values {
            if !self.values.contains_key(&name) {
                self.note_value(name, value);
            }
        }
        for ((name, position), record) in older.records {
            if !self.records.contains_key(&(name, position)) {
                self.note_log(LogChange::Record(name, position, record));
            }
        }
        fill(&mut self.ends, older.ends);
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut values = transaction.open_table(VALUES)?;
        for (name, value) in &self.values {
            match value {
                Some(value) => values.insert(name, (value.end, &*value.octets))?.map(drop),
                None => values.remove(name)?.map(drop),
            };
        }
        let mut records = transaction.open_table(RECORDS)?;
        for (at, record) in &self.records {
            match record {
                Some(record) => records.insert(at, &**record)?.map(drop),
                None => records.remove(at)?.map(drop),
            };
        }
        let mut ends = transaction.open_table(ENDS)?;
        for (name, end) in &self.ends {
            match end {
                Some(end) => ends.insert(name, end)?.map(drop),
                None => ends.remove(name)?.map(drop),
            };
        }
        Ok(())
    }
}

/// Creates the tables that do not exist yet.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(VALUES)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(ENDS)?;
    Ok(())
}

/// Reads all values and logs. If they do not fit into memory, adds their removals to `surplus`.
pub(super) fn read(
    database: &Database,
    memory: &Memory,
    surplus: &mut OctetChanges,
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    for row in transaction.open_table(VALUES)?.iter()? {
        let (name, value) = row?;
        let (end, octets) = value.value();
        let value = Value { octets: octets.into(), end };
        memory.values.load(name.value(), value, |name| surplus.note_value(name, None));
    }
    let ends = transaction.open_table(ENDS)?;
    for row in transaction.open_table(RECORDS)?.iter()? {
        let (at, record) = row?;
        let (name, position) = at.value();
        let end = ends.get(name)?.map_or(0, |end| end.value());
        memory.logs.load(name, position, record.value().into(), end);
    }
    memory.logs.tidy(|change| surplus.note_log(change));
    Ok(())
}

/// Merges older changes. Newer changes of the same record win.
pub(super) fn fill<K: Eq + Hash, T>(newer: &mut HashMap<K, T>, older: HashMap<K, T>) {
    older.into_iter().for_each(|(key, record)| {
        newer.entry(key).or_insert(record);
    });
}
