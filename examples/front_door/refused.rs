//! Copies of refused messages, for the review of false positives.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nobounce::observer::RefusedMail;
use nobounce::{Event, Observer as _};

use crate::config::{Config, ConfigError};
use crate::output::Output;
use crate::time::now;

/// Pause between two looks at a writer that is to end.
const PAUSE: Duration = Duration::from_millis(10);

/// The copies of refused messages, if the configuration in use keeps them. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct RefusedCopies(Arc<RwLock<Option<Keeping>>>);

struct Keeping {
    folder: PathBuf,
    copies: RefusedMail,
    writer: JoinHandle<()>,
}

impl RefusedCopies {
    /// Keeps copies as this configuration says. On an error nothing changes.
    pub(crate) fn keep(&self, config: &Config, errors: &Output) -> Result<(), ConfigError> {
        let wanted = config.refused_mail();
        let mut keeping = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match (&*keeping, wanted) {
            (Some(same), Some((folder, limits))) if same.folder == folder => {
                same.copies.set_limits(limits);
            }
            (_, Some((folder, limits))) => {
                let opened = RefusedMail::new(folder, limits);
                let (copies, writer) = opened.map_err(|error| {
                    let name = folder.display();
                    config.refused_mail_fault(&format_args!(
                        "{name}: {error}; expected a folder that the user of front_door may write"
                    ))
                })?;
                let (errors, folder) = (errors.clone(), folder.to_owned());
                let name = folder.display().to_string();
                // Disks block.
                let writer = thread::spawn(move || {
                    writer.run(|report| errors.report(format_args!("{name}: {report}")));
                });
                *keeping = Some(Keeping { folder, copies, writer });
            }
            (_, None) => *keeping = None,
        }
        Ok(())
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        if let Event::Judged { .. } | Event::Ended(_) = event
            && let Some(keeping) = &*self.0.read().unwrap_or_else(PoisonError::into_inner)
        {
            keeping.copies.observe(event);
        }
    }

    /// Writes the copies that wait, for at most `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        let keeping = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Keeping { copies, writer, .. }) = keeping else { return };
        drop(copies);
        let end = now() + patience;
        while !writer.is_finished() && now() < end {
            #[allow(clippy::disallowed_methods, reason = "the end of the process")]
            thread::sleep(PAUSE);
        }
    }
}
