//! From answers to a verdict, and the replies and header fields that report it.

use super::*;

#[test]
fn empty_tally_passes() {
    let runtime = Rehearsal::new();
    let strict = Thresholds::new(None, None, Some(Score::points(-1))).unwrap();
    for panel in [Panel::new(), Panel::from(()), Panel::new().thresholds(strict)] {
        for stage in [Stage::Connect, Stage::Rcpt, Stage::Data] {
            assert_eq!(ask_at(&runtime, &panel, stage, &mut Tally::new()), Verdict::Pass);
        }
    }
}

#[test]
fn thresholds_apply_to_the_sum() {
    let t = |tag: Option<i32>, defer: Option<i32>, refuse: Option<i32>| {
        let score = |hundredths: Option<i32>| hundredths.map(Score::hundredths);
        Thresholds::new(score(tag), score(defer), score(refuse)).unwrap()
    };
    let default = Thresholds::default();
    let all = t(Some(100), Some(200), Some(300));
    let tag = |score: &str, required: &str| {
        format!("X-Nobounce-Status: Yes, score={score} required={required} symbols=a:X={score}")
    };
    let deferred = "451 4.7.1 Message deferred as suspicious, try again later";
    let table = [
        (default, 499, "pass"),
        (default, 500, &tag("5.00", "5.00")),
        (default, 630, &tag("6.30", "5.00")),
        (default, 631, UNWANTED),
        (default, i32::MAX, UNWANTED),
        (default, i32::MIN, "pass"),
        (all, 99, "pass"),
        (all, 100, &tag("1.00", "1.00")),
        (all, 199, &tag("1.99", "1.00")),
        (all, 200, deferred),
        (all, 299, deferred),
        (all, 300, UNWANTED),
        // Among equal thresholds the strictest applies.
        (t(Some(100), Some(100), Some(100)), 100, UNWANTED),
        (t(Some(100), Some(100), None), 100, deferred),
        (t(Some(-100), None, None), -100, &tag("-1.00", "-1.00")),
        (Thresholds::none(), i32::MAX, "pass"),
    ];
    for (thresholds, found, expected) in table {
        let runtime = Rehearsal::new();
        let seat = seat(&runtime, "a", find(found));
        let (verdict, tally) = ask(&runtime, &Panel::new().thresholds(thresholds).seat(seat));
        assert_eq!(verdict, expected, "{found} against {thresholds:?}");
        assert_eq!(tally.decisions().count(), usize::from(expected != "pass"));
    }
}

#[test]
fn thresholds_ascend() {
    let score = |points: i32| (points > 0).then_some(Score::points(points));
    for tag in 0..4 {
        for defer in 0..4 {
            for refuse in 0..4 {
                let given = [tag, defer, refuse];
                let there: Vec<_> = given.into_iter().filter(|points| *points > 0).collect();
                let made = Thresholds::new(score(tag), score(defer), score(refuse));
                assert_eq!(made.is_ok(), there.is_sorted(), "{given:?}");
            }
        }
    }
    let error = Thresholds::new(score(3), None, score(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the threshold 3.00 is above the stricter threshold 2.00; expected tag, defer and refuse in ascending order"
    );
}

#[test]
fn the_reply_fits_the_stage() {
    let table = [
        (Stage::Connect, find(1000), "554 5.7.1 Connection refused as unwanted"),
        (Stage::Rcpt, find(1000), "550 5.7.1 Recipient refused as unwanted"),
        (Stage::Data, find(1000), UNWANTED),
        (Stage::Connect, find(550), "421 4.7.1 Connection deferred as suspicious, try again later"),
        (Stage::Rcpt, find(550), "451 4.7.1 Recipient deferred as suspicious, try again later"),
        (Stage::Connect, Fail, "421 4.3.0 Connection cannot be checked now, try again later"),
        (Stage::Rcpt, Fail, "451 4.3.0 Recipient cannot be checked now, try again later"),
        (Stage::Data, Fail, UNCHECKED),
        // The tag threshold has no effect before the DATA stage.
        (Stage::Connect, find(520), "pass"),
        (Stage::Rcpt, find(520), "pass"),
        // The reply of a scorer is not changed.
        (Stage::Connect, No(550), "550 5.7.1 a"),
    ];
    for (stage, act, expected) in table {
        let thresholds = [500, 550, 1000].map(|score| Some(Score::hundredths(score)));
        let [tag, defer, refuse] = thresholds;
        let runtime = Rehearsal::new();
        let panel = Panel::new()
            .thresholds(Thresholds::new(tag, defer, refuse).unwrap())
            .seat(seat(&runtime, "a", act));
        let verdict = ask_at(&runtime, &panel, stage, &mut Tally::new());
        assert_eq!(print(&verdict), expected, "{stage}");
    }
}

#[test]
fn a_refusal_names_what_is_public() {
    let listed = || public("DNSBL", 400).with_detail("192.0.2.1 on bl.example");
    let table = [
        (vec![public("GTUBE", 100_000)], "Message refused: GTUBE"),
        (vec![hidden("SECRET", 1000)], "Message refused as unwanted"),
        (
            vec![listed(), hidden("SECRET", 1000)],
            "Message refused: DNSBL (192.0.2.1 on bl.example)",
        ),
        (
            vec![public("B", 500), listed(), public("GOOD", -50), public("NONE", 0)],
            "Message refused: B; DNSBL (192.0.2.1 on bl.example)",
        ),
        (vec![public("A", 1000).with_detail("x\r\n250 OK é")], "Message refused: A (x  250 OK ??)"),
    ];
    for (findings, expected) in table {
        let runtime = Rehearsal::new();
        let (verdict, _) = ask(&runtime, &Panel::new().seat(seat(&runtime, "a", Find(findings))));
        assert_eq!(verdict, format!("550 5.7.1 {expected}"));
    }
}

#[test]
fn a_tag_lists_what_counts() {
    let runtime = Rehearsal::new();
    let panel = Panel::new()
        .seat(seat(&runtime, "a", Find(vec![public("A", 300), hidden("WEIGHTLESS", 0)])))
        .seat(seat(&runtime, "b", Find(vec![hidden("SECRET", 250), hidden("GOOD", -10)])))
        .seat(seat(&runtime, "c", Find(vec![hidden("WATCHED", 1)])).monitor());
    let (verdict, _) = ask(&runtime, &panel);
    let symbols = "a:A=3.00, a:WEIGHTLESS=0.00, b:SECRET=2.50, b:GOOD=-0.10";
    assert_eq!(
        verdict,
        format!("X-Nobounce-Status: Yes, score=5.40 required=5.00 symbols={symbols}")
    );

    // With any number of symbols, the size of the field and of its lines stays within the limits.
    let many = (0..1000).map(|n| hidden(&format!("{}_{n}", "S".repeat(50)), 0));
    let many = many.chain([hidden("X", 500)]).collect();
    let panel = Panel::new().seat(seat(&runtime, "a", Find(many)));
    let verdict = ask_at(&runtime, &panel, Stage::Data, &mut Tally::new());
    let Verdict::Tag(fields) = verdict else { panic!("{verdict:?}") };
    let field = str::from_utf8(fields[0].octets()).unwrap();
    assert_eq!(field.matches("SSS_").count(), thresholds::SYMBOLS);
    assert!(field.lines().all(|line| line.len() <= 78));
}

#[test]
fn refusals_take_precedence_over_scores_and_failures() {
    let evidence = || find(1000);
    let table = [
        (vec![No(550), No(554)], "550 5.7.1 a"),
        (vec![No(451), No(554)], "554 5.7.1 b"),
        (vec![No(451), No(450)], "451 4.7.1 a"),
        (vec![Fail, No(450)], UNCHECKED),
        (vec![No(450), Fail], "450 4.7.1 a"),
        (vec![Fail, No(554)], "554 5.7.1 b"),
        // A scorer's refusal has priority over the score, even if it is milder: a failed scorer
        // might have lowered the score.
        (vec![evidence(), No(450)], "450 4.7.1 b"),
        (vec![evidence(), Fail], UNCHECKED),
        (vec![evidence(), Silent], UNWANTED),
        (vec![Silent, Silent], "pass"),
    ];
    for (acts, expected) in table {
        let runtime = Rehearsal::new();
        let seats = ["a", "b"].into_iter().zip(acts.clone());
        let seats = seats.map(|(name, act)| seat(&runtime, name, act));
        let (verdict, tally) = ask(&runtime, &seats.fold(Panel::new(), Panel::seat));
        assert_eq!(verdict, expected, "{acts:?}");
        let said_no = acts.iter().filter(|act| matches!(act, No(_))).count();
        assert_eq!(tally.objections().count(), said_no);
    }
}

#[test]
fn monitored_scorer_is_recorded_without_effect() {
    let acts = [find(1000), No(550), No(450), Fail, Panic, Hang];
    for act in acts {
        for policy in [FailurePolicy::Defer, FailurePolicy::Score(Score::points(9))] {
            let runtime = Rehearsal::new();
            let watched = seat(&runtime, "new", act.clone()).on_failure(policy).monitor();
            let old = seat(&runtime, "old", Find(vec![hidden("OLD", 520)]));
            let (verdict, tally) = ask(&runtime, &Panel::new().seat(watched).seat(old));
            assert_eq!(
                verdict,
                "X-Nobounce-Status: Yes, score=5.20 required=5.00 symbols=old:OLD=5.20"
            );
            assert_eq!(tally.total(), Score::hundredths(520));
            let monitored = tally.entries().filter(|entry| entry.monitored).count()
                + tally.objections().filter(|objection| objection.monitored).count()
                + tally.failures().filter(|failure| failure.monitored).count();
            assert!(monitored > 0, "{act:?}");
        }
    }
}

#[test]
fn monitoring_panel_records_its_verdict() {
    for act in [find(1000), find(520), No(550), Fail] {
        let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
        let acting = Panel::new().seat(seat(&runtime, "a", act.clone()));
        let said = ask_at(&runtime, &acting, Stage::Data, &mut Tally::new());

        let watching = Panel::new().seat(seat(&runtime, "a", act)).monitor();
        assert_eq!(ask_at(&runtime, &watching, Stage::Data, &mut tally), Verdict::Pass);
        let noted = tally.decisions().next().unwrap();
        assert_eq!((&noted.verdict, noted.acted), (&said, false));
    }
}

#[test]
fn findings_of_a_refused_recipient_do_not_count_for_others() {
    let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
    let spammed = Panel::new().seat(seat(&runtime, "trap", Find(vec![hidden("TRAP", 700)])));
    let verdict = ask_at(&runtime, &spammed, Stage::Rcpt, &mut tally);
    assert_eq!(print(&verdict), "550 5.7.1 Recipient refused as unwanted");
    assert_eq!(tally.decisions().next().unwrap().total, Score::points(7));
    // The findings count until a gate settles the tally, or until the next question.
    assert_eq!(tally.total(), Score::points(7));
    tally.settle();
    assert_eq!((tally.total(), tally.entries().count()), (Score::ZERO, 1));

    // At other stages the findings stay.
    ask_at(&runtime, &spammed, Stage::Connect, &mut tally);
    assert_eq!(tally.total(), Score::points(7));
}

#[test]
fn findings_add_up_over_stages() {
    let (runtime, mut tally) = (Rehearsal::new(), Tally::new());
    let panel = |symbol| Panel::new().seat(seat(&runtime, "a", Find(vec![hidden(symbol, 250)])));
    assert_eq!(ask_at(&runtime, &panel("A"), Stage::Connect, &mut tally), Verdict::Pass);
    assert_eq!(ask_at(&runtime, &panel("B"), Stage::Rcpt, &mut tally), Verdict::Pass);
    // The same finding on another recipient.
    assert_eq!(ask_at(&runtime, &panel("B"), Stage::Rcpt, &mut tally), Verdict::Pass);
    let verdict = ask_at(&runtime, &panel("C"), Stage::Data, &mut tally);
    assert_eq!(print(&verdict), UNWANTED);
    assert_eq!(tally.to_string(), "score=7.50 a:A=2.50 a:B=2.50 a:C=2.50");
}

#[test]
fn names_are_distinct_words() {
    let runtime = Rehearsal::new();
    let named = |panel: Panel, name: &str| panel.seat(seat(&runtime, name, find(100)));
    let panel =
        ["spamd", "spamd", "two words", "spamd", "spamd-2"].into_iter().fold(Panel::new(), named);
    let (_, tally) = ask(&runtime, &panel);
    let names: Vec<&str> = tally.entries().map(|entry| &*entry.scorer).collect();
    assert_eq!(names, ["spamd", "spamd-2", "two_words", "spamd-3", "spamd-2-2"]);
    // Two daemons count separately, even with the same symbols.
    assert_eq!(tally.total(), Score::points(5));
}

/// If a failure could only have raised the score, it does not turn a refusal into a deferral.
#[test]
fn failure_that_could_only_add_points_keeps_a_refusal() {
    struct Half(bool, i32);

    #[async_trait]
    impl Scorer for Half {
        fn name(&self) -> &str {
            "half"
        }

        async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
            let found = hidden("FOUND", self.1).into();
            let error = ScorerError::new("the rest does not answer").but_says(found);
            Err(if self.0 { error.adds_only() } else { error })
        }
    }

    let runtime = Rehearsal::new();
    let refused = "554 5.7.1 Connection refused as unwanted";
    let deferred = "421 4.3.0 Connection cannot be checked now, try again later";
    let good = || Weights::new().weigh("half", "GOOD", Score::points(-1));
    for (adds_only, points, weights, expected) in [
        (true, 700, Weights::new(), refused),
        (true, 600, Weights::new(), deferred),
        (true, 100, Weights::new(), deferred),
        (false, 700, Weights::new(), deferred),
        // The weights contain a negative score, so the missing part could have lowered the score.
        (true, 700, good(), deferred),
    ] {
        let panel = Panel::new().weights(weights).scorer(Half(adds_only, points));
        let verdict = ask_at(&runtime, &panel, Stage::Connect, &mut Tally::new());
        assert_eq!(print(&verdict), expected, "{adds_only} {points}");
    }
}
