use std::time::Duration;

use super::*;
use crate::rehearsal::envelope;
use crate::score::Finding;
use crate::tally::{Entry, Objection};
use crate::verdict::{Refusal, Stage};
use crate::wire::reply::{EnhancedStatus, ReplyCode};

const NO: EnhancedStatus = EnhancedStatus::new(7, 1);

fn reply(code: u16) -> Reply {
    Reply::new(ReplyCode::new(code).unwrap(), NO, "x")
}

/// Symbols that start with `REPUTATION` come from a learner, others do not.
fn found(symbol: &str, points: i32) -> Entry {
    let scorer = if symbol.starts_with("REPUTATION") { "learner" } else { "x" };
    let finding = Finding::new(symbol, Score::points(points));
    Entry {
        scorer: scorer.into(),
        stage: Stage::Data,
        given: finding.score(),
        finding,
        recipient: None,
        monitored: false,
        aside: false,
    }
}

fn lesson(
    cause: EndCause,
    content: Option<u16>,
    tally: &Tally,
    onward: &[u16],
) -> (Impression, u32) {
    let end = TransactionEnd {
        envelope: envelope("<a@example.org>"),
        refused: Vec::new(),
        size: 0,
        cause,
        reply: content.map(reply),
        duration: Duration::ZERO,
    };
    let onward: Vec<_> = onward.iter().map(|code| reply(*code)).collect();
    let Lesson { impression, strangers, .. } = Lesson::of(&end, tally, &onward, &["learner"]);
    (impression, strangers)
}

#[test]
fn lessons_are_derived_from_the_outcome() {
    use EndCause::{Accepted, ClientLost, RefusedByPanel, RefusedByRelay, RelayFailed, Reset};
    use Impression::{Bad, Good, Unknown};
    let tally = |entries: &[(&str, i32)]| {
        let mut tally = Tally::new();
        entries.iter().for_each(|(symbol, points)| tally.enter(found(symbol, *points)));
        tally
    };
    let clean = &tally(&[("X", 4)]);
    let spam = &tally(&[("X", 3), ("Y", 2)]);
    // Findings of learners do not change the impression.
    let known_bad = &tally(&[("REPUTATION_ADDRESS", 9), ("REPUTATION_NETWORK", 9), ("X", 4)]);
    let known_good = &tally(&[("REPUTATION_ADDRESS", -9), ("X", 5)]);
    type Row<'t> = (EndCause, Option<u16>, &'t Tally, &'t [u16], (Impression, u32));
    let table: &[Row<'_>] = &[
        (Accepted, Some(250), clean, &[250, 250], (Good, 0)),
        (Accepted, Some(250), clean, &[550, 250, 550, 250], (Good, 2)),
        (Accepted, Some(250), spam, &[250, 250], (Bad, 0)),
        (Accepted, Some(250), known_bad, &[250, 250], (Good, 0)),
        (Accepted, Some(250), known_good, &[250, 250], (Bad, 0)),
        (RefusedByPanel, Some(550), spam, &[250], (Bad, 0)),
        // Refused only because of a learner's findings, or with a transient reply.
        (RefusedByPanel, Some(550), known_bad, &[250], (Unknown, 0)),
        (RefusedByPanel, Some(451), clean, &[250], (Unknown, 0)),
        (RefusedByRelay, Some(550), clean, &[250, 550], (Bad, 0)),
        (RefusedByRelay, Some(550), clean, &[550, 250, 550], (Bad, 1)),
        (RefusedByRelay, Some(451), clean, &[550, 250, 451], (Unknown, 1)),
        (RelayFailed, Some(451), clean, &[250], (Unknown, 0)),
        (RelayFailed, Some(451), spam, &[250], (Bad, 0)),
        (Reset, None, clean, &[550, 550, 451], (Unknown, 2)),
        (ClientLost, None, clean, &[], (Unknown, 0)),
    ];
    for (cause, content, tally, onward, expected) in table {
        let learned = lesson(*cause, *content, tally, onward);
        assert_eq!(learned, *expected, "{cause} {content:?} {tally} {onward:?}");
    }
}

#[test]
fn permanent_refusal_of_an_unmonitored_scorer_is_a_bad_outcome() {
    for (refusal, monitored, expected) in [
        (Refusal::permanent(550, NO, "no"), false, Impression::Bad),
        (Refusal::permanent(550, NO, "no"), true, Impression::Good),
        (Refusal::transient(451, NO, "no"), false, Impression::Good),
    ] {
        let mut tally = Tally::new();
        let scorer = "x".into();
        tally.object(Objection { scorer, stage: Stage::Rcpt, refusal, monitored });
        assert_eq!(lesson(EndCause::Accepted, Some(250), &tally, &[]).0, expected);
    }
}

/// A learner that counts lessons, and fails after the second.
struct Counts(Arc<AtomicU64>);

#[async_trait]
impl Learner for Counts {
    async fn learn(&self, _: &Lesson) -> Result<(), ScorerError> {
        if self.0.fetch_add(1, Ordering::Relaxed) < 2 {
            Ok(())
        } else {
            Err(ScorerError::new("full"))
        }
    }
}

#[test]
fn lessons_are_learned_until_the_observer_is_gone_and_lost_ones_are_counted() {
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let learner = |count: &Arc<AtomicU64>| -> Box<dyn Learner> { Box::new(Counts(count.clone())) };
    let (lessons, learning) = Lessons::for_learners(counts.iter().map(learner).collect());
    let peer = envelope("<a@example.org>").peer;
    let lesson = Lesson { peer, impression: Impression::Good, strangers: 0 };
    (0..3).for_each(|_| lessons.give(lesson.clone()));
    let mut learning = Box::pin(learning);
    assert!(futures::FutureExt::now_or_never(&mut learning).is_none());
    assert_eq!(counts.each_ref().map(|count| count.load(Ordering::Relaxed)), [3, 3]);
    assert_eq!(lessons.lost(), 2);

    // Nothing is delivered, so the queue fills up. The channel has one extra slot.
    (0..2 * WAITING).for_each(|_| lessons.give(lesson.clone()));
    assert_eq!(lessons.lost(), 2 + WAITING as u64 - 1);
    drop(lessons);
    pollster::block_on(learning);
    let all = 3 + WAITING as u64 + 1;
    assert_eq!(counts.each_ref().map(|count| count.load(Ordering::Relaxed)), [all, all]);
}
