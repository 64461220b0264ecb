//! Scorers that keep state per session, and the record of their answers.

use std::sync::{Arc, Mutex};

use futures::FutureExt;

use super::*;
use crate::scorer::SessionScorer;
use crate::session::{EndCause, TransactionEnd};

/// The events of session scorers, in order.
type Diary = Arc<Mutex<Vec<String>>>;

/// A scorer that counts the questions of each session.
struct Counter {
    diary: Diary,
    /// The fault at the third question of a session or at the end of a transaction.
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Fails,
    Panics,
    Hangs,
    PanicsAtEnd,
    PanicsAtOpen,
    PanicsAtDrop,
}

struct Counted {
    diary: Diary,
    fault: Fault,
    asked: i32,
}

impl Scorer for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn open(&self, at: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
        assert!(self.fault != Fault::PanicsAtOpen, "at open");
        self.diary.lock().unwrap().push(format!("open {}", at.session));
        let (diary, fault) = (self.diary.clone(), self.fault);
        Some(Box::new(Counted { diary, fault, asked: 0 }))
    }
}

impl Counted {
    async fn ask(&mut self) -> Result<Opinion, ScorerError> {
        self.asked += 1;
        match self.fault {
            Fault::Fails if self.asked == 3 => Err(ScorerError::new("fails")),
            Fault::Panics if self.asked == 3 => panic!("panics"),
            Fault::Hangs if self.asked == 3 => std::future::pending().await,
            _ => Ok(hidden(&format!("N{}", self.asked), 100).into()),
        }
    }
}

#[async_trait]
impl SessionScorer for Counted {
    async fn on_connect(&mut self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.ask().await
    }

    async fn on_rcpt(&mut self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        self.ask().await
    }

    async fn on_data(&mut self, _: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        self.ask().await
    }

    fn transaction_ended(&mut self, end: &TransactionEnd) {
        assert!(self.fault != Fault::PanicsAtEnd, "at the end");
        self.diary.lock().unwrap().push(format!("ended {}", end.cause));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.diary.lock().unwrap().push(format!("closed after {}", self.asked));
        if self.fault == Fault::PanicsAtDrop {
            panic!("at drop");
        }
    }
}

fn end() -> TransactionEnd {
    TransactionEnd {
        envelope: rehearsal::envelope("<a@example.com>"),
        refused: Vec::new(),
        size: 0,
        cause: EndCause::Accepted,
        reply: None,
        duration: Duration::ZERO,
    }
}

fn panel(diary: &Diary, fault: Fault) -> Panel {
    let counter = Counter { diary: diary.clone(), fault };
    Panel::new().seat(Seat::new(counter).on_failure(FailurePolicy::Ignore))
}

fn told(diary: &Diary) -> Vec<String> {
    diary.lock().unwrap().drain(..).collect()
}

#[test]
fn a_scorer_keeps_state_for_a_session_and_learns_of_the_ends() {
    let (runtime, diary) = (Rehearsal::new(), Diary::default());
    // The first seat is a scorer without state.
    let panel = Panel::new().seat(seat(&runtime, "other", find(1)));
    let panel = panel.scorer(Counter { diary: diary.clone(), fault: Fault::None });
    let (mut sitting, mut other) = (Sitting::new(), Sitting::new());
    let mut tally = Tally::new();
    for stage in [Stage::Connect, Stage::Rcpt, Stage::Data] {
        ask_in(&runtime, &panel, stage, &mut tally, &mut sitting);
    }
    assert_eq!(
        tally.to_string(),
        "score=3.01 other:X=0.01 counter:N1=1.00 counter:N2=1.00 counter:N3=1.00"
    );
    sitting.transaction_ended(&end());
    assert_eq!(told(&diary), ["open test"], "the client has no reply yet");
    sitting.settle();
    assert_eq!(told(&diary), ["ended accepted"]);
    // A second session, in which the connection is not judged.
    let mut tally = Tally::new();
    ask_in(&runtime, &panel, Stage::Data, &mut tally, &mut other);
    assert_eq!(tally.to_string(), "score=1.01 other:X=0.01 counter:N1=1.00");
    sitting.transaction_ended(&end());
    ask_in(&runtime, &panel, Stage::Rcpt, &mut tally, &mut sitting);
    assert_eq!(told(&diary), ["open test", "ended accepted"], "before it is asked again");
    // The client changes within the session.
    ask_in(&runtime, &panel, Stage::Connect, &mut tally, &mut sitting);
    assert_eq!(told(&diary), ["closed after 4", "open test"]);
    other.transaction_ended(&end());
    drop((sitting, other));
    assert_eq!(told(&diary), ["closed after 1", "ended accepted", "closed after 1"]);
}

#[test]
fn a_session_scorer_that_panics_or_is_late_is_dropped_and_fails_from_then_on() {
    let lost = "its state for this session was lost";
    for (fault, first, later) in [
        (Fault::Fails, "failed: fails", None),
        (Fault::Panics, "panicked: panics", Some(lost)),
        (Fault::Hangs, "no answer within 30s", Some(lost)),
    ] {
        let (runtime, diary) = (Rehearsal::new(), Diary::default());
        let (panel, mut sitting) = (panel(&diary, fault), Sitting::new());
        let failure = |tally: Tally| tally.failures().next().map(|it| it.cause.to_string());
        for stage in [Stage::Connect, Stage::Rcpt] {
            ask_in(&runtime, &panel, stage, &mut Tally::new(), &mut sitting);
        }
        let mut tally = Tally::new();
        ask_in(&runtime, &panel, Stage::Data, &mut tally, &mut sitting);
        assert_eq!(failure(tally).as_deref(), Some(first));
        let closed = told(&diary).len() == 2;
        assert_eq!(closed, later.is_some(), "{fault:?}: dropped at once");
        for _ in 0..2 {
            let mut tally = Tally::new();
            ask_in(&runtime, &panel, Stage::Rcpt, &mut tally, &mut sitting);
            assert_eq!(failure(tally).as_deref(), later, "{fault:?}");
        }
        // A new client gets a new state.
        let mut tally = Tally::new();
        ask_in(&runtime, &panel, Stage::Connect, &mut tally, &mut sitting);
        assert_eq!(tally.to_string(), "score=1.00 counter:N1=1.00");
    }
}

#[test]
fn a_session_scorer_whose_question_is_given_up_is_dropped() {
    let (runtime, diary) = (Rehearsal::new(), Diary::default());
    let (panel, mut sitting) = (panel(&diary, Fault::Hangs), Sitting::new());
    for stage in [Stage::Connect, Stage::Rcpt] {
        ask_in(&runtime, &panel, stage, &mut Tally::new(), &mut sitting);
    }
    let (envelope, recipient) = (rehearsal::envelope("<a@example.com>"), rehearsal::recipient());
    let (subject, mut tally) = (Subject::Recipient(&envelope, &recipient), Tally::new());
    assert!(panel.ask(&runtime, subject, &mut tally, &mut sitting).now_or_never().is_none());
    ask_in(&runtime, &panel, Stage::Rcpt, &mut tally, &mut sitting);
    assert_eq!(told(&diary), ["open test", "closed after 3"]);
    assert!(matches!(tally.failures().next().unwrap().cause, FailureCause::StateLost));
}

#[test]
fn panics_at_the_edges_of_a_session_are_caught() {
    for (fault, expected) in [
        (Fault::PanicsAtOpen, Some("panicked: at open")),
        (Fault::PanicsAtEnd, Some("panicked: at the end")),
        (Fault::PanicsAtDrop, None),
    ] {
        let (runtime, diary) = (Rehearsal::new(), Diary::default());
        let (panel, mut sitting) = (panel(&diary, fault), Sitting::new());
        let mut tally = Tally::new();
        ask_in(&runtime, &panel, Stage::Connect, &mut tally, &mut sitting);
        sitting.transaction_ended(&end());
        sitting.settle();
        ask_in(&runtime, &panel, Stage::Data, &mut tally, &mut sitting);
        let cause = tally.failures().next().map(|failure| failure.cause.to_string());
        assert_eq!(cause.as_deref(), expected, "{fault:?}");
        drop(sitting);
    }
}

#[test]
fn a_sitting_holds_the_state_of_one_panel() {
    let runtime = Rehearsal::new();
    let (first, second) = (Diary::default(), Diary::default());
    let panels = [&first, &second].map(|diary| panel(diary, Fault::None));
    let (mut sitting, mut tally) = (Sitting::new(), Tally::new());
    for panel in &panels {
        ask_in(&runtime, panel, Stage::Data, &mut tally, &mut sitting);
    }
    for diary in [first, second] {
        assert!(diary.lock().unwrap()[0].starts_with("open "), "{diary:?}");
    }
    let symbols: Vec<_> = tally.entries().map(|entry| entry.finding.symbol()).collect();
    assert_eq!(symbols, ["N1"], "each scorer was asked for the first time");
}

#[test]
fn answers_are_reported_with_their_time_on_request() {
    let runtime = Rehearsal::new();
    let seconds = Duration::from_secs;
    let panel = Panel::new()
        .seat(seat_after(&runtime, "slow", find(250), seconds(3)).scale(200))
        .seat(seat(&runtime, "fast", Silent))
        .seat(seat(&runtime, "hung", Hang).budget(seconds(5)))
        .weights(Weights::new().weigh("slow", "X", Score::points(9)));
    let mut sitting = Sitting::new().report_answers();
    for _ in 0..2 {
        let mut tally = Tally::new();
        ask_in(&runtime, &panel, Stage::Data, &mut tally, &mut sitting);
        let told: Vec<_> = sitting.answers().iter().map(|it| (&*it.scorer, it.took)).collect();
        assert_eq!(told, [("slow", seconds(3)), ("fast", seconds(0)), ("hung", seconds(5))]);
        let first = sitting.answers()[0].result.as_ref().unwrap();
        assert_eq!(first.findings[0].score(), Score::hundredths(250), "as the scorer gave it");
        let entry = tally.entries().next().unwrap();
        assert_eq!(
            (entry.given, entry.finding.score()),
            (Score::hundredths(250), Score::points(9))
        );
    }
    let mut silent = Sitting::new();
    ask_in(&runtime, &panel, Stage::Data, &mut Tally::new(), &mut silent);
    assert!(silent.answers().is_empty());
}

#[test]
fn repeated_finding_is_kept_once_with_its_first_recipient() {
    let runtime = Rehearsal::new();
    let panel = Panel::new().seat(seat(&runtime, "a", find(100)));
    let (envelope, mut tally) = (rehearsal::envelope("<a@example.com>"), Tally::new());
    for to in ["<b@example.org>", "<c@example.org>"] {
        let recipient = crate::wire::mailbox::ForwardPath::parse(to).unwrap();
        let subject = Subject::Recipient(&envelope, &recipient);
        runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
    }
    ask_at(&runtime, &panel, Stage::Data, &mut tally);
    let about: Vec<_> = tally
        .entries()
        .map(|entry| entry.recipient.as_ref().map(|path| path.address().to_vec()))
        .collect();
    assert_eq!(about, [Some(b"b@example.org".to_vec()), None]);
}
