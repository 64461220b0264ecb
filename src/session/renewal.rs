//! Recipients that were accepted and are in doubt: the relay target has given up its connection to an
//! idle client's transaction, and is asked again at DATA.

use std::time::Duration;

use super::replies::Answer;
use super::state::{Phase, State};
use super::transaction::Transaction;
use super::{EndCause, Session};
use crate::outcome::{Granted, Outcome};

/// How long the relay target may take: clients wait two minutes for 354 (RFC 5321 section
/// 4.5.3.2.4).
pub(super) const RENEWAL: Duration = Duration::from_secs(105);

impl Session {
    /// The relay target has given up what it held of the transaction that waits for the client's next
    /// command. At DATA it is [asked again](crate::Request::Renewal), before 354, and its refusal is
    /// the answer to DATA. (BDAT needs no permission: behind it the answer is that to the content.)
    pub fn doubt_recipients(&mut self) {
        if matches!(self.machine.state(), State::Command(Phase::Mail(_)))
            && let Some(transaction) = self.machine.transaction()
        {
            transaction.in_doubt = true;
        }
    }

    /// Whether recipients were accepted for a transaction that waits for the client's next command.
    #[cfg(feature = "serve")]
    pub(crate) fn relies_on_recipients(&self) -> bool {
        let State::Command(Phase::Mail(transaction)) = self.machine.state() else { return false };
        !transaction.envelope.forward_paths.is_empty()
    }

    /// The relay target has answered whether it still takes the recipients.
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
