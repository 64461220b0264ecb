//! Recipients that were accepted and are in doubt: the relay target has given up its connection to an
//! idle client's transaction, and is asked again at DATA.

use std::time::Duration;

use super::state::{DataProgress, Phase, Receiving, State, Transaction};
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
        if let State::Command(Phase::Mail(transaction)) = &mut self.state {
            transaction.in_doubt = true;
        }
    }

    /// Whether recipients were accepted for a transaction that waits for the client's next command.
    #[cfg(feature = "serve")]
    pub(crate) fn relies_on_recipients(&self) -> bool {
        let State::Command(Phase::Mail(transaction)) = &self.state else { return false };
        !transaction.envelope.forward_paths.is_empty()
    }

    /// The relay target has answered whether it still takes the recipients.
    pub(super) fn renewed(&mut self, mut transaction: Box<Transaction>, outcome: Outcome) {
        transaction.in_doubt = false;
        let outcome = outcome.covering(Granted::Recipient, &transaction.envelope.id);
        let closes = matches!(&outcome, Outcome::Refused(refusal) if refusal.closes());
        match outcome {
            Outcome::Accepted(_) => self.await_data(transaction),
            outcome => {
                transaction.in_doubt = true;
                self.state = State::Command(Phase::DataRefused(transaction));
                let reply = outcome.reply().clone();
                if closes { self.hang_up(reply, EndCause::Closed) } else { self.reply(&reply) }
            }
        }
    }

    /// The client may send its mail data.
    pub(super) fn await_data(&mut self, transaction: Box<Transaction>) {
        let decoder = self.decoder(&transaction);
        let progress = DataProgress::Unannounced;
        self.state = State::Content(Receiving::Data { transaction, decoder, progress });
    }
}
