//! Renewal of accepted recipients. If a client is idle, the relay target may give up its connection
//! for the client's transaction. It is then asked again at DATA.

use std::time::Duration;

use super::replies::Answer;
use super::state::{Phase, State};
use super::transaction::Transaction;
use super::{EndCause, Session};
use crate::outcome::{Granted, Outcome};

/// The maximum time for the relay target's answer. Clients wait two minutes for 354 (RFC 5321
/// section 4.5.3.2.4).
pub(super) const RENEWAL: Duration = Duration::from_secs(105);

impl Session {
    /// Reports that the relay target has given up its state of the current transaction. At DATA,
    /// the target is [asked again](crate::Request::Renewal) before 354. If it refuses, the refusal
    /// is the reply to DATA. BDAT has no 354, so the reply to the content is the answer.
    pub fn doubt_recipients(&mut self) {
        if matches!(self.machine.state(), State::Command(Phase::Mail(_)))
            && let Some(transaction) = self.machine.transaction()
        {
            transaction.in_doubt = true;
        }
    }

    /// Returns whether the session waits for a command in a transaction with accepted recipients.
    #[cfg(feature = "serve")]
    pub(crate) fn relies_on_recipients(&self) -> bool {
        let State::Command(Phase::Mail(transaction)) = self.machine.state() else { return false };
        !transaction.envelope.forward_paths.is_empty()
    }

    /// Handles the relay target's answer to a renewal.
    pub(super) fn conclude_renewal(
        &mut self,
        mut transaction: Box<Transaction>,
        outcome: Outcome,
    ) -> Result<Box<Transaction>, (Box<Transaction>, Answer)> {
        let outcome = outcome.covering(Granted::Recipient, &transaction.envelope.id);
        transaction.in_doubt = !matches!(outcome, Outcome::Accepted(_));
        let answer = match &outcome {
            Outcome::Accepted(_) => return Ok(transaction),
            Outcome::Refused(refusal) if refusal.closes() => {
                Answer::HangUp(outcome.reply().clone(), EndCause::Closed)
            }
            Outcome::Refused(_) | Outcome::Failed(_) => Answer::Reply(outcome.reply().clone()),
        };
        Err((transaction, answer))
    }
}
