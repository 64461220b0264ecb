//! What a recording contains of the panel: answers, verdicts and contents.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use ring::digest;

use super::held::{Bounds, Held};
use super::{ContentForm, Event, Recorder, Sample};
use crate::message::Message;
use crate::opinion::Opinion;
use crate::panel::Answer;
use crate::recording::{Content, Decided, Fact, Heard, HeardFailure, Judged};
use crate::runtime::Runtime;
use crate::tally::FailureCause;
use crate::verdict::{Stage, Subject};

/// Maximum number of field names that are recorded of a content.
const FIELDS: usize = 128;
/// Maximum length of a recorded field name in octets.
const FIELD_NAME: usize = 64;
/// Size up to which a message is parsed whole, in octets.
const HEAD: usize = 64 << 10;

impl<R: Runtime, W: Write + Send> Recorder<R, W> {
    /// Notes whether a wanted symbol was found.
    fn find(&self, held: &mut Held, heard: &Heard) {
        let Sample::Symbols(symbols) = &self.settings.sample else { return };
        held.is_wanted |= heard.findings.iter().any(|finding| {
            symbols.iter().any(|wanted| match wanted.split_once(':') {
                Some((scorer, symbol)) => scorer == &*heard.scorer && symbol == finding.symbol(),
                None => **wanted == *finding.symbol(),
            })
        });
    }

    pub(super) fn judged(&self, event: &Event<'_>) {
        let Event::Judged { id, stage, subject, tally, verdict, answers, .. } = event else {
            return;
        };
        self.with(id.session(), |held, now, bounds| {
            let silent = answers.iter().filter(|answer| is_silent(answer));
            let silent = silent.map(|answer| &answer.scorer);
            // Usually these are the same scorers as at the last question.
            let mut known = held.silent.iter();
            let is_known =
                silent.clone().all(|it| known.next().is_some_and(|old| Arc::ptr_eq(it, old)));
            if !is_known || known.next().is_some() {
                held.silent = silent.cloned().collect();
            }
            for answer in answers.iter().filter(|answer| !is_silent(answer)) {
                let heard = heard(id.number(), *stage, answer);
                self.find(held, &heard);
                let details = heard.findings.iter().map(|it| 64 + it.detail().len());
                let size = details.sum::<usize>() + 128;
                held.add(Fact::Heard(heard.into()), size, now, bounds);
            }
            let mut judged = Judged::of(id.number(), *stage, tally, verdict);
            judged.silent = held.silent.clone();
            if judged.verdict >= Decided::Defer || judged.monitored >= Some(Decided::Defer) {
                self.refused(held);
            }
            if let Subject::Content(_, message) = subject {
                held.stop_mail_data(true, now, bounds);
                self.content(held, id.number(), message, now, bounds);
            }
            let size = 32 * judged.silent.len() + 64 * judged.weighted.len();
            held.add(Fact::Judged(judged), size, now, bounds);
        });
    }

    fn content(
        &self,
        held: &mut Held,
        transaction: u32,
        message: &Message,
        now: Instant,
        bounds: &Bounds<'_>,
    ) {
        // Most mail is not recorded, and hashing it would cost more than everything else.
        if !held.is_wanted
            || matches!(self.settings.content, ContentForm::None | ContentForm::Whole)
        {
            return;
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut octets = 0;
        for segment in message.content_segments() {
            hash.update(segment);
            octets += segment.len() as u64;
        }
        let names = message.view().fields().map(|field| field.name());
        let cut = |name: &str| name.get(..FIELD_NAME).unwrap_or(name).into();
        let fields: Vec<_> = names.filter(|name| !name.is_empty()).take(FIELDS).map(cut).collect();
        let mut content = Content { transaction, octets, fields, ..Content::default() };
        content.sha256 = hash.finish().as_ref().try_into().ok();
        if self.settings.content == ContentForm::Header {
            let head = message.content_head(HEAD);
            let end = memchr::memmem::find(&head, b"\r\n\r\n").map_or(head.len(), |at| at + 4);
            content.header = Some(head[..end].to_vec());
        }
        let size =
            content.fields.len() * 2 * FIELD_NAME + content.header.as_ref().map_or(0, Vec::len);
        held.add(Fact::Content(content), size, now, bounds);
    }
}

fn is_silent(answer: &Answer) -> bool {
    matches!(&answer.result, Ok(opinion) if opinion.is_silent())
}

fn heard(transaction: u32, stage: Stage, answer: &Answer) -> Heard {
    let silent = Opinion::silent();
    let (opinion, failure) = match &answer.result {
        Ok(opinion) => (opinion, None),
        Err(cause) => {
            let (word, opinion, adds_only) = match cause {
                FailureCause::Error(error) => ("error", error.opinion(), error.could_only_add()),
                FailureCause::Panic(_) => ("panic", &silent, false),
                FailureCause::Late(_) => ("late", &silent, false),
                FailureCause::StateLost => ("state-lost", &silent, false),
            };
            let text = Some(cause.to_string().into());
            (opinion, Some(HeardFailure { cause: word.into(), text, adds_only }))
        }
    };
    Heard {
        transaction,
        stage,
        scorer: answer.scorer.clone(),
        took: answer.took,
        findings: opinion.findings.clone(),
        refusal: opinion.refusal.as_ref().map(|refusal| refusal.reply().clone()),
        fields: opinion.fields.len(),
        failure,
    }
}
