//! Events of verdicts, and decision logic in place of a panel.

use std::sync::Mutex;

use super::*;
use crate::opinion::{Opinion, ScorerError};
use crate::panel::{Judge, Panel, Sitting};
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, RcptContext, Scorer, SessionScorer};
use crate::session::TransactionEnd;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};

/// A scorer that refuses recipients at `trap`.
struct Trap;

#[async_trait]
impl Scorer for Trap {
    fn name(&self) -> &str {
        "trap"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let trapped = at.recipient.path.address().starts_with(b"trap");
        Ok(trapped.then(|| Finding::new("TRAP", Score::points(9))).into())
    }
}

fn heard_by(runtime: &Rehearsal, gate: &Gate<Rehearsal>, says: &str) -> String {
    let mut heard = Vec::new();
    let mut client = Client::new(says, &mut heard);
    // One line at a time.
    client.groups = says.split_inclusive("\r\n").map(str::len).collect();
    runtime.run(serve(client, peer(), gate)).unwrap();
    String::from_utf8(heard).unwrap()
}

const TRAPPED: &str =
    "HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<trap@d>\r\nRCPT TO:<c@d>\r\nRSET\r\nQUIT\r\n";

#[test]
fn findings_of_a_refused_recipient_are_observed_and_then_set_aside() {
    let runtime = Rehearsal::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let gate = gate(&runtime, &Slow::new(&runtime, false)).panel(Panel::new().scorer(Trap));
    let gate = gate.report_answers().observer(move |event| {
        log.lock().unwrap().extend(match event {
            Event::Scored { answer, stage, .. } => {
                let findings = answer.result.as_ref().unwrap().findings.len();
                Some(format!("scored {stage} {} {findings}", answer.scorer))
            }
            Event::Judged { stage, recipient, tally, verdict, .. } => {
                let to = recipient.map_or("-".into(), |to| to.path.to_string());
                let no = matches!(verdict, Verdict::Refuse(_));
                Some(format!("judged {stage} {to} {no} {}", tally.total()))
            }
            Event::Ended(record) => Some(format!("ended {}", record.tally.total())),
            _ => None,
        });
    });
    let heard = heard_by(&runtime, &gate, TRAPPED);
    assert!(heard.contains("550 5.7.1 Recipient refused"), "{heard}");
    assert_eq!(
        *told.lock().unwrap(),
        [
            "scored connect trap 0",
            "judged connect - false 0.00",
            "scored rcpt trap 1",
            "judged rcpt <trap@d> true 9.00",
            "scored rcpt trap 0",
            "judged rcpt <c@d> false 0.00",
            "ended 0.00",
        ]
    );
}

/// A judge that refuses everything that its panel accepts, or panics.
struct Contrary(Panel, bool);

#[async_trait]
impl<R: Runtime> Judge<R> for Contrary {
    async fn judge(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        let verdict = self.0.ask(runtime, subject, tally, sitting).await;
        assert!(!self.1 || subject.recipient().is_none(), "no judgement");
        match verdict {
            Verdict::Refuse(_) => Verdict::Pass,
            _ if subject.recipient().is_some() => {
                let no = crate::wire::reply::EnhancedStatus::new(7, 1);
                Verdict::Refuse(crate::verdict::Refusal::permanent(550, no, "Contrary"))
            }
            verdict => verdict,
        }
    }
}

#[test]
fn custom_judge_replaces_the_panel_and_its_panic_defers() {
    let runtime = Rehearsal::new();
    let gate_of = |panics| {
        let gate = gate(&runtime, &Slow::new(&runtime, false));
        gate.judge(Contrary(Panel::new().scorer(Trap), panics))
    };
    let records = Arc::new(Mutex::new(Vec::new()));
    let log = records.clone();
    let overruling = gate_of(false).observer(move |event| {
        if let Event::Ended(record) = event {
            let decisions = record.tally.decisions();
            let decisions: Vec<_> = decisions.map(|it| (it.acted, it.verdict.clone())).collect();
            log.lock().unwrap().push((record.tally.total(), decisions));
        }
    });
    let says = "HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<trap@d>\r\nRSET\r\nQUIT\r\n";
    let heard = heard_by(&runtime, &overruling, says);
    assert!(heard.contains("\r\n250 2.1.5 "), "the trap is taken: {heard}");
    assert!(heard.contains("\r\n550 5.7.1 Contrary"), "{heard}");
    // The judge accepts the recipient that the panel refused, so the findings about it count.
    let records = std::mem::take(&mut *records.lock().unwrap());
    let [(total, decisions)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(*total, Score::points(9));
    let acted: Vec<_> = decisions.iter().map(|(acted, _)| *acted).collect();
    assert_eq!(acted, [true, false], "the judge's refusal, then the panel's: {decisions:?}");
    let heard = heard_by(&runtime, &gate_of(true), TRAPPED);
    assert_eq!(heard.matches("\r\n451 4.3.0 Recipient cannot be checked").count(), 2, "{heard}");
}

/// A judge that asks its panel about connections only.
struct Incurious(Panel);

#[async_trait]
impl<R: Runtime> Judge<R> for Incurious {
    async fn judge(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        match subject {
            Subject::Connection(..) => self.0.ask(runtime, subject, tally, sitting).await,
            _ => Verdict::Pass,
        }
    }
}

#[test]
fn answers_are_reported_only_if_the_panel_was_asked() {
    let runtime = Rehearsal::new();
    let stages = Arc::new(Mutex::new(Vec::new()));
    let log = stages.clone();
    let gate = gate(&runtime, &Slow::new(&runtime, false))
        .judge(Incurious(Panel::new().scorer(Trap)))
        .report_answers()
        .observer(move |event| {
            if let Event::Scored { stage, .. } = event {
                log.lock().unwrap().push(*stage);
            }
        });
    heard_by(&runtime, &gate, TRAPPED);
    assert_eq!(*stages.lock().unwrap(), [Stage::Connect]);
}

/// A scorer that records the end of transactions and of the session.
struct Ends(Arc<Mutex<Vec<String>>>);

impl Scorer for Ends {
    fn name(&self) -> &str {
        "ends"
    }

    fn open(&self, at: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
        assert!(!at.session.to_string().is_empty());
        Some(Box::new(Ends(self.0.clone())))
    }
}

impl SessionScorer for Ends {
    fn transaction_ended(&mut self, end: &TransactionEnd) {
        self.0.lock().unwrap().push(end.cause.to_string());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("over".into());
    }
}

#[test]
fn session_scorer_learns_of_the_end_after_the_reply() {
    let runtime = Rehearsal::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let gate = gate(&runtime, &Slow::new(&runtime, false));
    let gate = gate.panel(Panel::new().scorer(Ends(told.clone()))).observer(move |event| {
        if let Event::Transmitted { octets, .. } = event
            && octets.windows(9).any(|it| it == b"queued as")
        {
            log.lock().unwrap().push("replied".into());
        }
    });
    let mail = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\nQUIT\r\n";
    heard_by(&runtime, &gate, mail);
    assert_eq!(*told.lock().unwrap(), ["replied", "accepted", "over"]);
}
