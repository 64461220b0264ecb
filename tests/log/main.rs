//! Lines of the JSON log, made by sessions of a gate in virtual time.

#![cfg(all(feature = "json", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod schema;

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use nobounce::observer::json::{
    DecisionWord, Entry, Line, Party, Policy, ReadError, Session, Transaction, Word,
};
use nobounce::panel::{FailurePolicy, Seat, Weights};
use nobounce::relay::Smtp;
use nobounce::reply::EnhancedStatus;
use nobounce::score::Disclosure;
use nobounce::testing::{Script, VirtualRuntime, peer};
use nobounce::{
    Address, ConnectContext, DataContext, Finding, Gate, Opinion, Panel, RcptContext, Refusal,
    Score, Scorer, ScorerError, Settings, Thresholds, async_trait, serve,
};

/// Says what the names in the envelope ask for.
struct Marks(Address);

#[async_trait]
impl Scorer for Marks {
    fn name(&self) -> &str {
        "marks"
    }

    fn server(&self) -> Option<&Address> {
        Some(&self.0)
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(Finding::new("CLIENT", Score::hundredths(125)).into())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let to = at.recipient.path.to_string();
        if to.contains("trap") {
            return Ok(Finding::new("TRAP", Score::points(7))
                .with_detail("\u{202e}\u{1b}[2J")
                .into());
        }
        Ok(Finding::new("RECIPIENT", Score::hundredths(to.len() as i32)).into())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let sender = at.envelope.reverse_path.path.to_string();
        match &*sender {
            "<fails@example.org>" => Err(ScorerError::new("no answer from \u{9b}1m")),
            "<defer@example.org>" => {
                Ok(Refusal::transient(451, EnhancedStatus::new(7, 1), "later").into())
            }
            "<refuse@example.org>" => {
                let told =
                    Finding::new("SPAM", Score::points(6)).with_disclosure(Disclosure::Public);
                Ok(vec![told, Finding::new("CLIENT", Score::points(2))].into())
            }
            _ => Ok(Opinion::silent()),
        }
    }
}

/// Runs a session with these commands, and returns its lines after a check against the schema.
fn lines(panel: Panel, server: Script, commands: &[&str]) -> Vec<Line> {
    let runtime = VirtualRuntime::with(server);
    let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target)
        .session_prefix("test")
        .panel(panel)
        .record_timings()
        .record_fields(["Message-ID", "From", "Subject"])
        .observer(move |event| {
            let at = UNIX_EPOCH + Duration::from_millis(1_796_028_335_412);
            lines
                .lock()
                .unwrap()
                .extend(Line::of(event, at).map(|line| line.onward("192.0.2.25:25")));
        });
    let _ = runtime.run(serve(runtime.client(Script::smtp_client(commands)), peer(), &gate));
    let lines: Vec<Line> = log.lock().unwrap().clone();
    for line in &lines {
        let text = line.to_string();
        schema::check(&text);
        assert_eq!(Line::read(&text).unwrap().as_ref(), Some(line), "{text}");
        assert_eq!((line.v, line.time), (1, 1_796_028_335.412));
    }
    lines
}

fn panel() -> Panel {
    let marks = Seat::new(Marks("192.0.2.7:4000".parse().unwrap())).scale(200);
    Panel::new().seat(marks).weights(Weights::new().weigh("marks", "SPAM", Score::points(4)))
}

fn transaction(lines: &[Line]) -> Transaction {
    match lines {
        [Line { entry: Entry::Transaction(it), .. }] => it.clone(),
        _ => panic!("{lines:?}"),
    }
}

fn session(lines: &[Line]) -> Session {
    match lines {
        [Line { entry: Entry::Session(it), .. }] => it.clone(),
        _ => panic!("{lines:?}"),
    }
}

fn mail<'c>(from: &'c str, to: &'c [&'c str]) -> Vec<&'c str> {
    let content = "Message-ID: <1@example.org>\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <a@example.org>\r\n\r\nx\r\n.";
    let mut commands = vec!["EHLO \u{202e}client.example\u{9b}", from];
    commands.extend(to);
    commands.extend(["DATA", content, "QUIT"]);
    commands
}

#[test]
fn scores_that_count_sum_to_the_total() {
    let to =
        ["RCPT TO:<b@example.com>", "RCPT TO:<longer@example.com>", "RCPT TO:<trap@example.com>"];
    for from in ["MAIL FROM:<a@example.org>", "MAIL FROM:<refuse@example.org>", "MAIL FROM:<>"] {
        let it = transaction(&lines(panel(), Script::smtp_server(), &mail(from, &to)));
        let counted = it.judged.findings.iter().filter(|it| it.counted);
        assert_eq!(counted.map(|it| it.score).sum::<Score>(), it.judged.score, "{it:?}");
        let find =
            |symbol: &str| it.judged.findings.iter().rfind(|it| it.symbol == symbol).unwrap();
        let trap = find("TRAP");
        assert!(
            trap.aside && !trap.counted && trap.recipient.as_deref() == Some("<trap@example.com>")
        );
        assert_eq!((trap.given, trap.score), (Score::points(7), Score::points(14)));
        let timings: Vec<_> = it.judged.scorers.iter().map(|it| (&*it.stage, it.answers)).collect();
        assert_eq!(timings, [("connect", 1), ("rcpt", 3), ("data", 1)]);
        assert_eq!(it.judged.thresholds.unwrap().refuse, Some(Score::hundredths(631)));
    }
    let it = transaction(&lines(
        panel(),
        Script::smtp_server(),
        &mail("MAIL FROM:<refuse@example.org>", &to),
    ));
    let spam = it.judged.findings.iter().find(|it| it.symbol == "SPAM").unwrap();
    assert_eq!((spam.given, spam.score), (Score::points(6), Score::points(4)), "the weight");
    let clients: Vec<_> = it.judged.findings.iter().filter(|it| it.symbol == "CLIENT").collect();
    assert_eq!(
        clients.iter().map(|it| it.counted).collect::<Vec<_>>(),
        [false, true],
        "the highest"
    );
}

#[test]
fn results_tell_refused_from_deferred_and_by_whom() {
    let to = ["RCPT TO:<b@example.com>"];
    let plain = "MAIL FROM:<a@example.org>";
    let answers = |command: &str, reply: &str| Script::smtp_server().replying(command, reply);
    let table = [
        (plain, Script::smtp_server(), Word::Accepted, Party::Onward, "250 2.0.0"),
        (
            "MAIL FROM:<refuse@example.org>",
            Script::smtp_server(),
            Word::Refused,
            Party::Panel,
            "550 5.7.1 Message refused: SPAM",
        ),
        (
            "MAIL FROM:<defer@example.org>",
            Script::smtp_server(),
            Word::Deferred,
            Party::Panel,
            "451 4.7.1 later",
        ),
        (
            "MAIL FROM:<fails@example.org>",
            Script::smtp_server(),
            Word::Deferred,
            Party::Panel,
            "451 4.3.0",
        ),
        (
            plain,
            answers("RCPT", "550 5.1.1 no such user"),
            Word::Refused,
            Party::Onward,
            "550 5.1.1 no such user",
        ),
        (plain, answers("RCPT", "450 4.2.1 busy"), Word::Deferred, Party::Onward, "450 4.2.1 busy"),
        (plain, answers(".", "554 5.6.0 no"), Word::Refused, Party::Onward, "554 5.6.0 no"),
        (plain, answers(".", "452 4.2.2 full"), Word::Deferred, Party::Onward, "452 4.2.2 full"),
        (plain, Script::refuses(), Word::Deferred, Party::Onward, "451 4."),
    ];
    for (from, server, result, by, reply) in table {
        let it = transaction(&lines(panel(), server, &mail(from, &to)));
        assert_eq!((it.outcome.result, it.outcome.by), (result, Some(by)), "{it:?}");
        assert!(it.outcome.reply.as_ref().unwrap().starts_with(reply), "{it:?}");
        let [recipient] = &it.recipients[..] else { panic!("{it:?}") };
        assert_eq!((recipient.outcome.result, recipient.outcome.by), (result, Some(by)), "{it:?}");
        let failed = it.onward_failures.first().and_then(|it| it.server.as_deref());
        assert_eq!(failed, (reply == "451 4.").then_some("192.0.2.25:25"));
    }
    for (commands, result) in [(&["RSET", "QUIT"][..], Word::Reset), (&["QUIT"], Word::Reset)] {
        let commands = [&["HELO c.example", plain], commands].concat();
        let it = transaction(&lines(panel(), Script::smtp_server(), &commands));
        assert_eq!((it.outcome.result, it.outcome.by), (result, Some(Party::Client)));
    }
}

#[test]
fn each_recipient_has_its_outcome() {
    let server = Script::smtp_server().replying("RCPT TO:<no", "550 5.1.1 no such user");
    let to = ["RCPT TO:<b@example.com>", "RCPT TO:<no@example.com>", "RCPT TO:<trap@example.com>"];
    let it = transaction(&lines(panel(), server, &mail("MAIL FROM:<a@example.org>", &to)));
    let recipients: Vec<_> = it
        .recipients
        .iter()
        .map(|it| (&*it.path, it.outcome.result, it.outcome.by.unwrap()))
        .collect();
    let expected = [
        ("<b@example.com>", Word::Accepted, Party::Onward),
        ("<no@example.com>", Word::Refused, Party::Onward),
        ("<trap@example.com>", Word::Refused, Party::Panel),
    ];
    assert_eq!(recipients, expected);
}

#[test]
fn failures_name_server_policy_and_cause() {
    let to = ["RCPT TO:<b@example.com>"];
    for (policy, expected) in [
        (FailurePolicy::Ignore, (Policy::Ignore, None)),
        (FailurePolicy::Score(Score::points(2)), (Policy::Score, Some(Score::points(2)))),
        (FailurePolicy::Defer, (Policy::Defer, None)),
    ] {
        let seat = Seat::new(Marks("192.0.2.7:4000".parse().unwrap())).on_failure(policy);
        let commands = mail("MAIL FROM:<fails@example.org>", &to);
        let it = transaction(&lines(Panel::new().seat(seat), Script::smtp_server(), &commands));
        let [failure] = &it.judged.scorer_failures[..] else { panic!("{it:?}") };
        assert_eq!((failure.policy, failure.score), expected);
        assert_eq!(failure.server.as_deref(), Some("192.0.2.7:4000"));
        assert!(failure.cause.contains("no answer from"), "{failure:?}");
    }
}

#[test]
fn header_fields_are_recorded_on_request() {
    let commands = mail("MAIL FROM:<a@example.org>", &["RCPT TO:<b@example.com>"]);
    let it = transaction(&lines(panel(), Script::smtp_server(), &commands));
    let fields: Vec<_> = it.fields.iter().map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(
        fields,
        [("From", "J\u{fc}rgen <a@example.org>"), ("Message-ID", "<1@example.org>")]
    );
}

#[test]
fn sessions_without_a_transaction_have_a_line() {
    let strict = Thresholds::new(None, None, Some(Score::points(2))).unwrap();
    let lenient = Thresholds::none();
    let table: [(_, &[&str], _, _, &str); 6] = [
        (strict, &["QUIT"], Word::Refused, Party::Panel, "554 5.7.1 "),
        (lenient, &["EHLO c.example", "QUIT"], Word::Quit, Party::Client, "221 2.0.0 "),
        (lenient, &["QUIT"], Word::Quit, Party::Client, "221 2.0.0 "),
        (lenient, &["EHLO c.example"], Word::Lost, Party::Client, ""),
        (lenient, &["GET / HTTP/1.1", ""], Word::Refused, Party::Session, "5"),
        (lenient, &["\x16\x03\x01\x02"], Word::Refused, Party::Session, "5"),
    ];
    for (thresholds, commands, result, by, reply) in table {
        let it = session(&lines(panel().thresholds(thresholds), Script::smtp_server(), commands));
        assert_eq!((it.outcome.result, it.outcome.by), (result, Some(by)), "{it:?}");
        assert!(it.outcome.reply.clone().unwrap_or_default().starts_with(reply), "{it:?}");
        assert_eq!(it.id.as_deref(), Some("test-0.0"));
        assert_eq!(it.judged.findings[0].symbol, "CLIENT");
        let refused = it.judged.decisions.first().map(|it| it.verdict);
        assert_eq!(refused, (by == Party::Panel).then_some(DecisionWord::Refuse));
    }
}

#[test]
fn other_versions_and_kinds_are_told_apart() {
    assert!(matches!(Line::read(r#"{"v":2,"kind":"transaction"}"#), Err(ReadError::Version(2))));
    assert!(matches!(Line::read(r#"{"v":1,"kind":"news","time":1.0}"#), Ok(None)));
    for text in ["", "{", "null", "[]", r#"{"kind":"session"}"#, r#"{"v":1,"kind":"session"}"#] {
        assert!(matches!(Line::read(text), Err(ReadError::Malformed(_))), "{text}");
    }
    let lost = r#"{"v":1,"time":1796028335.5,"kind":"lines-lost","lines":3}"#;
    schema::check(lost);
    let Some(Line { entry: Entry::LinesLost { lines: 3 }, .. }) = Line::read(lost).unwrap() else {
        panic!("not read")
    };
}
