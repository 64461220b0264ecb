//! How a gate asks its panel.

use super::{Gate, Terms};
use crate::observer::Event;
use crate::panel::Sitting;
use crate::record::Reported;
use crate::runtime::Runtime;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};

impl<R: Runtime> Gate<R> {
    /// Returns the sitting of a new session. It keeps the scorers' answers if they are
    /// [reported](Self::report_answers), or if their times are [recorded](Self::record_timings).
    pub(crate) fn sitting(&self) -> Sitting {
        let sitting = Sitting::new();
        if self.reports_answers || self.records_timings {
            sitting.report_answers()
        } else {
            sitting
        }
    }

    /// Asks the panel, and reports each scorer's answer ([`Event::Scored`]) and the verdict
    /// ([`Event::Judged`]) to the observers. See [`Panel::ask`].
    pub(crate) async fn ask(
        &self,
        terms: &Terms<R>,
        subject: Subject<'_>,
        (tally, reported): (&mut Tally, Option<&mut Reported>),
        sitting: &mut Sitting,
    ) -> Verdict {
        let verdict = terms.judge.ask(&self.runtime, subject, tally, sitting).await;
        if self.is_observed() {
            let (id, peer, stage) = (&subject.id(), subject.peer(), subject.stage());
            if self.reports_answers {
                let answers = sitting.answers().iter();
                self.observers.observe_each(answers.map(|answer| Event::Scored {
                    id,
                    stage,
                    answer,
                }));
            }
            if let Some(reported) = reported {
                if self.records_timings {
                    reported.time(stage, sitting.answers());
                }
                if let Subject::Content(envelope, message) = subject
                    && !self.recorded_fields.is_empty()
                {
                    reported.copy_fields(&self.recorded_fields, envelope, message);
                }
            }
            let (recipient, verdict) = (subject.recipient(), &verdict);
            // The answers may be kept only for their times.
            let answers = if self.reports_answers { sitting.answers() } else { &[] };
            self.observe(&Event::Judged {
                id,
                peer,
                stage,
                recipient,
                subject,
                tally,
                verdict,
                answers,
            });
        }
        tally.settle();
        verdict
    }
}
