//! Scores violations of the SMTP protocol by the client.

use async_trait::async_trait;

use crate::conduct::{Conduct, Misconduct};
use crate::envelope::Envelope;
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Finding, Score};
use crate::scorer::{DataContext, RcptContext, Scorer};

/// A scorer that turns the [`Conduct`] recorded for a session into findings, at RCPT and at DATA.
/// Input before the greeting is handled by [`EarlyInput`](crate::session::EarlyInput). This scorer
/// only sees it with `EarlyInput::Tolerate`.
///
/// | symbol | misbehaviour of the client | each | maximum |
/// |---|---|---|---|
/// | `EARLY_TALKER` | sent input before the greeting | 4.00 | 4.00 |
/// | `EARLY_DATA` | sent mail data before 354 | 4.00 | 4.00 |
/// | `UNAUTH_PIPELINING` | pipelined a command where it had to wait for a reply | 2.00 | 4.00 |
/// | `BARE_LINE_END` | ended content lines with a bare CR or LF | 0.50 | 1.00 |
/// | `MALFORMED_COMMAND` | sent a command line with control octets, or one that is too long | 2.00 | 4.00 |
/// | `UNKNOWN_COMMAND` | sent an unknown command | 1.00 | 3.00 |
/// | `COMMAND_SYNTAX` | sent invalid arguments | 0.50 | 2.00 |
/// | `COMMAND_SEQUENCE` | sent commands out of order | 0.50 | 2.00 |
/// | `RCPT_REFUSED` | named a recipient that was permanently refused | 0.25 | 3.00 |
///
/// The scores are our choice. With the default [`Thresholds`](crate::Thresholds) a single mistake
/// never tags a message. Input at a time when the client must wait is not refused on its own, but
/// its score comes close to a refusal. Use [`weigh`](Self::weigh) to change the scores.
///
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) are not scored: devices such as
/// printers often violate the protocol.
///
/// ```
/// use nobounce::Score;
/// use nobounce::scorers::Behaviour;
/// use nobounce::session::Misconduct;
///
/// let strict = Behaviour::new().weigh(Misconduct::EarlyTalker, Score::points(7), Score::points(7));
/// let blind = Behaviour::new().weigh(Misconduct::BareLineEnd, Score::ZERO, Score::ZERO);
/// ```
#[derive(Debug, Clone)]
pub struct Behaviour {
    weights: [Weight; Misconduct::ALL.len()],
}

/// The score of each occurrence, and the maximum of their sum.
#[derive(Debug, Clone, Copy)]
struct Weight {
    each: Score,
    most: Score,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::new()
    }
}

impl Behaviour {
    /// Creates the scorer with the scores of the table.
    pub fn new() -> Self {
        let weights = Misconduct::ALL.map(|what| {
            let (each, most) = match what {
                Misconduct::EarlyTalker | Misconduct::EarlyData => (400, 400),
                Misconduct::Pipelining | Misconduct::MalformedCommand => (200, 400),
                Misconduct::BareLineEnd => (50, 100),
                Misconduct::UnknownCommand => (100, 300),
                Misconduct::CommandSyntax | Misconduct::CommandSequence => (50, 200),
                Misconduct::RecipientRefused => (25, 300),
                // These two close the session, so they are never scored.
                Misconduct::AnotherProtocol | Misconduct::HandshakeFailed => (0, 0),
            };
            Weight { each: Score::hundredths(each), most: Score::hundredths(most) }
        });
        Self { weights }
    }

    /// Sets the score of `each` occurrence and the maximum `most` of their sum.
    #[must_use]
    pub fn weigh(mut self, what: Misconduct, each: Score, most: Score) -> Self {
        self.weights[what as usize] = Weight { each, most };
        self
    }

    fn judge(&self, envelope: &Envelope) -> Opinion {
        if envelope.peer.own {
            return Opinion::silent();
        }
        let conduct: &Conduct = &envelope.conduct;
        Misconduct::ALL
            .into_iter()
            .zip(&self.weights)
            .filter_map(|(what, weight)| {
                let count = conduct.count(what);
                let score = weight.of(count);
                let times = format!("{count} time{}", if count == 1 { "" } else { "s" });
                let finding = || Finding::new(what.symbol(), score).with_detail(&times);
                (score != Score::ZERO).then(finding)
            })
            .collect()
    }
}

impl Weight {
    fn of(self, count: u16) -> Score {
        let all = self.each.as_hundredths().saturating_mul(count.into());
        Score::hundredths(all).min(self.most)
    }
}

#[async_trait]
impl Scorer for Behaviour {
    fn name(&self) -> &str {
        "behaviour"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(Misconduct::ALL.into_iter().map(Misconduct::symbol).collect())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(self.judge(at.envelope))
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(self.judge(at.envelope))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rehearsal::{envelope, message, recipient};

    /// Returns the findings for a client with this misconduct.
    fn findings(behaviour: &Behaviour, did: &[(Misconduct, u16)]) -> Vec<String> {
        let mut envelope = envelope("<a@example.com>");
        for (what, count) in did {
            (0..*count).for_each(|_| envelope.conduct.note(*what));
        }
        let on_rcpt =
            pollster::block_on(behaviour.on_rcpt(&RcptContext::new(&envelope, &recipient())))
                .unwrap();
        let on_data =
            pollster::block_on(behaviour.on_data(&DataContext::new(&envelope, &message(""))))
                .unwrap();
        assert_eq!(on_rcpt, on_data);
        let words = |it: &Finding| format!("{}={} {}", it.symbol(), it.score(), it.detail());
        on_data.findings.iter().map(words).collect()
    }

    #[test]
    fn violations_are_weighed_by_count_up_to_a_limit() {
        use Misconduct::*;
        type Row<'r> = (&'r [(Misconduct, u16)], &'r [&'r str]);
        let table: &[Row<'_>] = &[
            (&[], &[]),
            (&[(EarlyTalker, 1)], &["EARLY_TALKER=4.00 1 time"]),
            (&[(EarlyData, 3)], &["EARLY_DATA=4.00 3 times"]),
            (&[(Pipelining, 1)], &["UNAUTH_PIPELINING=2.00 1 time"]),
            (&[(BareLineEnd, 1)], &["BARE_LINE_END=0.50 1 time"]),
            (&[(BareLineEnd, 1000)], &["BARE_LINE_END=1.00 1000 times"]),
            (&[(MalformedCommand, 2)], &["MALFORMED_COMMAND=4.00 2 times"]),
            (&[(UnknownCommand, 2)], &["UNKNOWN_COMMAND=2.00 2 times"]),
            (&[(UnknownCommand, u16::MAX)], &["UNKNOWN_COMMAND=3.00 65535 times"]),
            (
                &[(CommandSequence, 1), (CommandSyntax, 2)],
                &["COMMAND_SYNTAX=1.00 2 times", "COMMAND_SEQUENCE=0.50 1 time"],
            ),
            (&[(RecipientRefused, 5)], &["RCPT_REFUSED=1.25 5 times"]),
            (&[(AnotherProtocol, 1)], &[]),
        ];
        for (did, expected) in table {
            assert_eq!(findings(&Behaviour::new(), did), *expected);
        }
    }

    #[test]
    fn own_networks_are_not_scored() {
        let mut envelope = envelope("<a@example.com>");
        (0..9).for_each(|_| envelope.conduct.note(Misconduct::UnknownCommand));
        for own in [true, false] {
            Arc::make_mut(&mut envelope.peer).own = own;
            let opinion = pollster::block_on(
                Behaviour::new().on_rcpt(&RcptContext::new(&envelope, &recipient())),
            )
            .unwrap();
            assert_eq!(opinion == Opinion::silent(), own);
        }
    }

    #[test]
    fn behaviour_weights_are_configurable() {
        let own = Behaviour::new().weigh(Misconduct::EarlyTalker, Score::ZERO, Score::ZERO).weigh(
            Misconduct::Pipelining,
            Score::hundredths(i32::MAX),
            Score::points(9),
        );
        let did = [(Misconduct::EarlyTalker, 1), (Misconduct::Pipelining, 2)];
        assert_eq!(findings(&own, &did), ["UNAUTH_PIPELINING=9.00 2 times"]);
    }
}
