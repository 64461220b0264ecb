//! Facts that a record contains on request: the time of each scorer, and fields of the header.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::envelope::Envelope;
use crate::message::{MailData, Message};
use crate::panel::Answer;
use crate::verdict::Stage;

/// Maximum length of a recorded field, in octets.
const FIELD_TEXT: usize = 512;

/// Size up to which a message is parsed whole, in octets, as scorers do it.
const HEAD: usize = 64 << 10;

/// The time that one scorer took at one stage of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// The stage at which the scorer was asked.
    pub stage: Stage,
    /// The number of its answers: at RCPT, one for each recipient.
    pub answers: u32,
    /// The total time of all answers.
    pub total: Duration,
    /// The time of the slowest answer.
    pub slowest: Duration,
}

/// A field of a message's header, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedField {
    /// The name, as passed to [`Gate::record_fields`](crate::Gate::record_fields).
    pub name: Arc<str>,
    /// The value as mail programs display it, truncated to 512 octets. Untrusted: it may contain
    /// any character.
    pub text: Box<str>,
}

impl Timing {
    fn add(&mut self, took: Duration) {
        self.answers = self.answers.saturating_add(1);
        self.total = self.total.saturating_add(took);
        self.slowest = self.slowest.max(took);
    }
}

/// Facts that a record contains on request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reported {
    pub(crate) timings: Vec<Timing>,
    pub(crate) fields: Vec<RecordedField>,
}

impl Reported {
    /// Returns these facts about a client as the first facts of a transaction.
    pub(crate) fn for_transaction(&self) -> Self {
        // Usually a transaction asks the same scorers at two more stages.
        let mut timings = Vec::with_capacity(3 * self.timings.len());
        timings.extend_from_slice(&self.timings);
        Self { timings, fields: Vec::new() }
    }

    /// Adds the times of the answers to one question.
    pub(crate) fn time(&mut self, stage: Stage, answers: &[Answer]) {
        // The stages follow each other, so the times of this one are at the end.
        let known = self.timings.iter().rev().take_while(|known| known.stage == stage).count();
        let begin = self.timings.len() - known;
        for (number, answer) in answers.iter().enumerate() {
            let of_stage = &mut self.timings[begin..];
            let is_known = |known: &&mut Timing| Arc::ptr_eq(&known.scorer, &answer.scorer);
            // Usually all questions of a stage have the same scorers.
            let found = match of_stage.get_mut(number).filter(is_known) {
                _ if known == 0 => None,
                Some(_) => of_stage.get_mut(number),
                None => of_stage.iter_mut().find(is_known),
            };
            match found {
                Some(known) => known.add(answer.took),
                None => self.timings.push(Timing {
                    scorer: answer.scorer.clone(),
                    stage,
                    answers: 1,
                    total: answer.took,
                    slowest: answer.took,
                }),
            }
        }
    }

    /// Copies the first field with each of these names. Only the first 64 KiB of a large message
    /// are parsed.
    pub(crate) fn copy_fields(
        &mut self,
        names: &[Arc<str>],
        envelope: &Envelope,
        message: &Message,
    ) {
        let head = (message.len() > HEAD).then(|| {
            let head = message.content_segments().first();
            let head = head.map_or(&[][..], |first| &first[..first.len().min(HEAD)]);
            Message::new("", envelope, SystemTime::UNIX_EPOCH, MailData::normalise(head))
        });
        let fields = head.as_ref().unwrap_or(message).view().fields();
        self.fields = names
            .iter()
            .filter_map(|name| {
                let field = fields.clone().find(|field| field.name().eq_ignore_ascii_case(name))?;
                let text = field.text();
                let text = text.trim();
                let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
                let end = ends.take_while(|end| *end <= FIELD_TEXT).last().unwrap_or(0);
                Some(RecordedField { name: name.clone(), text: text[..end].into() })
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::envelope;

    #[test]
    fn recorded_fields_are_bounded() {
        let long = "\u{e9}".repeat(400);
        let envelope = envelope("<a@b>");
        for lines in [1, 10_000] {
            let body = "X: y 23456789\r\n".repeat(lines);
            let content = format!("from: a@b\r\nSubject: {long}\r\nSubject: second\r\n\r\n{body}");
            let content = MailData::normalise(content.as_bytes());
            let message = Message::new("mx.example", &envelope, SystemTime::UNIX_EPOCH, content);
            let mut reported = Reported::default();
            reported.copy_fields(&["Subject", "From", "X"].map(Arc::from), &envelope, &message);
            let [subject, from] = &reported.fields[..] else { panic!("{reported:?}") };
            assert_eq!((&*subject.name, &*subject.text), ("Subject", &long[..512]));
            assert_eq!((&*from.name, &*from.text), ("From", "a@b"));
        }
    }
}
