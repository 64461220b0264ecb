//! How long a content may take: the least rate of its octets, the silence between them, and its end.

use std::time::{Duration, Instant};

use super::Session;
use crate::deadline::{Awaiting, Deadline};

/// The deadlines of a content, from the first wait for its octets to its end. With BDAT it is that of
/// all chunks and of the time between them: a client gains no time by small chunks, nor by commands
/// between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When the client has been silent for too long.
    silence: Instant,
    /// When the client is too far behind the least data rate. Each octet gives it as much time as the
    /// rate allows for one, up to a fixed credit, so a burst makes up for a pause before it and earns
    /// one behind it. `None` if any rate will do.
    credit: Option<Instant>,
    /// When the content must be complete.
    end: Instant,
    /// Octets received since `silence` and `credit` were set.
    octets: usize,
}

impl Pace {
    /// The gate is under stress: no wait for mail data goes on beyond `limit`.
    pub(super) fn shorten(&mut self, limit: Instant) {
        self.silence = self.silence.min(limit);
        self.credit = self.credit.map(|credit| credit.min(limit));
    }

    /// Returns the earliest deadline.
    pub(super) fn deadline(self) -> Deadline {
        let silence = Deadline { at: self.silence, awaiting: Awaiting::MailData };
        let credit = self.credit.map(|at| Deadline { at, awaiting: Awaiting::DataRate });
        let end = Deadline { at: self.end, awaiting: Awaiting::EndOfMailData };
        let others = credit.into_iter().chain([end]);
        others.fold(silence, |least, other| if other.at < least.at { other } else { least })
    }
}

impl Session {
    /// Notes that mail data was received.
    pub(super) fn gain(&mut self, octets: usize) {
        if let Some(pace) = &mut self.pace {
            pace.octets = pace.octets.saturating_add(octets);
        }
    }

    /// Sets the deadlines for more mail data.
    pub(super) fn await_mail_data(&mut self, now: Instant) {
        let timeouts = &self.settings.timeouts;
        let rate = self.settings.limits.data_rate;
        let after = |wait| Deadline::after(now, wait, Awaiting::MailData).at;
        let silence = || after(self.wait(timeouts.mail_data));
        let most = || after(self.wait(timeouts.data_rate));
        let pace = match self.pace {
            None => Pace {
                silence: silence(),
                credit: (rate > 0).then(most),
                end: after(timeouts.content),
                octets: 0,
            },
            Some(pace) if pace.octets == 0 => pace,
            Some(Pace { credit, end, octets, .. }) => {
                let earn = |at: Instant| {
                    let most = most();
                    at.checked_add(time_for(octets, rate)).map_or(most, |at| most.min(at))
                };
                Pace { silence: silence(), credit: credit.map(earn), end, octets: 0 }
            }
        };
        self.pace = Some(pace);
        self.deadline = Some(Deadline { at: pace.silence, awaiting: Awaiting::MailData });
    }
}

/// How long so many octets may take.
fn time_for(octets: usize, rate: u32) -> Duration {
    let nanoseconds = (octets as u64).saturating_mul(1_000_000_000);
    Duration::from_nanos(nanoseconds / u64::from(rate.max(1)))
}
