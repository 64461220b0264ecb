//! Time limits on a content: the minimum data rate, the maximum pause, and the total time.

use std::time::{Duration, Instant};

use super::Session;
use crate::deadline::{Awaiting, Deadline};

/// The deadlines of a content, from the first wait for its octets to its end. With BDAT, they cover
/// all chunks and the time between them. Small chunks and commands between chunks do not extend
/// them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The deadline for the next octet.
    silence: Instant,
    /// The deadline of the minimum data rate. Each octet moves it by the time that the rate allows
    /// for one octet, up to a fixed credit. A burst therefore makes up for an earlier pause and
    /// allows a later one. `None` without a minimum rate.
    credit: Option<Instant>,
    /// The deadline for the complete content.
    end: Instant,
    /// Octets received since `silence` and `credit` were set.
    octets: usize,
}

impl Pace {
    /// Shortens the waits for mail data to `limit`, because the gate is under stress.
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
    /// Counts received mail data.
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

/// Returns the time that the rate allows for this number of octets.
fn time_for(octets: usize, rate: u32) -> Duration {
    let nanoseconds = (octets as u64).saturating_mul(1_000_000_000);
    Duration::from_nanos(nanoseconds / u64::from(rate.max(1)))
}
