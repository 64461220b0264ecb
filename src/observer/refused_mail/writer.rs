//! The writer of copies of refused messages.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use super::folder::Folder;
use super::kept::Sidecar;
use super::{Copy, RefusedMailLimits, Shared};

/// Interval at which old copies are removed while none arrive.
const TICK: Duration = Duration::from_secs(600);
/// Time without a loss after which losses are reported as over. It limits how often a disk that fails
/// intermittently is reported.
const CALM: Duration = Duration::from_secs(60);

/// The writer of copies of refused messages: see [`RefusedMail`](super::RefusedMail).
pub struct RefusedMailWriter {
    shared: Arc<Shared>,
    folder: Folder,
    /// The last loss, and the losses since the report of the first one.
    losses: Option<(SystemTime, u64)>,
}

/// A report of a [`RefusedMailWriter`]. A failure is reported once, and once when it is over.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefusedMailReport {
    /// Copies are lost, for this reason.
    Failed(io::Error),
    /// Copies are written again.
    Recovered {
        /// The number of lost copies.
        lost: u64,
    },
}

enum Work {
    Write(Copy, Box<Sidecar>, RefusedMailLimits),
    Tidy(RefusedMailLimits),
    End,
}

impl RefusedMailWriter {
    pub(super) fn new(shared: Arc<Shared>, folder: Folder) -> Self {
        Self { shared, folder, losses: None }
    }

    /// Writes copies and removes old ones, until the observer was dropped and every copy is written.
    /// Blocks. `report` gets the failures.
    pub fn run(mut self, mut report: impl FnMut(RefusedMailReport)) {
        loop {
            let (work, mut lost) = self.next();
            let full = || io::Error::other("too many copies wait for the disk");
            let mut fault = (lost > 0).then(full);
            match work {
                Work::Write(copy, sidecar, limits) => {
                    let (reference, record) = (sidecar.reference(), sidecar.to_string());
                    let record = record.as_bytes();
                    let written =
                        self.folder.keep(reference, &copy.octets, record, &limits, today());
                    if let Err(error) = written {
                        lost += 1;
                        fault = Some(error);
                    }
                    self.shared.state().octets -= copy.octets.len();
                }
                Work::Tidy(limits) => self.folder.tidy(&limits, today()),
                Work::End => return,
            }
            self.tell(lost, fault, &mut report);
        }
    }

    /// Waits for work. Also returns the number of copies that were lost meanwhile.
    fn next(&self) -> (Work, u64) {
        let idle = |state: &mut super::State| state.waiting.is_empty() && !state.over;
        let waited = self.shared.arrived.wait_timeout_while(self.shared.state(), TICK, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (lost, limits) = (mem::take(&mut state.lost), state.limits.clone());
        let work = match state.waiting.pop_front() {
            Some((copy, sidecar)) => Work::Write(copy, sidecar, limits),
            None if state.over => Work::End,
            None => Work::Tidy(limits),
        };
        (work, lost)
    }

    fn tell(
        &mut self,
        lost: u64,
        fault: Option<io::Error>,
        report: &mut impl FnMut(RefusedMailReport),
    ) {
        let now = today();
        match (fault, &mut self.losses) {
            (Some(error), None) => {
                self.losses = Some((now, lost));
                report(RefusedMailReport::Failed(error));
            }
            (Some(_), Some((last, all))) => (*last, *all) = (now, *all + lost),
            (None, Some((last, all))) => {
                if now.duration_since(*last).is_ok_and(|since| since >= CALM) {
                    report(RefusedMailReport::Recovered { lost: *all });
                    self.losses = None;
                }
            }
            (None, None) => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "files have the time of day")]
fn today() -> SystemTime {
    SystemTime::now()
}

impl fmt::Debug for RefusedMailWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedMailWriter").field("folder", &self.folder).finish_non_exhaustive()
    }
}
