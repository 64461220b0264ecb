//! Spans and events of sessions, as a subscriber gets them.

#![cfg(all(feature = "tracing", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use nobounce::observer::Tracing;
use nobounce::panel::{FailurePolicy, Seat};
use nobounce::relay::Smtp;
use nobounce::scorers::Gtube;
use nobounce::testing::{Script, VirtualRuntime, peer};
use nobounce::{
    DataContext, Gate, Opinion, Panel, Scorer, ScorerError, Settings, async_trait, serve,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const GTUBE: &str = "\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n.";

/// A subscriber that writes each event with its spans, and counts the open spans.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// The open spans: text, with parents, and number of handles.
    open: BTreeMap<u64, (String, usize)>,
    spans: u64,
}

impl Visit for State {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = self.lines.last_mut().unwrap();
        match field.name() {
            "message" => write!(line, " {value:?}").unwrap(),
            name => write!(line, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Written {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("nobounce")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut state = self.0.lock().unwrap();
        let parent = span.parent().map_or("", |id| &*state.open[&id.into_u64()].0).to_owned();
        state.lines.push(format!("{parent}{}", span.metadata().name()));
        span.record(&mut *state);
        let text = state.lines.pop().unwrap() + ": ";
        state.spans += 1;
        let number = state.spans;
        state.open.insert(number, (text, 1));
        Id::from_u64(number)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut state = self.0.lock().unwrap();
        let parent = event.parent().map_or("", |id| &*state.open[&id.into_u64()].0).to_owned();
        state.lines.push(format!("{} {parent}", event.metadata().level()));
        event.record(&mut *state);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().open.get_mut(&id.into_u64()).unwrap().1 += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut state = self.0.lock().unwrap();
        let (_, handles) = state.open.get_mut(&id.into_u64()).unwrap();
        *handles -= 1;
        let is_last = *handles == 0;
        if is_last {
            state.open.remove(&id.into_u64());
        }
        is_last
    }
}

struct Fails;

#[async_trait]
impl Scorer for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    async fn on_data(&self, _: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        Err(ScorerError::new("no\r\nanswer"))
    }
}

/// Serves sessions with these commands, one after the other. Returns the lines.
fn lines(sessions: &[&[&str]]) -> Vec<String> {
    let written = Written::default();
    let state = written.0.clone();
    tracing::subscriber::with_default(written, || {
        let server = Script::smtp_server().replying("RCPT TO:<nobody@", "550 5.1.1 No \u{1b} user");
        let runtime = VirtualRuntime::with(server);
        let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
        let panel =
            Panel::new().scorer(Gtube).seat(Seat::new(Fails).on_failure(FailurePolicy::Ignore));
        let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target)
            .session_prefix("s")
            .panel(panel)
            .report_answers()
            .observed_by(Tracing::new());
        for commands in sessions {
            let client = runtime.client(Script::smtp_client(commands.iter().copied()));
            runtime.run(serve(client, peer(), &gate)).unwrap();
            assert!(state.lock().unwrap().open.is_empty(), "each span ends with its session");
        }
    });
    std::mem::take(&mut state.lock().unwrap().lines)
}

#[test]
fn sessions_and_transactions_are_spans() {
    let lines = lines(&[&[
        "HELO c.example",
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<nobody@example.com>",
        "RCPT TO:<b@example.com>",
        "DATA",
        GTUBE,
        "MAIL FROM:<\"a b\"@example.org>",
        "RCPT TO:<b@example.com>",
        "RSET",
        "QUIT",
    ]]);
    let session = "session id=s-0 client=unknown[192.0.2.1]: ";
    let expected = [
        format!("DEBUG {session} judged stage=connect verdict=\"pass\" score=0.00"),
        format!("INFO {session}transaction id=s-0.1:  relayed request=\"rcpt\" reply="),
        format!("DEBUG {session}transaction id=s-0.1:  relayed request=\"rcpt\""),
        format!("WARN {session}transaction id=s-0.1:  scored stage=data scorer=\"fails\""),
        format!(
            "INFO {session}transaction id=s-0.1:  judged stage=data verdict=\"refuse\" score=1000.00"
        ),
        format!(
            "INFO {session}transaction id=s-0.1:  transaction ended result=\"refused-by-panel\""
        ),
        format!("INFO {session}transaction id=s-0.2:  transaction ended result=\"reset\""),
        format!("INFO {session} session ended result="),
    ];
    let mut rest = lines.iter();
    for begin in &expected {
        assert!(rest.any(|line| line.starts_with(begin)), "{begin} is missing in {lines:#?}");
    }
    assert!(!lines.concat().contains(char::is_control), "{lines:#?}");
}

#[test]
fn every_session_ends_its_spans() {
    let mail = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"];
    // Each session is cut after another command.
    let sessions: Vec<&[&str]> = (0..=mail.len()).map(|count| &mail[..count]).collect();
    let lines = lines(&sessions);
    let ended = lines.iter().filter(|line| line.contains(" session ended "));
    assert_eq!(ended.count(), sessions.len(), "{lines:#?}");
}
