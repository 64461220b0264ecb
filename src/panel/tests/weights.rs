//! Scores and disclosures set by the site: scales, weights, disclosures.

use super::*;

#[test]
fn weights_override_scales_and_scorers() {
    let found = || Find(vec![hidden("A", 250), public("B", 101), hidden("C", -7)]);
    let weights = Weights::new()
        .weigh("a", "B", Score::points(9))
        .weigh("a", "UNSEEN", Score::points(99))
        .disclose("a", "A", Disclosure::Public)
        .disclose("a", "B", Disclosure::Private);
    let table = [
        (100, Weights::new(), "score=3.44 a:A=2.50 a:B=1.01 a:C=-0.07"),
        // Half a hundredth is rounded away from zero.
        (50, Weights::new(), "score=1.72 a:A=1.25 a:B=0.51 a:C=-0.04"),
        (0, Weights::new(), "score=0.00 a:A=0.00 a:B=0.00 a:C=0.00"),
        (1000, Weights::new(), "score=34.40 a:A=25.00 a:B=10.10 a:C=-0.70"),
        (40, weights, "score=9.97 a:A=1.00 a:B=9.00 a:C=-0.03"),
    ];
    for (percent, weights, expected) in table {
        let runtime = Rehearsal::new();
        let seat = seat(&runtime, "a", found()).scale(percent);
        let (_, tally) = ask(&runtime, &Panel::new().weights(weights).seat(seat));
        assert_eq!(tally.to_string(), expected);
    }
}

#[test]
fn public_findings_are_in_the_reply() {
    let weights = Weights::new().disclose("a", "SECRET", Disclosure::Public).disclose(
        "a",
        "OPEN",
        Disclosure::Private,
    );
    let runtime = Rehearsal::new();
    let panel = Panel::new().weights(weights).seat(seat(
        &runtime,
        "a",
        Find(vec![hidden("SECRET", 500), public("OPEN", 500)]),
    ));
    assert_eq!(ask(&runtime, &panel).0, "550 5.7.1 Message refused: SECRET");
}

#[test]
fn weight_of_a_failure_is_configurable() {
    let runtime = Rehearsal::new();
    let failing = seat(&runtime, "a", Fail).scale(10);
    let failing = failing.on_failure(FailurePolicy::Score(Score::points(1)));
    let (_, tally) = ask(&runtime, &Panel::new().seat(failing));
    // The score of the failure policy is not scaled.
    assert_eq!(tally.to_string(), "score=1.00 a:A_FAILED=1.00");
    let weights = Weights::new().weigh("a", "A_FAILED", Score::points(2));
    let failing = seat(&runtime, "a", Fail).on_failure(FailurePolicy::Score(Score::points(1)));
    let (_, tally) = ask(&runtime, &Panel::new().weights(weights).seat(failing));
    assert_eq!(tally.to_string(), "score=2.00 a:A_FAILED=2.00");
}

#[test]
fn findings_of_a_refusal_are_recorded() {
    let runtime = Rehearsal::new();
    let no = || seat(&runtime, "no", NoFor(hidden("WHY", 300)));
    let also = || seat(&runtime, "also", Find(vec![hidden("ALSO", 10)]));
    for (seat, verdict, monitored) in
        [(no(), "550 5.7.1 no", false), (no().monitor(), "pass", true)]
    {
        let (said, tally) = ask(&runtime, &Panel::new().seat(seat.scale(50)).seat(also()));
        assert_eq!(said, verdict);
        let entries: Vec<_> =
            tally.entries().map(|it| (it.finding.symbol(), it.monitored)).collect();
        assert_eq!(entries, [("WHY", monitored), ("ALSO", false)]);
        assert_eq!(tally.total(), Score::hundredths(if monitored { 10 } else { 160 }));
        let objection = tally.objections().next().unwrap();
        assert_eq!((&*objection.scorer, objection.monitored), ("no", monitored));
    }
}

#[test]
fn weights_apply_to_one_scorer_and_unmatched_weights_are_listed() {
    struct Closed;
    impl Scorer for Closed {
        fn name(&self) -> &str {
            "closed"
        }

        fn symbols(&self) -> Option<Vec<&str>> {
            Some(vec!["A", "B C"])
        }
    }
    let runtime = Rehearsal::new();
    let one = Score::points(1);
    let weights = ["A", "B_C", "B", "CLOSED_FAILED", "OTHER_FAILED"]
        .into_iter()
        .fold(Weights::new(), |weights, symbol| weights.weigh("closed", symbol, one))
        .weigh("a", "X", Score::points(2))
        .weigh("a", "Y", one)
        .weigh("absent", "X", one)
        .disclose("absent", "Z", Disclosure::Public);
    let panel = Panel::new()
        .scorer(Closed)
        .seat(seat(&runtime, "a", find(300)))
        .seat(seat(&runtime, "b", find(300)))
        .weights(weights.clone());
    let unknown: Vec<_> = panel.unknown_weights().collect();
    assert_eq!(
        unknown,
        [("absent", "X"), ("absent", "Z"), ("closed", "B"), ("closed", "OTHER_FAILED")]
    );
    assert!(weights.unmatched().any(|it| it == ("a", "X")));
    assert_eq!(ask(&runtime, &panel).1.to_string(), "score=5.00 a:X=2.00 b:X=3.00");
    assert!(!weights.unmatched().any(|it| it == ("a", "X")));
    assert!(weights.unmatched().any(|it| it == ("a", "Y")));
}
