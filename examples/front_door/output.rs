//! Standard output, standard error and the log file. Each is written by its own thread, so a session never
//! waits for a reader or a disk, and never fails because of one.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::time::now;

/// Maximum size of the pending lines in octets. When a slow reader or disk exceeds it, further
/// lines are lost and counted.
const WAITING: usize = 16 << 20;
/// Memory of a pending line in addition to its octets.
const OVERHEAD: usize = 64;
/// Time without a lost line after which the loss is reported as over. It also limits how often an
/// output that fails intermittently is reported.
const CALM: Duration = Duration::from_secs(1);
/// Pause before a write to a non-blocking output is retried.
const PAUSE: Duration = Duration::from_millis(20);

/// An output. Clones share it.
///
/// When the first line is lost, standard error gets one report, and another one when lines can be
/// written again. The output itself gets a line with the number of lost lines.
#[derive(Clone)]
pub(crate) struct Output(Arc<Shared>);

struct Shared {
    name: String,
    /// The output to which losses are reported.
    errors: Option<Output>,
    /// The function that formats the line with the number of lost lines.
    loss: fn(u64) -> String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    octets: usize,
    /// The thread is writing a line.
    writing: bool,
    /// Lines lost since the last report that a loss is over.
    lost: u64,
    last_loss: Option<Instant>,
}

enum Job {
    Write(String),
    /// Write to this file from now on.
    Replace(File, LineEnd),
}

/// State of the file before the next line is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// The last line is complete.
    Complete,
    /// The last line was truncated.
    Missing,
}

impl Output {
    pub(crate) fn standard_error() -> io::Result<Self> {
        let file = io::stderr().as_fd().try_clone_to_owned()?.into();
        Self::start("standard error", file, LineEnd::Complete, None, lost_lines)
    }

    pub(crate) fn standard_output(errors: &Self, loss: fn(u64) -> String) -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned()?.into();
        Self::start("standard output", file, LineEnd::Complete, Some(errors.clone()), loss)
    }

    /// Starts the thread that writes to `file`. `loss` formats the line that reports the number of
    /// lost lines.
    pub(crate) fn start(
        name: &str,
        file: File,
        end: LineEnd,
        errors: Option<Self>,
        loss: fn(u64) -> String,
    ) -> io::Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { name: name.to_owned(), errors, loss, state, changed });
        let writer = shared.clone();
        thread::Builder::new()
            .name("output".to_owned())
            .stack_size(128 << 10)
            .spawn(move || writer.write_for_ever(file, end))?;
        Ok(Self(shared))
    }

    /// Queues a line. Never blocks and never fails: if too much is pending, the line is lost.
    pub(crate) fn line(&self, line: impl Display) {
        let mut line = line.to_string();
        line.push('\n');
        let mut state = self.0.state();
        let octets = state.octets + line.len() + OVERHEAD;
        if octets > WAITING {
            return self.0.lose(state, &"too many lines are pending");
        }
        state.octets = octets;
        state.jobs.push_back(Job::Write(line));
        self.0.changed.notify_all();
    }

    /// Queues a line for operators. Control characters are escaped, since the text may come from a
    /// stranger.
    pub(crate) fn report(&self, text: impl Display) {
        self.line(for_operators(text));
    }

    /// Writes all further lines to another file.
    pub(crate) fn replace(&self, file: File, end: LineEnd) {
        self.0.state().jobs.push_back(Job::Replace(file, end));
        self.0.changed.notify_all();
    }

    /// Waits for at most `patience` until all lines are written.
    pub(crate) fn finish(&self, patience: Duration) {
        let idle = |state: &mut State| state.writing || !state.jobs.is_empty();
        let _ = self.0.changed.wait_timeout_while(self.0.state(), patience, idle);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut file: File, mut end: LineEnd) {
        loop {
            let line = match self.next() {
                Job::Write(line) => line,
                Job::Replace(other, its_end) => {
                    (file, end) = (other, its_end);
                    continue;
                }
            };
            let written = write(&mut file, &line, &mut end);
            let mut state = self.state();
            state.octets -= line.len() + OVERHEAD;
            match written {
                Ok(()) => {
                    let calm = state.last_loss.is_none_or(|at| now() - at >= CALM);
                    if state.lost > 0 && calm && state.octets == 0 {
                        let lost = std::mem::take(&mut state.lost);
                        state.last_loss = None;
                        drop(state);
                        self.recovered(&mut file, &mut end, lost);
                    }
                }
                Err(error) => self.lose(state, &error),
            }
        }
    }

    fn next(&self) -> Job {
        let mut state = self.state();
        state.writing = false;
        self.changed.notify_all();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.writing = true;
                return job;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts a lost line, and reports the first.
    fn lose(&self, mut state: MutexGuard<'_, State>, why: &dyn Display) {
        state.lost += 1;
        state.last_loss = Some(now());
        let first = state.lost == 1;
        drop(state);
        if let (true, Some(errors)) = (first, &self.errors) {
            let name = &self.name;
            errors.report(format_args!("{name}: {why}; lines are lost, mail is not affected"));
        }
    }

    fn recovered(&self, file: &mut File, end: &mut LineEnd, lost: u64) {
        if let Some(errors) = &self.errors {
            let name = &self.name;
            errors.report(format_args!("{name}: writable again, {lost} lines were lost"));
        }
        let _ = write(file, &format!("{}\n", (self.loss)(lost)), end);
    }
}

/// Returns a line for operators. Control, bidirectional and other invisible characters are
/// escaped: the value may come from a stranger or from a mistake in a configuration file.
pub(crate) fn for_operators(text: impl Display) -> String {
    format!("front_door: {}", escaped(text.to_string().trim_end()))
}

/// Returns the text with all characters escaped that are invisible or that change how the rest is
/// displayed.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        let unseen = matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
        match character.is_control() || unseen {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// Writes a line, in a single write where possible. After a truncated line, starts a new line
/// first.
fn write(file: &mut File, line: &str, end: &mut LineEnd) -> io::Result<()> {
    let begun = match end {
        LineEnd::Complete => Cow::Borrowed(line),
        LineEnd::Missing => Cow::Owned(format!("\n{line}")),
    };
    let mut rest = begun.as_bytes();
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                let (done, more) = rest.split_at(written);
                let cut = done.last() != Some(&b'\n');
                (*end, rest) = (if cut { LineEnd::Missing } else { LineEnd::Complete }, more);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            #[allow(clippy::disallowed_methods, reason = "a thread that only writes")]
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the human-readable line that reports the number of lost lines.
pub(crate) fn lost_lines(lost: u64) -> String {
    format!("front_door: {lost} lines were lost here")
}
