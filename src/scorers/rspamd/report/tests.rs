use proptest::prelude::*;

use super::*;
use crate::header::HeaderField;

/// A report of rspamd 3.4, with one rule that matched and one that records its input.
const LIGHT: &str = r#"{"is_skipped":false,"score":1.260000,"required_score":15.0,"action":"no action",
"symbols":{"LIGHT":{"name":"LIGHT","score":1.250000,"metric_score":1.250000,"description":"x",
"options":["an option"]},"SEEN":{"name":"SEEN","score":0.010000,"metric_score":0.010000,
"options":["192.0.2.1","a@b.example"]}},"messages":{},"message-id":"undef","time_real":0.336413}"#;
/// The report on the GTUBE string, whose symbol has no score.
const GTUBE: &str = r#"{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject",
"symbols":{"GTUBE":{"name":"GTUBE","score":0.0,"metric_score":0.0}},
"messages":{"smtp_message":"Gtube pattern"},"message-id":"undef","time_real":0.000502}"#;

fn report(text: &str) -> Result<Report, String> {
    Report::parse(text.as_bytes()).map_err(|error| error.to_string())
}

/// Returns the refusal, if there is one, and each finding as `SYMBOL=SCORE (DETAIL)`.
fn opinion(text: &str, actions: RspamdActions) -> (String, String) {
    let (refusal, findings) = match report(text).unwrap().into_opinion(actions) {
        Err(error) => (error.to_string(), vec![]),
        Ok(opinion) => refusal_and_findings(opinion),
    };
    let findings = findings.iter().map(|finding| {
        let (symbol, score, detail) = (finding.symbol(), finding.score(), finding.detail());
        format!("{symbol}={score} ({detail})")
    });
    (refusal, findings.collect::<Vec<_>>().join(" "))
}

fn refusal_and_findings(opinion: Opinion) -> (String, Vec<Finding>) {
    let refusal = opinion.refusal.map_or(String::new(), |refusal| refusal.to_string());
    (refusal, opinion.findings)
}

/// Returns the header fields to prepend, as written in the message.
fn fields(text: &str) -> Vec<String> {
    let fields = report(text).unwrap().into_opinion(RspamdActions::Obey).unwrap().fields;
    let octets = fields.iter().map(HeaderField::octets);
    octets.map(|octets| String::from_utf8_lossy(octets).trim_end().to_owned()).collect()
}

#[test]
fn a_report_becomes_findings_that_add_up() {
    let (refusal, findings) = opinion(LIGHT, RspamdActions::Obey);
    assert_eq!(refusal, "");
    assert_eq!(
        findings,
        "RSPAMD=0.00 (1.26/15.00, no action) LIGHT=1.25 (an option) \
         SEEN=0.01 (192.0.2.1, a@b.example)"
    );
    let (refusal, findings) = opinion(GTUBE, RspamdActions::Obey);
    assert_eq!(refusal, "550 5.7.1 Gtube pattern");
    assert_eq!(findings, "RSPAMD=15.00 (15.00/15.00, reject, skipped) GTUBE=0.00 ()");
    assert_eq!(opinion(GTUBE, RspamdActions::Score), (String::new(), findings));
}

#[test]
fn rspamd_actions_map_to_verdicts() {
    let table = [
        ("no action", "{}", ""),
        ("add header", "{}", ""),
        ("rewrite subject", "{}", ""),
        ("quarantine", r#"{"smtp_message":"unused"}"#, ""),
        ("greylist", r#"{"smtp_message":"unused"}"#, ""),
        ("custom action", "{}", ""),
        ("reject", "{}", "550 5.7.1 Message refused as spam"),
        ("discard", "[]", "550 5.7.1 Message refused as spam"),
        ("soft reject", "null", "451 4.7.1 Try again later"),
        ("soft reject", r#"{"smtp_message":" "}"#, "451 4.7.1 Try again later"),
        ("soft reject", r#"{"smtp_message":null}"#, "451 4.7.1 Try again later"),
        ("soft reject", r#""Slow down""#, "451 4.7.1 Try again later"),
        ("soft reject", r#"{"smtp_message":"Slow down"}"#, "451 4.7.1 Slow down"),
        ("reject", r#"{"smtp_message":"No\r\n250 yes"}"#, "550 5.7.1 No 250 yes"),
    ];
    for (action, messages, expected) in table {
        let text = format!(r#"{{"score":2,"action":"{action}","messages":{messages}}}"#);
        let (refusal, findings) = opinion(&text, RspamdActions::Obey);
        assert_eq!(refusal.replace("\r\n", " | "), expected, "{text}");
        assert_eq!(findings, format!("RSPAMD=2.00 (2.00/-, {action})"));
        assert_eq!(opinion(&text, RspamdActions::Score).0, "");
        // In the notation of rspamd's configuration.
        let text = text.replace(action, &action.replace(' ', "_"));
        assert_eq!(opinion(&text, RspamdActions::Obey).0, expected, "{text}");
    }
}

/// Returns a report with this action, score and options of `GREYLIST`.
fn greylisting(action: &str, score: f32, options: &str) -> String {
    format!(
        r#"{{"score":{score},"required_score":15,"action":"{action}",
        "symbols":{{"GREYLIST":{{"score":0.0,"metric_score":0.0,"options":{options}}}}},
        "messages":{{"smtp_message":"Try again later"}}}}"#
    )
}

#[test]
fn greylist_is_advice_unless_the_greylisting_of_rspamd_has_acted() {
    // The options are written by the module `greylist` of rspamd 3.4.
    let time = "Mon, 30 Nov 2026 11:17:57 GMT";
    let acted = "451 4.7.1 Try again later";
    let table = [
        ("soft reject", format!(r#"["greylisted","{time}","new record"]"#), acted),
        ("soft reject", format!(r#"["greylisted","{time}","body"]"#), acted),
        // With `action = "greylist"` in the module's configuration.
        ("greylist", format!(r#"["greylisted","{time}","meta"]"#), acted),
        ("greylist", r#"["greylisted","passed"]"#.into(), ""),
        ("greylist", r#"["pass","body"]"#.into(), ""),
        ("greylist", "[]".into(), ""),
        ("greylist", "null".into(), ""),
        ("no action", format!(r#"["greylisted","{time}"]"#), ""),
    ];
    for (action, options, expected) in table {
        let text = greylisting(action, 4.51, &options);
        assert_eq!(opinion(&text, RspamdActions::Obey).0, expected, "{text}");
        assert_eq!(opinion(&text, RspamdActions::Score).0, "", "{text}");
    }
}

#[test]
fn with_actions_of_score_an_answer_before_the_rules_ran_is_a_failure() {
    let unjudged = |action: &str| {
        format!("rspamd answered before its rules ran ({action}), so there is no score")
    };
    let too_early = r#"["greylisted","Mon, 30 Nov 2026 11:17:57 GMT","too early"]"#;
    let limited = r#"{"score":0,"action":"soft reject","symbols":{"RATELIMITED":{"score":0}}}"#;
    let listed = r#"{"score":0,"action":"reject","symbols":{}}"#;
    for (text, action) in [
        (greylisting("soft reject", 0.0, too_early), "soft reject"),
        (greylisting("soft reject", 1.0, too_early), "soft reject"),
        (greylisting("greylist", 0.0, too_early), "greylist"),
        (limited.into(), "soft reject"),
        (listed.into(), "reject"),
        (listed.replace("reject", "discard"), "discard"),
    ] {
        assert_eq!(opinion(&text, RspamdActions::Score).0, unjudged(action), "{text}");
        // The existing findings are still recorded.
        let error = report(&text).unwrap().into_opinion(RspamdActions::Score).unwrap_err();
        assert!(!error.opinion().findings.is_empty());
        assert!(opinion(&text, RspamdActions::Obey).0.starts_with(['4', '5']), "{text}");
    }
    for judged in [
        r#"{"score":0,"action":"no action","symbols":{}}"#,
        r#"{"score":0,"action":"soft reject","symbols":{"A":{"score":1},"B":{"score":-1}}}"#,
        r#"{"score":15,"action":"reject","symbols":{"GTUBE":{"score":0}}}"#,
    ] {
        assert_eq!(opinion(judged, RspamdActions::Score).0, "", "{judged}");
    }
}

#[test]
fn any_field_may_be_missing_or_null_or_of_another_type() {
    let symbol = |symbol: &str| format!(r#"{{"score":1,"action":"x","symbols":{{"A":{symbol}}}}}"#);
    let with_symbol = |detail: &str| format!("RSPAMD=0.00 (1.00/-, x) A=1.00 ({detail})");
    let without = "RSPAMD=1.00 (1.00/-, x) A=0.00 ()";
    let table = [
        (
            r#"{"score":"-1.5","required_score":"15","action":"x"}"#.into(),
            "RSPAMD=-1.50 (-1.50/15.00, x)".into(),
        ),
        (
            r#"{"score":1,"required_score":null,"action":"x","is_skipped":null,"messages":null,
            "milter":null,"urls":null,"emails":{},"message-id":null,"time_real":"x","groups":7,
            "dkim-signature":null,"error":null,"unknown":[{}]}"#
                .into(),
            "RSPAMD=1.00 (1.00/-, x)".into(),
        ),
        (
            r#"{"score":0,"action":"no action","is_skipped":true}"#.into(),
            "RSPAMD=0.00 (0.00/-, no action, skipped)".into(),
        ),
        (r#"{"score":"12","action":"x"}"#.into(), "RSPAMD=12.00 (12.00/-, x)".into()),
        (
            r#"{"score":21474836.47,"action":"x"}"#.into(),
            "RSPAMD=21474836.47 (21474836.47/-, x)".into(),
        ),
        (symbol(r#"{"score":1}"#), with_symbol("")),
        (symbol(r#"{"score":"1","options":null}"#), with_symbol("")),
        (symbol(r#"{"score":1,"options":"one"}"#), with_symbol("one")),
        (symbol(r#"{"score":1,"options":["a",7,null,{},"b"]}"#), with_symbol("a, 7, b")),
        (symbol(r#"{"score":1,"metric_score":9,"name":null}"#), with_symbol("")),
        (symbol("1"), with_symbol("")),
        (symbol("{}"), without.into()),
        (symbol("null"), without.into()),
        (symbol(r#"{"score":null,"metric_score":9}"#), without.into()),
        (symbol("[1]"), without.into()),
    ];
    for (text, expected) in table {
        assert_eq!(opinion(&text, RspamdActions::Obey), (String::new(), expected), "{text}");
    }
}

#[test]
fn a_report_without_the_result_of_a_scan_is_a_failure_with_findings() {
    let (action, score) =
        ("the report of rspamd has no action", "the report of rspamd has no valid score");
    let error = |text: &str| format!("rspamd reported the error {text:?}");
    let table = [
        (r#"{"score":1}"#, action.to_owned(), "RSPAMD=1.00"),
        (r#"{"score":0,"action":null}"#, action.into(), "RSPAMD=0.00"),
        (r#"{"score":1,"action":"","symbols":null}"#, action.into(), "RSPAMD=1.00"),
        (r#"{"score":1,"action":" "}"#, action.into(), "RSPAMD=1.00"),
        (r#"{"score":1,"action":["reject"]}"#, action.into(), "RSPAMD=1.00"),
        (r#"{"score":20,"action":true}"#, action.into(), "RSPAMD=20.00"),
        (r#"{"action":null,"symbols":{"A":{}}}"#, action.into(), "RSPAMD=0.00 A=0.00"),
        (
            r#"{"score":null,"symbols":{"A":{"score":2.5},"B":{"score":-1}}}"#,
            action.into(),
            "RSPAMD=0.00 A=2.50 B=-1.00",
        ),
        (r#"{"action":"no action"}"#, score.into(), "RSPAMD=0.00"),
        (
            r#"{"action":"no action","symbols":{"A":{"score":3}}}"#,
            score.into(),
            "RSPAMD=0.00 A=3.00",
        ),
        (r#"{"score":null,"action":"x","symbols":[]}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":true,"action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":{},"action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":"","action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":"nan","action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":"-inf","action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":1e9,"action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":-1e300,"action":"x"}"#, score.into(), "RSPAMD=0.00"),
        (r#"{"score":0,"action":"no action","error":"timeout"}"#, error("timeout"), "RSPAMD=0.00"),
        (
            r#"{"score":0,"action":"no action","error":{"code":7}}"#,
            error(r#"{"code":7}"#),
            "RSPAMD=0.00",
        ),
    ];
    for (text, expected, findings) in table {
        for actions in [RspamdActions::Obey, RspamdActions::Score] {
            let error = report(text).unwrap().into_opinion(actions).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
            let found = &error.opinion().findings;
            let found = found.iter().map(|it| format!("{}={}", it.symbol(), it.score()));
            assert_eq!(found.collect::<Vec<_>>().join(" "), findings, "{text}");
        }
    }
    // A refusal does not need a score. `soft reject` also works without a text.
    for (text, expected) in [
        (r#"{"score":null,"action":"reject"}"#, "550 5.7.1 Message refused as spam"),
        (r#"{"action":"soft reject"}"#, "451 4.7.1 Try again later"),
        (r#"{"action":"discard","error":"x"}"#, "550 5.7.1 Message refused as spam"),
    ] {
        assert_eq!(opinion(text, RspamdActions::Obey).0, expected);
        assert_ne!(opinion(text, RspamdActions::Score).0, "");
    }
}

#[test]
fn no_action_keeps_the_action_from_refusing() {
    for action in ["reject", "discard", "soft reject"] {
        let text = format!(r#"{{"score":20,"action":"{action}","milter":{{"no_action":true}}}}"#);
        assert_eq!(opinion(&text, RspamdActions::Obey).0, "");
        assert_eq!(fields(&text), [format!("X-Rspamd-Action: {action}")]);
        for other in ["false", "null", "1"] {
            let text = text.replace("true", other);
            assert_ne!(opinion(&text, RspamdActions::Obey).0, "", "{text}");
        }
    }
}

#[test]
fn header_fields_that_rspamd_adds_go_before_the_message() {
    // As rspamd 3.4 writes them, and as its protocol documentation describes them.
    let milter = |milter: &str| {
        format!(r#"{{"score":1,"action":"no action","milter":{milter},"dkim-signature":"v=1; a"}}"#)
    };
    let text = milter(
        r#"{"add_headers":{"X-B":[{"value":"b2","order":2},{"value":"b0","order":0}],
        "X-C":["c1","c2"],"X-A":"a\r\nInjected: x","X-End":{"value":"end","order":-1},"X-N":7,
        "X-Nobounce-Status":"forged","no name":"x","X-None":null,"X-List":{"order":1}}}"#,
    );
    let expected = [
        "X-B: b0",
        "X-B: b2",
        "DKIM-Signature: v=1; a",
        "X-A: a Injected: x",
        "X-C: c1",
        "X-C: c2",
        "X-N: 7",
        "X-End: end",
    ];
    let found = fields(&text);
    assert_eq!(found.iter().map(|it| it.replace("  ", " ")).collect::<Vec<_>>(), expected);
    assert!(opinion(&text, RspamdActions::Obey).1.contains("not done: add_headers)"));
    // A refused message gets no header fields.
    let refused = milter(r#"{"add_headers":{"X-A":"a"}}"#).replace("no action", "reject");
    assert_eq!(fields(&refused), [""; 0]);
    let many: Vec<_> = (0..200).map(|number| format!(r#""X-{number}":"x""#)).collect();
    let many = format!(r#"{{"add_headers":{{{}}}}}"#, many.join(","));
    assert_eq!(fields(&milter(&many)).len(), 64);
    for none in ["[]", "7", "null", r#"{"add_headers":[]}"#, r#"{"add_headers":{"X":{}}}"#] {
        assert_eq!(fields(&milter(none)), ["DKIM-Signature: v=1; a"], "{none}");
    }
}

#[test]
fn requests_that_are_not_carried_out_are_named() {
    let text = r#"{"score":20,"action":"reject","subject":"[SPAM] x","milter":{
        "remove_headers":{"X-D":0},"change_from":"x@y.example","add_rcpt":["a@b.example"],
        "del_rcpt":["c@d.example"],"spam_header":"X-Spam","reject":"discard"}}"#;
    let (refusal, findings) = opinion(text, RspamdActions::Obey);
    assert_eq!(refusal, "550 5.7.1 Message refused as spam");
    assert_eq!(
        findings,
        "RSPAMD=20.00 (20.00/-, reject, not done: \
         remove_headers change_from add_rcpt del_rcpt spam_header reject)"
    );
    let nothing = r#"{"score":1,"action":"x","milter":{"remove_headers":{},"add_rcpt":[],
        "change_from":"","reject":null}}"#;
    assert_eq!(opinion(nothing, RspamdActions::Obey).1, "RSPAMD=1.00 (1.00/-, x)");
}

#[test]
fn invalid_report_is_an_error() {
    let table = [
        ("".into(), "EOF while parsing a value"),
        ("null".into(), "invalid type: null"),
        ("{}".into(), "it has neither a score nor an action"),
        (
            r#"{"score":null,"action":null,"symbols":{}}"#.into(),
            "it has neither a score nor an action",
        ),
        (r#"{"action":null}"#.into(), "it has neither a score nor an action"),
        (
            r#"{"action":"no action","action":"reject","score":1}"#.into(),
            "duplicate field `action`",
        ),
        (r#"{"error":["x"],"score":1}"#.into(), "error \"[\\\"x\\\"]\""),
        (r#"{"score":"much","action":["reject"]}"#.into(), "it has neither a score nor an action"),
        ("{\"score\":1".into(), "EOF while parsing an object"),
        (r#"{"score":1e999,"action":"reject"}"#.into(), "number out of range"),
        (r#"{"score":NaN,"action":"reject"}"#.into(), "expected"),
        (r#"{"score":1,"score":2,"action":"reject"}"#.into(), "duplicate field `score`"),
        (r#"{"score":1,"action":"reject"} x"#.into(), "trailing characters"),
        (r#"{"error":"invalid command"}"#.into(), "error \"invalid command\""),
        (r#"{"error":"x","score":1}"#.into(), "error \"x\""),
        (format!(r#"{{"x":{}"#, "[".repeat(1 << 19)), "EOF while parsing"),
        ("[".repeat(1 << 19), "recursion limit exceeded"),
        (r#"[1,15,"reject"]"#.into(), "it has neither a score nor an action"),
        ("[]".into(), "it has neither a score nor an action"),
        (format!(r#"{{"messages":{}"#, "[".repeat(1 << 19)), "recursion limit exceeded"),
    ];
    for (text, expected) in table {
        let error = report(&text).unwrap_err();
        assert!(error.contains(expected), "{:?}: {error}", &text[..text.len().min(60)]);
    }
}

#[test]
fn options_of_any_octets_are_read() {
    let body =
        b"{\"score\":1,\"action\":\"x\",\"symbols\":{\"A\":{\"score\":1,\"options\":[\"\xff\"]}}}";
    let findings = Report::parse(body).unwrap().findings();
    assert_eq!(findings[1].detail(), "\u{fffd}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The findings always add up to the score, even with thousands of symbols.
    #[test]
    fn findings_add_up(
        score in -99999..99999_i32,
        symbols in proptest::collection::btree_map("[A-Z_]{1,8}|RSPAMD", -9999..9999_i32, 0..400),
    ) {
        let points = |hundredths: &i32| f64::from(*hundredths) / 100.0;
        let body = serde_json::json!({
            "score": points(&score),
            "action": "no action",
            "symbols": symbols.iter().map(|(name, score)| {
                (name.clone(), serde_json::json!({ "score": points(score) }))
            }).collect::<serde_json::Map<_, _>>(),
        });
        let findings = report(&body.to_string()).unwrap().findings();
        let sum: Score = findings.iter().map(Finding::score).sum();
        prop_assert_eq!(sum, Score::hundredths(score));
        prop_assert!(findings.len() <= SYMBOLS + 1);
        prop_assert_eq!(findings.iter().filter(|it| it.symbol() == SYMBOL).count(), 1);
    }
}
