//! The database file: tables of records, the secret for hashing names, and the format version.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    WriteTransaction,
};

use super::changes::{Changes, Note, Row};
use super::octets;
use crate::store::balance::Weighed;
use crate::store::bucket::Bucket;
use crate::store::memory::Memory;
use crate::store::sighting::Seen;
use crate::store::table::{Name, Secret, Table};

/// Format version of the file.
const FORM: u128 = 1;
/// Size of redb's cache in octets. It is small, because all records are also in memory.
const CACHE: usize = 8 << 20;

/// Properties of the whole file: format version and secret.
const ABOUT: TableDefinition<'_, &str, u128> = TableDefinition::new("about");

/// Reason why a file cannot be used as a store. Fault of the caller or of the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the file open. It can be opened after that process closes it.
    #[error("another process has opened the store file")]
    InUse,
    /// The file cannot be opened, or is not a database.
    #[error("opening the store file failed: {0}")]
    File(Box<dyn std::error::Error + Send + Sync>),
    /// The file was written by another version of this crate, in an unknown format.
    #[error("the store file has format {0}; expected format {FORM}")]
    Form(u128),
    /// The writer thread could not be started.
    #[error("starting the writer thread of the store failed: {0}")]
    Thread(#[source] io::Error),
}

/// Opens the database at this path. A new file is readable only by its owner (mode 0600).
pub(super) fn database(path: &Path) -> Result<Database, DatabaseError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    let file = options.open(path).map_err(StorageError::from)?;
    let file = FileBackend::new(file)?;
    Database::builder().set_cache_size(CACHE).create_with_backend(file)
}

/// The database file. After an error, the database must be reopened.
pub(super) struct File {
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send>,
    database: Option<Database>,
}

impl File {
    pub(super) fn new(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let database = Some(open().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
            error => OpenError::file(error),
        })?);
        Ok(Self { open: Box::new(open), database })
    }

    /// Returns the secret for hashing names. Creates and stores it if the file is new.
    pub(super) fn secret(&mut self) -> Result<Secret, OpenError> {
        let mut form = FORM;
        let secret = self.attempt(|database| {
            let transaction = database.begin_write()?;
            let secret = {
                let mut about = transaction.open_table(ABOUT)?;
                let known = about.get("form")?.map(|form| form.value());
                form = known.unwrap_or(FORM);
                let secret = about.get("secret")?.map(|secret| secret.value());
                let secret = secret.unwrap_or_else(|| Secret::random().0);
                about.insert("form", form)?;
                about.insert("secret", secret)?;
                secret
            };
            transaction.open_table(Seen::TABLE)?;
            transaction.open_table(Bucket::TABLE)?;
            transaction.open_table(Weighed::TABLE)?;
            octets::create(&transaction)?;
            // Change nothing in a file of unknown format.
            if form == FORM {
                transaction.commit()?
            } else {
                transaction.abort()?
            }
            Ok(Secret(secret))
        });
        if form != FORM {
            return Err(OpenError::Form(form));
        }
        secret.map_err(OpenError::file)
    }

    /// Reads all records. Returns removals for the records that do not fit into memory.
    pub(super) fn load(&mut self, memory: &Memory) -> Result<Changes, OpenError> {
        let load = |database: &Database| {
            let mut surplus = Changes::default();
            read(database, &memory.sightings, &mut surplus)?;
            read(database, &memory.buckets, &mut surplus)?;
            read(database, &memory.balances, &mut surplus)?;
            octets::read(database, memory, &mut surplus.octets)?;
            Ok(surplus)
        };
        self.attempt(load).map_err(OpenError::file)
    }

    /// Writes all changes in one transaction. They are on disk when this returns without an error.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), redb::Error> {
        self.attempt(|database| {
            let transaction = database.begin_write()?;
            write(&transaction, &changes.sightings)?;
            write(&transaction, &changes.buckets)?;
            write(&transaction, &changes.balances)?;
            changes.octets.write(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    /// Runs `work` on the database. Reopens the database first if the last attempt failed.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.open)()?,
        };
        let result = work(&database);
        if result.is_ok() {
            self.database = Some(database);
        }
        result
    }
}

fn read<T: Row>(
    database: &Database,
    table: &Table<T>,
    surplus: &mut Changes,
) -> Result<(), redb::Error> {
    for row in database.begin_read()?.open_table(T::TABLE)?.iter()? {
        let (name, columns) = row?;
        table.load(name.value(), T::of(columns.value()), |name| (name, None::<T>).note(surplus));
    }
    Ok(())
}

fn write<T: Row>(
    transaction: &WriteTransaction,
    changes: &HashMap<Name, Option<T>>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(T::TABLE)?;
    for (name, record) in changes {
        match record {
            Some(record) => table.insert(name, record.columns())?,
            None => table.remove(name)?,
        };
    }
    Ok(())
}

impl OpenError {
    fn file(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::File(Box::new(error))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}
