//! The log: a line for each transaction, for each session without one, and for each client that was
//! turned away, as text, as JSON, or both.

mod file;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nobounce::Event;
use nobounce::observer::LineLimit;
use nobounce::observer::json::{Entry, Line};

use crate::options::Options;
use crate::output::{Output, lost_lines};
use crate::time::{now, stamp, today};
use file::standard_descriptor;
pub(crate) use file::{append, is_ours, is_standard_output};

/// Lines for sessions without a transaction that may be written at once, and the interval after
/// which one more is allowed. A client makes such a session at no cost.
const SESSIONS: (u32, Duration) = (200, Duration::from_millis(200));

/// The log.
pub(crate) struct Journal {
    text: Option<Sink>,
    json: Option<Sink>,
    /// Whether text lines begin with the time.
    times: bool,
    /// The onward server, for its failures.
    onward: Option<String>,
    sessions: LineLimit,
    /// The output for lines that are not part of the log.
    listening: Output,
}

/// An output of the log, and its file, if it is one: the option and the path.
struct Sink {
    output: Output,
    file: Option<(&'static str, PathBuf)>,
}

impl Journal {
    /// Opens the outputs of the log. By default it is text on standard output.
    ///
    /// Standard output and standard error cannot be opened by path after front_door has changed to
    /// another user, so the open descriptors are used.
    pub(crate) fn open(options: &Options, errors: &Output) -> io::Result<Self> {
        let is_standard = |path: &PathBuf| standard_descriptor(path) == Some(1);
        let is_json = options.json_log.as_ref().is_some_and(is_standard);
        let out = Output::standard_output(errors, if is_json { lost } else { lost_lines })?;
        let open = |option, path: &PathBuf, loss| match standard_descriptor(path) {
            Some(1) => Ok(Sink { output: out.clone(), file: None }),
            Some(_) => Ok(Sink { output: errors.clone(), file: None }),
            None => {
                let (file, end) = append(option, path)?;
                let name = path.display().to_string();
                let output = Output::start(&name, file, end, Some(errors.clone()), loss)?;
                io::Result::Ok(Sink { output, file: Some((option, path.clone())) })
            }
        };
        let json = options.json_log.as_ref().map(|path| open("--json-log", path, lost));
        let json = json.transpose()?;
        let text = match &options.log {
            Some(path) => Some(open("--log", path, lost_lines)?),
            None if json.is_some() => None,
            None => Some(Sink { output: out.clone(), file: None }),
        };
        Ok(Self {
            text,
            json,
            times: !options.no_time_stamps,
            onward: options.relay.as_ref().map(|relay| relay.address.to_string()),
            sessions: LineLimit::new(SESSIONS.0, SESSIONS.1),
            listening: if is_json { errors.clone() } else { out },
        })
    }

    /// Returns the output for lines that are not part of the log, such as the ports.
    pub(crate) fn listening(&self) -> &Output {
        &self.listening
    }

    /// Writes all lines, and waits for the outputs for at most `patience` each.
    pub(crate) fn finish(&self, patience: Duration) {
        self.omitted(self.sessions.take_omitted(), today());
        self.sinks().for_each(|sink| sink.output.finish(patience));
        self.listening.finish(patience);
    }

    /// Reopens the files after log rotation has renamed them. Returns the errors. A file that cannot be
    /// opened does not keep the other one from being reopened.
    pub(crate) fn reopen(&self) -> Vec<io::Error> {
        let mut errors = Vec::new();
        for Sink { output, file } in self.sinks() {
            let Some((option, path)) = file else { continue };
            match append(option, path) {
                Ok((file, end)) => output.replace(file, end),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// Logs this event if it belongs into the log.
    pub(crate) fn observe(&self, event: &Event<'_>) {
        if !is_logged(event) {
            return;
        }
        let at = today();
        if is_about_session(event) {
            match self.sessions.admit(now()) {
                Some(omitted) => self.omitted(omitted, at),
                None => return,
            }
        }
        if let Some(Sink { output, .. }) = &self.json
            && let Some(mut line) = Line::of(event, at)
        {
            if let Some(onward) = &self.onward {
                line = line.onward(onward);
            }
            output.line(line);
        }
        match event {
            Event::Ended(record) => self.text(at, record),
            Event::Unacknowledged(record) => {
                self.text(at, format_args!("unacknowledged: {record}"));
            }
            Event::Disconnected(record) => self.text(at, record),
            Event::TurnedAway { peer, reason } => self.no_session(at, peer, "turned-away", reason),
            Event::Unproxied { peer, error } => self.no_session(at, peer, "unproxied", error),
            Event::HandshakeFailed { peer, error } => {
                self.no_session(at, peer, "handshake-failed", error);
            }
            _ => {}
        }
    }

    fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.text.iter().chain(&self.json)
    }

    /// Logs the number of sessions without a line, unless it is 0.
    fn omitted(&self, sessions: u64, at: SystemTime) {
        if sessions == 0 {
            return;
        }
        if let Some(Sink { output, .. }) = &self.json {
            output.line(Line::new(Entry::SessionsOmitted { sessions }, at));
        }
        let text = format!("front_door: {sessions} sessions without a transaction are not listed");
        self.text(at, text);
    }

    fn no_session(&self, at: SystemTime, peer: &dyn Display, result: &str, why: &dyn Display) {
        let why = why.to_string();
        self.text(at, format_args!("client={peer} result={result} cause={why:?}"));
    }

    fn text(&self, at: SystemTime, line: impl Display) {
        let Some(Sink { output, .. }) = &self.text else { return };
        match self.times {
            true => output.line(format_args!("{} {line}", stamp(at))),
            false => output.line(line),
        }
    }
}

fn is_logged(event: &Event<'_>) -> bool {
    matches!(event, Event::Ended(_) | Event::Unacknowledged(_)) || is_about_session(event)
}

/// Returns whether the event is about a session without a transaction.
fn is_about_session(event: &Event<'_>) -> bool {
    match event {
        Event::Disconnected(record) => record.transactions == 0,
        Event::TurnedAway { .. } | Event::Unproxied { .. } | Event::HandshakeFailed { .. } => true,
        _ => false,
    }
}

/// Returns the line that reports the number of lost lines.
fn lost(lines: u64) -> String {
    Line::new(Entry::LinesLost { lines }, today()).to_string()
}
