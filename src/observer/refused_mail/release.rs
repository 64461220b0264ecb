//! The release of a refused message to the onward server.

use std::time::SystemTime;

use super::kept::seconds;
use super::{KeptMail, KeptMailError, Release};
use crate::outcome::{Outcome, RelayError};
use crate::relay::Target;
use crate::wire::reply::Reply;

/// The answer of the onward server for a recipient of a released message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReleaseAnswer {
    /// The recipient, as in [`KeptMail::recipients`].
    pub recipient: String,
    /// The reply.
    pub reply: Reply,
    /// The reason why the server has not answered, if it has not.
    pub failure: Option<RelayError>,
}

impl KeptMail {
    /// Returns the recipients for which the message was not released yet.
    pub fn unreleased(&self) -> Vec<String> {
        let is_released =
            |it: &String| self.releases().iter().any(|release| release.recipients.contains(it));
        self.recipients().iter().filter(|it| !is_released(it)).cloned().collect()
    }

    /// Sends the message to the relay target, for these recipients. The target gets the client and the
    /// envelope of the refused transaction, with all parameters. `host` is our own name, and `at` the
    /// time of day.
    ///
    /// The message has its original trace field, and a field `X-Nobounce-Released` at the top with the
    /// reference, the host and the time. Each recipient for which the target accepts the message is
    /// recorded in the copy.
    ///
    /// # Errors
    ///
    /// Returns an error if the copy is not whole, cannot be read, or if the release cannot be recorded.
    /// In the last case the target has accepted the message.
    pub async fn release(
        &mut self,
        target: &dyn Target,
        recipients: &[String],
        host: &str,
        at: SystemTime,
    ) -> Result<Vec<ReleaseAnswer>, KeptMailError> {
        let message = self.message(host, at)?;
        let mut relay = target.open(&self.client());
        let together = relay.capabilities().await.recipients_max.unwrap_or(usize::MAX);
        let mut answers = Vec::new();
        for (n, recipients) in (0..).zip(recipients.chunks(together.max(1))) {
            let mut envelope = self.envelope(n)?;
            let mut accepted = Vec::new();
            for recipient in recipients {
                let path = self.recipient(recipient)?;
                match relay.rcpt(&envelope, &path).await {
                    Outcome::Accepted(_) => {
                        envelope.forward_paths.push(path);
                        accepted.push(recipient.clone());
                    }
                    refused => answers.push(ReleaseAnswer::of(recipient, &refused)),
                }
            }
            if accepted.is_empty() {
                continue;
            }
            let outcome = relay.content(&envelope, message.clone()).await;
            answers.extend(accepted.iter().map(|it| ReleaseAnswer::of(it, &outcome)));
            if let Outcome::Accepted(_) = outcome {
                let reply = outcome.reply().to_string();
                let (time, recipients) = (seconds(at), accepted);
                self.note_release(Release { time, recipients, reply })?;
            }
        }
        relay.close().await;
        Ok(answers)
    }
}

impl ReleaseAnswer {
    fn of(recipient: &str, outcome: &Outcome) -> Self {
        let failure = match outcome {
            Outcome::Failed(error) => Some(error.clone()),
            _ => None,
        };
        Self { recipient: recipient.to_owned(), reply: outcome.reply().clone(), failure }
    }
}
