//! A reply to the content for each recipient: PRDR (draft-hall-prdr-00), as implemented by Exim.
//! After the end of data, the session sends 353, then a reply for each recipient in the order of
//! the RCPT commands. The last reply is for the whole message.
//!
//! All these replies are sent in one write. The client therefore gets all of them or none.

use super::transaction::Transaction;
use super::{EndCause, RefusedRecipient};
use crate::outcome::{Outcome, Receipt, RelayError};
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode};

/// The relay target's answers so far, one for each recipient, in order.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Answer>);

#[derive(Debug)]
enum Answer {
    Taken(Receipt),
    /// The refusal (4yz or 5yz), and whether it came from the relay target.
    Refused(Reply, EndCause),
}

impl Transaction {
    /// Returns whether each recipient gets a separate reply to the content. A single recipient
    /// needs only one reply (as in Exim).
    pub(super) fn is_answered_for_each(&self) -> bool {
        self.envelope.reverse_path.parameters.prdr && self.envelope.forward_paths.len() > 1
    }

    /// Moves recipients from the accepted to the refused ones if their answer to the content is a
    /// refusal or is missing.
    pub(super) fn settle(mut self: Box<Self>, answers: Answers) -> Box<Self> {
        let mut recipients = std::mem::take(&mut self.envelope.forward_paths).into_iter();
        for (recipient, answer) in recipients.by_ref().zip(answers.0) {
            match answer {
                Answer::Taken(_) => self.envelope.forward_paths.push(recipient),
                Answer::Refused(reply, cause) => {
                    self.refused.push(RefusedRecipient { recipient, reply, cause });
                }
            }
        }
        let unanswered = |recipient| RefusedRecipient {
            recipient,
            reply: RelayError::Lost.reply().clone(),
            cause: EndCause::RelayFailed,
        };
        self.refused.extend(recipients.map(unanswered));
        self
    }
}

impl Answers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn replies(&self) -> impl Iterator<Item = &Reply> {
        self.0.iter().map(Answer::reply)
    }

    pub(super) fn push(&mut self, outcome: Outcome) {
        self.0.push(match outcome {
            Outcome::Accepted(receipt) => Answer::Taken(receipt),
            // The relay target's hang-up does not concern a single recipient.
            Outcome::Refused(refusal) if refusal.closes() => {
                Answer::Refused(RelayError::Lost.reply().clone(), EndCause::RelayFailed)
            }
            Outcome::Refused(refusal) => {
                Answer::Refused(refusal.reply().clone(), EndCause::RefusedByRelay)
            }
            Outcome::Failed(error) => Answer::Refused(error.reply().clone(), EndCause::RelayFailed),
        });
    }

    fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.0.iter().filter_map(|answer| match answer {
            Answer::Taken(receipt) => Some(receipt),
            Answer::Refused(..) => None,
        })
    }

    /// Returns whether at least one recipient was accepted.
    pub(super) fn is_taken(&self) -> bool {
        self.receipts().next().is_some()
    }

    /// Returns the reply for the whole message. It is 2yz if any recipient was accepted. Otherwise
    /// it is 4yz if any refusal was temporary, because Exim gives up all recipients after 5yz.
    pub(super) fn overall(&self) -> Reply {
        const NOT_NOW: ReplyCode = ReplyCode::refusal(450);
        const NEVER: ReplyCode = ReplyCode::refusal(550);
        let is_later = |answer: &Answer| answer.reply().class() == ReplyClass::Transient;
        let (taken, all) = (self.receipts().count(), self.0.len());
        let code = match taken {
            0 if self.0.iter().any(is_later) => NOT_NOW,
            0 => NEVER,
            _ => ReplyCode::OK,
        };
        let text = format!("Message accepted for {taken} of {all} recipients");
        Reply::new(code, EnhancedStatus::new(0, 0), &text)
    }

    pub(super) fn cause(&self) -> EndCause {
        let refused =
            self.0.iter().any(|it| matches!(it, Answer::Refused(_, EndCause::RefusedByRelay)));
        match self.is_taken() {
            true => EndCause::Accepted,
            false if refused => EndCause::RefusedByRelay,
            false => EndCause::RelayFailed,
        }
    }
}

impl Answer {
    fn reply(&self) -> &Reply {
        match self {
            Self::Taken(receipt) => receipt.reply(),
            Self::Refused(reply, _) => reply,
        }
    }
}
