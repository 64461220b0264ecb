//! Which lines of a dialogue have come true, and whether what comes is among the others.

use std::fmt;

use super::TranscriptError;
use super::script::{Entry, Event, Expected, Script};

/// A dialogue as far as it has come.
pub(super) struct Ledger<'s> {
    entries: &'s [Entry],
    /// Which entries have come true.
    met: Vec<bool>,
    /// The line of the entry that did so last.
    line: usize,
    /// An expected `Received` field may go on.
    in_trace: bool,
}

/// Who of us speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaker {
    Session,
    Relay,
}

/// What one of us did.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came<'c> {
    /// Said a line, without its CRLF.
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

    /// Compares what came with what the dialogue says.
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

    /// An entry has come true.
    pub(super) fn meet(&mut self, at: usize) {
        self.met[at] = true;
        self.line = self.entries[at].line;
    }

    /// Whose turn it is: the first entry that has not come true, `S:` lines aside, since they may be
    /// late.
    pub(super) fn turn(&self) -> Option<(usize, &'s Event)> {
        self.open()
            .map(|(at, entry)| (at, &entry.event))
            .find(|(_, event)| !matches!(event, Event::Session(_)))
    }

    /// Whether the panel answers when the time that is to pass now has passed.
    pub(super) fn is_panel_next(&self) -> bool {
        let events = self.open().map(|(_, entry)| &entry.event);
        let mut others = events.filter(|it| !matches!(it, Event::Session(_) | Event::Time(_)));
        matches!(others.next(), Some(Event::Panel(_)))
    }

    /// The first entry that has not come true.
    pub(super) fn owed(&self) -> Option<usize> {
        self.open().next().map(|(at, _)| at)
    }

    /// The entries from here on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = (usize, &'s Event)> + use<'s> {
        self.entries.iter().map(|entry| &entry.event).enumerate().skip(at)
    }

    /// This entry does not come true.
    pub(super) fn missing(&self, at: usize) -> TranscriptError {
        let entry = &self.entries[at];
        TranscriptError::new(entry.line, &entry.event, "nothing")
    }

    /// Something that is in no entry.
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
