//! Replies to the client after the panel's verdict and after the relay target's outcome.
//!
//! `Ok` leads to the next state. `Err` contains the refusal.

use super::prdr::Answers;
use super::replies::Answer;
use super::state::Finish;
use super::transaction::Transaction;
use super::{EndCause, RefusedRecipient, Session, replies};
use crate::conduct::Misconduct;
use crate::message::Message;
use crate::outcome::{Granted, Outcome};
use crate::verdict::Verdict;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{Reply, ReplyClass};

impl Session {
    pub(super) fn judge_connection(&self, verdict: &Verdict) -> Result<(), Reply> {
        match verdict {
            Verdict::Pass | Verdict::Tag(_) => Ok(()),
            Verdict::Refuse(refusal) => {
                let reference = self.id.transaction(0).to_string();
                Err(refusal.reply().with_reference(&reference))
            }
        }
    }

    pub(super) fn judge_recipient(
        &mut self,
        transaction: Box<Transaction>,
        path: ForwardPath,
        verdict: &Verdict,
    ) -> Result<(Box<Transaction>, ForwardPath), (Box<Transaction>, Answer)> {
        match verdict {
            Verdict::Pass | Verdict::Tag(_) => Ok((transaction, path)),
            Verdict::Refuse(refusal) => {
                let reference = transaction.envelope.id.to_string();
                let reply = refusal.reply().with_reference(&reference);
                let refused = (reply, EndCause::RefusedByPanel);
                Err(self.refuse_recipient(transaction, path, refused, refusal.closes()))
            }
        }
    }

    pub(super) fn judge_content(
        &self,
        transaction: Box<Transaction>,
        mut message: Message,
        verdict: Verdict,
    ) -> Result<(Box<Transaction>, Message), Finish> {
        match verdict {
            Verdict::Pass => {}
            Verdict::Tag(fields) => message.tag(self.within_limit(fields)),
            Verdict::Refuse(refusal) => {
                let reference = transaction.envelope.id.to_string();
                let reply = refusal.reply().with_reference(&reference);
                let cause = EndCause::RefusedByPanel;
                return Err(Finish { transaction, cause, reply, closes: refusal.closes() });
            }
        }
        Ok((transaction, message))
    }

    pub(super) fn conclude_recipient(
        &mut self,
        mut transaction: Box<Transaction>,
        path: ForwardPath,
        outcome: Outcome,
    ) -> (Box<Transaction>, Answer) {
        match outcome.covering(Granted::Recipient, &transaction.envelope.id) {
            Outcome::Accepted(receipt) => {
                let accepted = &mut transaction.envelope.forward_paths;
                if accepted.is_empty() {
                    // Most transactions have one recipient. By default, a list would allocate four
                    // elements.
                    accepted.reserve_exact(1);
                }
                accepted.push(path);
                transaction.pay_for_reply(self, receipt.reply());
                self.refused.in_a_row = 0;
                (transaction, Answer::Reply(receipt.into_reply()))
            }
            Outcome::Failed(error) => {
                let refused = (error.reply().clone(), EndCause::RelayFailed);
                self.refuse_recipient(transaction, path, refused, false)
            }
            Outcome::Refused(refusal) => {
                let refused = (refusal.reply().clone(), EndCause::RefusedByRelay);
                self.refuse_recipient(transaction, path, refused, refusal.closes())
            }
        }
    }

    pub(super) fn conclude_content(
        &mut self,
        transaction: Box<Transaction>,
        outcome: Outcome,
    ) -> Finish {
        let (cause, reply, closes) =
            match outcome.covering(Granted::Content, &transaction.envelope.id) {
                Outcome::Accepted(receipt) => {
                    self.note_use();
                    (EndCause::Accepted, receipt.into_reply(), false)
                }
                Outcome::Failed(error) => (EndCause::RelayFailed, error.reply().clone(), false),
                Outcome::Refused(refusal) => {
                    let closes = refusal.closes();
                    (EndCause::RefusedByRelay, refusal.reply().clone(), closes)
                }
            };
        Finish { transaction, cause, reply, closes }
    }

    /// Handles the relay target's answer for one recipient. Returns the next recipient, or the end
    /// of the transaction.
    pub(super) fn answered(
        &mut self,
        transaction: Box<Transaction>,
        mut answers: Answers,
        outcome: Outcome,
    ) -> Result<(Box<Transaction>, ForwardPath, Answers), Finish> {
        let granted = match answers.len() {
            0 => Granted::Content,
            index => Granted::Answer(index),
        };
        answers.push(outcome.covering(granted, &transaction.envelope.id));
        match transaction.envelope.forward_paths.get(answers.len()).cloned() {
            Some(recipient) => Ok((transaction, recipient, answers)),
            None => Err(self.answer_each(transaction, answers)),
        }
    }

    fn answer_each(&mut self, transaction: Box<Transaction>, answers: Answers) -> Finish {
        self.reply(&replies::ANSWERS_FOLLOW);
        for reply in answers.replies() {
            self.reply(reply);
        }
        let (reply, cause) = (answers.overall(), answers.cause());
        if answers.is_taken() {
            self.note_use();
        }
        Finish { transaction: transaction.settle(answers), cause, reply, closes: false }
    }

    /// Records the refusal of a recipient. Returns the answer for the client.
    pub(super) fn refuse_recipient(
        &mut self,
        mut transaction: Box<Transaction>,
        recipient: ForwardPath,
        refusal: (Reply, EndCause),
        closes: bool,
    ) -> (Box<Transaction>, Answer) {
        let (reply, cause) = refusal;
        let is_permanent = reply.class() == ReplyClass::Permanent;
        if is_permanent {
            self.note(Misconduct::RecipientRefused);
        }
        transaction.pay_for_reply(self, &reply);
        let told = reply.clone();
        transaction.refused.push(RefusedRecipient { recipient, reply: told, cause });
        let answer = if closes {
            Answer::HangUp(reply, EndCause::Closed)
        } else if is_permanent && self.has_too_many_refused() {
            Answer::HangUp(replies::TOO_MANY_REFUSED, EndCause::Closed)
        } else {
            Answer::Reply(reply)
        };
        (transaction, answer)
    }
}
