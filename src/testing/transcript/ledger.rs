//! Progress of a dialogue: which entries are matched, and whether an event matches the next one.

use std::fmt;

use super::TranscriptError;
use super::script::{Entry, Event, Expected, Script};

/// Progress of a dialogue.
pub(super) struct Ledger<'s> {
    entries: &'s [Entry],
    /// Which entries are matched.
    met: Vec<bool>,
    /// Line number of the entry matched last.
    line: usize,
    /// Whether the expected `Received` field may continue.
    in_trace: bool,
}

/// The part of the gate that acts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaker {
    Session,
    Relay,
}

/// An action of the gate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came<'c> {
    /// A line was sent (without its CRLF).
    Line(&'c [u8]),
    Connect,
    StartTls,
    Close,
}

impl<'s> Ledger<'s> {
    pub(super) fn new(script: &'s Script) -> Self {
        let entries = &script.entries;
        Self { entries, met: vec![false; entries.len()], line: 0, in_trace: false }
    }

    /// Matches an action against the dialogue.
    pub(super) fn heard(
        &mut self,
        speaker: Speaker,
        came: Came<'_>,
    ) -> Result<(), TranscriptError> {
        if let (Speaker::Relay, Came::Line(line)) = (speaker, came) {
            self.in_trace &= matches!(line.first(), Some(b' ' | b'\t'));
            if self.in_trace {
                return Ok(());
            }
        }
        let expected = |event: &'s Event| match (speaker, event) {
            (Speaker::Session, Event::Session(expected))
            | (Speaker::Relay, Event::Relay(expected)) => Some(expected),
            _ => None,
        };
        let Some((at, expected)) =
            self.open().find_map(|(at, entry)| Some((at, expected(&entry.event)?)))
        else {
            return Err(self.unexpected("nothing more", came.by(speaker)));
        };
        let entry = &self.entries[at];
        if !came.is(expected) {
            return Err(TranscriptError::new(entry.line, &entry.event, came.by(speaker)));
        }
        if let Some((before, event)) = self.turn().filter(|(before, _)| *before < at) {
            let came = format!("{} of line {} too soon", came.by(speaker), entry.line);
            return Err(TranscriptError::new(self.entries[before].line, event, came));
        }
        self.in_trace = matches!(expected, Expected::Trace);
        self.meet(at);
        Ok(())
    }

    /// Marks an entry as matched.
    pub(super) fn meet(&mut self, at: usize) {
        self.met[at] = true;
        self.line = self.entries[at].line;
    }

    /// Returns the next unmatched entry, ignoring `S:` lines, because replies may be delayed.
    pub(super) fn turn(&self) -> Option<(usize, &'s Event)> {
        self.open()
            .map(|(at, entry)| (at, &entry.event))
            .find(|(_, event)| !matches!(event, Event::Session(_)))
    }

    /// Returns whether the panel answers after the time of the next `T:` lines has passed.
    pub(super) fn is_panel_next(&self) -> bool {
        let events = self.open().map(|(_, entry)| &entry.event);
        let mut others = events.filter(|it| !matches!(it, Event::Session(_) | Event::Time(_)));
        matches!(others.next(), Some(Event::Panel(_)))
    }

    /// Returns the first unmatched entry.
    pub(super) fn owed(&self) -> Option<usize> {
        self.open().next().map(|(at, _)| at)
    }

    /// Returns the entries from this position on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = (usize, &'s Event)> + use<'s> {
        self.entries.iter().map(|entry| &entry.event).enumerate().skip(at)
    }

    /// Returns the error for an entry that cannot be matched.
    pub(super) fn missing(&self, at: usize) -> TranscriptError {
        let entry = &self.entries[at];
        TranscriptError::new(entry.line, &entry.event, "nothing")
    }

    /// Returns the error for an action that matches no entry.
    pub(super) fn unexpected(&self, expected: &str, came: impl fmt::Display) -> TranscriptError {
        TranscriptError::new(self.line, expected, came)
    }

    fn open(&self) -> impl Iterator<Item = (usize, &'s Entry)> {
        let open = self.entries.iter().enumerate().zip(&self.met);
        open.filter(|(_, met)| !**met).map(|(entry, _)| entry)
    }
}

impl Came<'_> {
    fn is(self, expected: &Expected) -> bool {
        match (self, expected) {
            (Self::Line(line), expected) => expected.matches(line),
            (Self::Connect, Expected::Connect)
            | (Self::StartTls, Expected::StartTls)
            | (Self::Close, Expected::Close) => true,
            _ => false,
        }
    }

    fn by(self, speaker: Speaker) -> String {
        let speaker = match speaker {
            Speaker::Session => "S",
            Speaker::Relay => "R",
        };
        match self {
            Self::Line(line) => format!("`{speaker}: {}`", line.escape_ascii()),
            Self::Connect => format!("`{speaker}: <connect>`"),
            Self::StartTls => format!("`{speaker}: <starttls>`"),
            Self::Close => format!("`{speaker}: <close>`"),
        }
    }
}
