use proptest::prelude::*;

use super::*;

/// What rspamd 3.4 answered, with a rule that found something and one that noted what it was told.
const LIGHT: &str = r#"{"is_skipped":false,"score":1.260000,"required_score":15.0,"action":"no action",
"symbols":{"LIGHT":{"name":"LIGHT","score":1.250000,"metric_score":1.250000,"description":"x",
"options":["an option"]},"SEEN":{"name":"SEEN","score":0.010000,"metric_score":0.010000,
"options":["192.0.2.1","a@b.example"]}},"messages":{},"message-id":"undef","time_real":0.336413}"#;
/// And to the GTUBE string, which gives no symbol its points.
const GTUBE: &str = r#"{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject",
"symbols":{"GTUBE":{"name":"GTUBE","score":0.0,"metric_score":0.0}},
"messages":{"smtp_message":"Gtube pattern"},"message-id":"undef","time_real":0.000502}"#;

fn report(text: &str) -> Result<Report, String> {
    Report::parse(text.as_bytes()).map_err(|error| error.to_string())
}

/// The refusal, if there is one, and each finding as `SYMBOL=SCORE (DETAIL)`.
fn opinion(text: &str, actions: RspamdActions) -> (String, String) {
    let (refusal, findings) = match report(text).unwrap().into_opinion(actions) {
        Opinion::Evidence(findings) => (String::new(), findings),
        Opinion::RefuseWith(refusal, findings) => (refusal.to_string(), findings),
        other => panic!("{other:?}"),
    };
    let findings = findings.iter().map(|finding| {
        let (symbol, score, detail) = (finding.symbol(), finding.score(), finding.detail());
        format!("{symbol}={score} ({detail})")
    });
    (refusal, findings.collect::<Vec<_>>().join(" "))
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
    assert_eq!(findings, "RSPAMD=15.00 (15.00/15.00, reject) GTUBE=0.00 ()");
    assert_eq!(opinion(GTUBE, RspamdActions::Score), (String::new(), findings));
}

#[test]
fn actions() {
    let table = [
        ("no action", "{}", ""),
        ("add header", "{}", ""),
        ("rewrite subject", "{}", ""),
        ("quarantine", r#"{"smtp_message":"unused"}"#, ""),
        ("one of our own", "{}", ""),
        ("", "{}", ""),
        ("reject", "{}", "550 5.7.1 Message refused as spam"),
        ("discard", "[]", "550 5.7.1 Message refused as spam"),
        ("soft reject", "null", "451 4.7.1 Try again later"),
        ("greylist", r#"{"smtp_message":" "}"#, "451 4.7.1 Try again later"),
        ("greylist", r#"{"smtp_message":7}"#, "451 4.7.1 Try again later"),
        ("soft reject", r#"{"smtp_message":"Slow down"}"#, "451 4.7.1 Slow down"),
        ("reject", r#"{"smtp_message":"No\r\n250 yes"}"#, "550 5.7.1 No 250 yes"),
    ];
    for (action, messages, expected) in table {
        let text = format!(r#"{{"score":2,"action":"{action}","messages":{messages}}}"#);
        let (refusal, findings) = opinion(&text, RspamdActions::Obey);
        assert_eq!(refusal.replace("\r\n", " | "), expected, "{text}");
        assert_eq!(findings, format!("RSPAMD=2.00 (2.00/0.00, {action})"));
        assert_eq!(opinion(&text, RspamdActions::Score).0, "");
    }
}

#[test]
fn no_report_is_an_error() {
    let symbol =
        |symbol: &str| format!(r#"{{"score":1,"action":"reject","symbols":{{"A":{symbol}}}}}"#);
    let table = [
        ("".into(), "EOF while parsing a value"),
        ("null".into(), "invalid type: null"),
        ("{\"score\":1".into(), "EOF while parsing an object"),
        (r#"{"action":"reject"}"#.into(), "missing field `score`"),
        (r#"{"score":1}"#.into(), "missing field `action`"),
        (r#"{"score":"1","action":"reject"}"#.into(), "invalid type: string"),
        (r#"{"score":1e9,"action":"reject"}"#.into(), "a score out of range"),
        (r#"{"score":1e999,"action":"reject"}"#.into(), "number out of range"),
        (r#"{"score":NaN,"action":"reject"}"#.into(), "expected"),
        (r#"{"score":1,"score":2,"action":"reject"}"#.into(), "duplicate field `score`"),
        (r#"{"score":1,"action":"reject"} x"#.into(), "trailing characters"),
        (r#"{"error":"invalid command"}"#.into(), "missing field `score`"),
        (symbol("1"), "invalid type"),
        (symbol("{}"), "missing field `score`"),
        (symbol(r#"{"score":1,"options":[1]}"#), "invalid type"),
        (format!(r#"{{"x":{}"#, "[".repeat(1 << 19)), "EOF while parsing"),
        ("[".repeat(1 << 19), "invalid type: sequence"),
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

    /// Whatever the symbols are, and be they thousands, the findings add up to the score.
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
