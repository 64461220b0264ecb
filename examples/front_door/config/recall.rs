//! The scorers that keep state, with a store that is only read: for a trial.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use nobounce::store::{Embedded, Guarded, Memory, ReadOnly, Store};
use nobounce::{Panel, Runtime};
use tempfile::TempDir;

use super::memory::{Place, redis};
use super::{Config, ConfigError};
use crate::output::Output;

impl Config {
    /// Adds the scorers of this file that keep state to the panel, with an empty store: for a
    /// replay, in which no scorer is asked.
    pub(crate) fn seat_unasked<R: Runtime + Clone>(&self, panel: Panel, runtime: &R) -> Panel {
        match self.remembers() {
            true => self.seat_memory(panel, runtime, Arc::new(Memory::new())).0,
            false => panel,
        }
    }

    /// Adds the scorers of this file that keep state to the panel. They read the store and change
    /// nothing. A store in a file is copied first, since a running gate holds it. The copy exists as
    /// long as the returned folder.
    pub(crate) fn recall<R: Runtime + Clone>(
        &self,
        panel: Panel,
        runtime: &R,
        errors: &Output,
    ) -> Result<(Panel, Option<TempDir>), ConfigError> {
        if !self.remembers() {
            return Ok((panel, None));
        }
        let (store, copy): (Arc<dyn Store>, _) = match &self.file.store {
            Some(Place::Redis(server)) => {
                (Arc::new(ReadOnly::new(Arc::new(redis(server, runtime)))), None)
            }
            Some(Place::File(path)) => match copied(path.get_ref()) {
                Ok((store, folder)) => {
                    let store = Arc::new(Guarded::new(runtime.clone(), store));
                    (Arc::new(ReadOnly::new(store)), Some(folder))
                }
                Err(fault) => {
                    let what = format!("{fault}; the trial uses an empty store");
                    errors.report(format_args!("warning: {}", self.wrong(path.span(), &what)));
                    (Arc::new(Memory::new()), None)
                }
            },
            None | Some(Place::Memory) => {
                errors.report(
                    "warning: the store is in the memory of the gate, so the trial uses an empty one",
                );
                (Arc::new(Memory::new()), None)
            }
        };
        let (panel, _) = self.seat_memory(panel, runtime, store);
        Ok((panel, copy))
    }
}

/// Opens a copy of a store file.
fn copied(path: &Path) -> Result<(Embedded, TempDir), String> {
    let name = path.display();
    let expected = "expected a store file that this user may read";
    let folder = tempfile::tempdir().map_err(|error| format!("copying {name}: {error}"))?;
    let copy = folder.path().join("store");
    match fs::copy(path, &copy) {
        // The gate has not written a store yet.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{name}: {error}; {expected}")),
        Ok(_) => {}
    }
    match Embedded::open(&copy) {
        Ok(store) => Ok((store, folder)),
        Err(error) => Err(format!("a copy of {name}: {error}; {expected}")),
    }
}
