//! Replays with another policy.

use nobounce::panel::{FailurePolicy, Seat, Weights};
use nobounce::recording::{Decided, RecordedSession, RecorderSettings, Sample};
use nobounce::replay::{ReplayedTransaction, policy};
use nobounce::{
    ConnectContext, DataContext, Finding, Opinion, Panel, RcptContext, Refusal, Score, Scorer,
    ScorerError, Thresholds, async_trait,
};

use super::gate::{Pieces, Recorded, client};

/// A scorer that says what addresses tell it to.
struct Told(&'static str);

#[async_trait]
impl Scorer for Told {
    fn name(&self) -> &str {
        self.0
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(Finding::new("CLIENT", Score::points(1)).into())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let to = at.recipient.path.to_string();
        if to.contains("fails") {
            return Err(ScorerError::new("no answer"));
        }
        let score = if to.contains("bad") { 6 } else { 0 };
        Ok(Finding::new("RECIPIENT", Score::points(score)).into())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let sender = at.envelope.reverse_path.path.to_string();
        if sender.contains("refused") {
            let status = nobounce::reply::EnhancedStatus::new(7, 1);
            return Ok(Refusal::permanent(550, status, "No").into());
        }
        Ok(Finding::new("CONTENT", Score::points(3)).into())
    }
}

fn seat(name: &'static str) -> Seat {
    Seat::new(Told(name)).on_failure(FailurePolicy::Defer)
}

fn panel() -> Panel {
    Panel::new().seat(seat("told"))
}

/// Records a mail with this sender and these recipients.
fn record(from: &str, to: &[&str]) -> RecordedSession {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    let recorded = Recorded::new(panel(), settings);
    let from = format!("MAIL FROM:<{from}@b.example>\r\n");
    let to: Vec<String> = to.iter().map(|to| format!("RCPT TO:<{to}@d.example>\r\n")).collect();
    let to = to.iter().map(String::as_str);
    let begin = ["EHLO x\r\n", from.as_str()].into_iter();
    let rest = ["DATA\r\n", "x: y\r\n\r\n.\r\n", "QUIT\r\n"];
    let texts: Vec<&str> = begin.chain(to).chain(rest).collect();
    recorded.session(client(), &texts, Pieces::Whole);
    recorded.sessions().remove(0)
}

fn replayed(panel: Panel, session: &RecordedSession) -> ReplayedTransaction {
    policy(&panel, session).remove(0)
}

fn thresholds(refuse: i32) -> Thresholds {
    Thresholds::new(None, None, Some(Score::points(refuse))).unwrap()
}

#[test]
fn the_same_policy_gives_the_same_verdicts() {
    use Decided::{Defer, Pass, Refuse};
    for (from, to, expected) in [
        ("a", &["c"][..], Pass),
        ("a", &["bad"], Refuse),
        ("a", &["c", "bad"], Refuse),
        ("a", &["fails"], Defer),
        ("refused", &["c"], Refuse),
        ("a", &["nobody", "c"], Pass),
    ] {
        let session = record(from, to);
        let again = replayed(panel(), &session);
        assert_eq!((again.recorded(), again.replayed()), (expected, expected), "{from} {to:?}");
        for question in &again.questions {
            assert_eq!(question.recorded.score, question.replayed.score, "{question:?}");
            assert!(question.unasked.is_empty() && question.before.is_empty());
        }
    }
}

#[test]
fn each_part_of_a_policy_changes_the_verdict() {
    use Decided::{Defer, Pass, Refuse, Tag};
    let weights = |symbol, points| Weights::new().weigh("told", symbol, Score::points(points));
    let tag = Thresholds::new(Some(Score::points(4)), None, None).unwrap();
    let defer = Thresholds::new(None, Some(Score::points(4)), None).unwrap();
    for (from, to, panel, expected) in [
        ("a", "c", panel().thresholds(thresholds(4)), Refuse),
        ("a", "c", panel().thresholds(tag), Tag),
        ("a", "c", panel().thresholds(defer), Defer),
        ("a", "c", panel().weights(weights("CONTENT", 9)), Refuse),
        ("a", "c", Panel::new().seat(seat("told").scale(200)), Refuse),
        ("a", "bad", panel().weights(weights("RECIPIENT", 0)), Pass),
        ("a", "bad", panel().monitor(), Pass),
        ("a", "bad", Panel::new().seat(seat("told").monitor()), Pass),
        ("a", "fails", Panel::new().seat(seat("told").on_failure(FailurePolicy::Ignore)), Pass),
        (
            "a",
            "fails",
            Panel::new().seat(seat("told").on_failure(FailurePolicy::Score(Score::points(7)))),
            Refuse,
        ),
        ("refused", "c", Panel::new().seat(seat("told").monitor()), Pass),
        ("refused", "c", Panel::new().seat(seat("another")), Pass),
    ] {
        let session = record(from, &[to]);
        assert_eq!(replayed(panel, &session).replayed(), expected, "{from} {to}");
    }
}

#[test]
fn changes_are_explained_by_symbols_and_scorers() {
    let session = record("a", &["c", "fails"]);
    let weights = Weights::new().weigh("told", "CONTENT", Score::points(9));
    let panel = panel().weights(weights).seat(seat("added"));
    let again = replayed(panel, &session);
    let changed = again.questions.iter().find(|it| it.recorded.verdict != it.replayed.verdict);
    let changed = changed.unwrap();
    let score = |findings: &[(std::sync::Arc<str>, Box<str>, Score)]| {
        findings.iter().find(|it| &*it.1 == "CONTENT").map(|it| it.2)
    };
    assert_eq!(score(&changed.before), Some(Score::points(3)));
    assert_eq!(score(&changed.counted), Some(Score::points(9)));
    assert_eq!(changed.before.iter().map(|it| it.2).sum::<Score>(), changed.recorded.score);
    let unasked: Vec<&str> = changed.unasked.iter().map(|name| &**name).collect();
    assert_eq!(unasked, ["added"]);
    let failed = again.questions.iter().flat_map(|it| &it.failed);
    assert_eq!(failed.map(|name| &**name).collect::<Vec<_>>(), ["told"]);
}

/// Prints how many sessions are replayed in a second: `.ci/run` shows it.
#[test]
#[ignore = "a figure"]
#[allow(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "a figure")]
fn a_hundred_thousand_sessions_are_replayed_in_a_second() {
    use std::time::Instant;
    let session = record("a", &["c", "bad"]);
    let lines = session.to_string().repeat(50_000);
    let panel = panel().thresholds(thresholds(4));
    let began = Instant::now();
    let read: Vec<_> =
        nobounce::recording::Recording::new(lines.as_bytes()).map(Result::unwrap).collect();
    let reading = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let refused = read.iter().flat_map(|session| policy(&panel, session));
    assert_eq!(refused.filter(|it| it.replayed() == Decided::Refuse).count(), read.len());
    let judging = began.elapsed().as_secs_f64();
    let rate = |seconds: f64| read.len() as f64 / seconds;
    println!(
        "{:.0} sessions a second judged, {:.0} read ({} octets each), {:.0} read and judged",
        rate(judging),
        rate(reading),
        lines.len() / read.len(),
        rate(reading + judging)
    );
}
