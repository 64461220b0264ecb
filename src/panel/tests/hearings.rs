//! Scorers run concurrently and within their budgets, also if they panic or hang.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use futures::channel::oneshot;
use proptest::prelude::*;

use super::*;

#[test]
fn failure_policy_is_applied() {
    let late = "no answer within 30s";
    let failures = [
        (Fail, "failed: the secret table is corrupt"),
        (Panic, "panicked: attempt to divide by zero"),
        (Hang, late),
        (Break, late),
    ];
    let policies = [
        (None, UNCHECKED, "score=0.00"),
        (Some(FailurePolicy::Defer), UNCHECKED, "score=0.00"),
        (Some(FailurePolicy::Ignore), "pass", "score=0.00"),
        (Some(FailurePolicy::Score(Score::points(1))), "pass", "score=1.00 a:A_FAILED=1.00"),
        (Some(FailurePolicy::Score(Score::points(9))), UNWANTED, "score=9.00 a:A_FAILED=9.00"),
    ];
    for (act, cause) in failures {
        for (policy, expected, counted) in policies {
            for after in [0, 1] {
                let runtime = Rehearsal::new();
                let (act, after) = (act.clone(), Duration::from_secs(after));
                let seat = seat_after(&runtime, "a", act, after);
                let seat = match policy {
                    Some(policy) => seat.on_failure(policy),
                    None => seat,
                };
                let (verdict, tally) = ask(&runtime, &Panel::new().seat(seat));
                assert_eq!((verdict.as_str(), tally.to_string().as_str()), (expected, counted));
                let failure = tally.failures().next().unwrap();
                assert_eq!(failure.cause.to_string(), cause);
                assert_eq!(failure.policy, policy.unwrap_or_default());
                let took = if cause == late { Duration::from_secs(30) } else { after };
                assert_eq!(runtime.elapsed(), took);
            }
        }
    }
}

/// A scorer that panics before it returns a future.
struct Hasty;

impl Scorer for Hasty {
    fn name(&self) -> &str {
        "hasty"
    }

    fn on_connect<'s, 'a, 'c, 'f>(
        &'s self,
        _: &'a ConnectContext<'c>,
    ) -> Pin<Box<dyn Future<Output = Result<Opinion, ScorerError>> + Send + 'f>>
    where
        's: 'f,
        'a: 'f,
        'c: 'f,
    {
        panic!("too soon")
    }
}

#[test]
fn panic_before_the_future_is_a_failure() {
    let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
    let panel = Panel::new().scorer(Hasty);
    let verdict = ask_at(&runtime, &panel, Stage::Connect, &mut tally);
    assert!(matches!(verdict, Verdict::Refuse(refusal) if refusal.is_transient()));
    assert_eq!(tally.failures().next().unwrap().cause.to_string(), "panicked: too soon");
    assert_eq!(ask_at(&runtime, &panel, Stage::Data, &mut tally), Verdict::Pass);
}

#[test]
fn budgets() {
    let seconds = Duration::from_secs;
    // Time that the scorer takes, budget of the seat, budget of the stage. Then the expected
    // waiting time, and whether the answer counts. An answer exactly at the deadline counts.
    let table = [
        (seconds(0), seconds(0), None, seconds(0), true),
        (seconds(1), seconds(0), None, seconds(0), false),
        (seconds(29), SEAT_BUDGET, None, seconds(29), true),
        (seconds(30), SEAT_BUDGET, None, seconds(30), true),
        (seconds(31), SEAT_BUDGET, None, seconds(30), false),
        (seconds(90), seconds(100), None, STAGE_BUDGET, false),
        (seconds(5), seconds(3), Some(seconds(4)), seconds(3), false),
        (seconds(5), seconds(10), Some(seconds(4)), seconds(4), false),
        (seconds(1), Duration::MAX, Some(Duration::MAX), seconds(1), true),
    ];
    for (takes, budget, stage, waited, counts) in table {
        let runtime = Rehearsal::new();
        let slow = seat_after(&runtime, "slow", find(900), takes).budget(budget);
        let mut panel = Panel::new().seat(slow).seat(seat(&runtime, "quick", Silent));
        if let Some(stage) = stage {
            panel = panel.stage_budget(stage);
        }
        let (verdict, tally) = ask(&runtime, &panel);
        assert_eq!(verdict, if counts { UNWANTED } else { UNCHECKED }, "{takes:?}");
        assert_eq!(tally.failures().count(), usize::from(!counts));
        assert_eq!(runtime.elapsed(), waited);
    }
}

#[test]
fn panel_uses_at_most_one_timer() {
    let runtime = Rehearsal::new();
    let silent = |panel: Panel, name: &str| panel.seat(seat(&runtime, name, Silent));
    ask(&runtime, &["a", "b", "c"].into_iter().fold(Panel::new(), silent));
    assert_eq!(runtime.armed(), 0);

    let hanging = |panel: Panel, name: &str| panel.seat(seat(&runtime, name, Hang));
    ask(&runtime, &["a", "b", "c"].into_iter().fold(Panel::new(), hanging));
    assert_eq!((runtime.armed(), runtime.elapsed()), (1, SEAT_BUDGET));
}

/// A scorer that signals the next scorer and answers after the signal of the scorer before it.
struct Ring {
    name: &'static str,
    next: Mutex<Option<oneshot::Sender<()>>>,
    before: Mutex<Option<oneshot::Receiver<()>>>,
}

#[async_trait]
impl Scorer for Ring {
    fn name(&self) -> &str {
        self.name
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let next = self.next.lock().unwrap().take().unwrap();
        let before = self.before.lock().unwrap().take().unwrap();
        next.send(()).unwrap();
        before.await.map_err(ScorerError::new)?;
        Ok(hidden(self.name, 100).into())
    }
}

#[test]
fn scorers_run_side_by_side() {
    let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
    let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    // Each scorer waits for another one, in a cycle. They would never answer if they ran in
    // sequence.
    senders.rotate_right(1);
    let mut panel = Panel::new();
    for ((name, next), before) in ["a", "b", "c"].into_iter().zip(senders).zip(receivers) {
        let (next, before) = (Mutex::new(Some(next)), Mutex::new(Some(before)));
        panel = panel.scorer(Ring { name, next, before });
    }
    assert_eq!(ask_at(&runtime, &panel, Stage::Connect, &mut tally), Verdict::Pass);
    assert_eq!(tally.to_string(), "score=3.00 a:a=1.00 b:b=1.00 c:c=1.00");
    assert_eq!(runtime.elapsed(), Duration::ZERO);
}

#[test]
fn slowest_of_thirty_scorers_determines_the_time() {
    let runtime = Rehearsal::new();
    let panel = (1..=30).fold(Panel::new().thresholds(Thresholds::none()), |panel, n| {
        let (symbol, after) = (hidden(&format!("S{n}"), n), Duration::from_millis(100 * n as u64));
        panel.seat(seat_after(&runtime, "actor", Find(vec![symbol]), after))
    });
    let (_, tally) = ask(&runtime, &panel);
    assert_eq!(runtime.elapsed(), Duration::from_secs(3));
    assert_eq!(tally.entries().count(), 30);
    assert_eq!(tally.total(), Score::hundredths((1..=30).sum()));
}

#[test]
fn a_verdict_may_be_awaited_on_any_thread() {
    fn send<F: Future + Send>(_: F) {}
    let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
    let (session, peer) = (rehearsal::session(), rehearsal::peer());
    send(Panel::new().ask(
        &runtime,
        Subject::Connection(&session, &peer),
        &mut tally,
        &mut Sitting::new(),
    ));
}

fn any_act() -> impl Strategy<Value = Act> {
    let finding = (0..4_u8, -300..400_i32, any::<bool>());
    let finding = finding.prop_map(|(symbol, score, told)| {
        let disclosure = if told { Disclosure::Public } else { Disclosure::Private };
        hidden(&format!("S{symbol}"), score).with_disclosure(disclosure)
    });
    prop_oneof![
        1 => Just(Silent),
        3 => prop::collection::vec(finding, 0..4).prop_map(Find),
        1 => prop_oneof![Just(450), Just(451), Just(550), Just(554)].prop_map(No),
        1 => Just(Fail),
        1 => Just(Panic),
    ]
}

fn any_policy() -> impl Strategy<Value = FailurePolicy> {
    prop_oneof![
        Just(FailurePolicy::Ignore),
        Just(FailurePolicy::Score(Score::points(2))),
        Just(FailurePolicy::Defer),
    ]
}

proptest! {
    /// The order of the answers does not change verdict and tally.
    #[test]
    fn order_of_answers_does_not_change_the_verdict(
        acts in prop::collection::vec((any_act(), any_policy(), any::<bool>(), 0..30_u64), 0..6),
        stage in prop_oneof![Just(Stage::Connect), Just(Stage::Rcpt), Just(Stage::Data)],
    ) {
        let hear = |delayed: bool| {
            let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
            let seats = acts.iter().map(|(act, policy, monitored, after)| {
                let after = Duration::from_secs(if delayed { *after } else { 0 });
                let seat = seat_after(&runtime, "x", act.clone(), after).on_failure(*policy);
                if *monitored { seat.monitor() } else { seat }
            });
            let panel = seats.fold(Panel::new(), Panel::seat);
            let verdict = ask_at(&runtime, &panel, stage, &mut tally);
            (verdict, format!("{tally:?}"))
        };
        prop_assert_eq!(hear(true), hear(false));
    }
}

/// A scorer that panics when asked for its name.
struct Nameless;

#[async_trait]
impl Scorer for Nameless {
    fn name(&self) -> &str {
        panic!("no name")
    }
}

#[test]
fn a_panic_at_the_name_leaves_a_scorer_without_one() {
    let panel = Panel::new().scorer(Nameless).scorer(Nameless);
    let names: Vec<_> = panel.seats.iter().map(|seat| &*seat.name).collect();
    assert_eq!(names, ["unnamed", "unnamed-2"]);
}
