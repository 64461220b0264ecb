//! Cost of asking thirty scorers about a mail. For the relevant figure use `cargo test --release
//! --test thirty_scorers -- --nocapture`.

#![cfg(all(feature = "serve", unix))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures::io::Cursor;
use memchr::memmem;
use nix::time::{ClockId, clock_gettime};
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::panel::Sitting;
use nobounce::scorers::Gtube;
use nobounce::tally::Tally;
use nobounce::verdict::Subject;
use nobounce::{
    Address, DataContext, Envelope, Finding, Message, Opinion, Panel, Peer, ReversePath, Runtime,
    Score, Scorer, ScorerError, Thresholds,
};

/// Limit of CPU time: a millisecond, or several without optimisation.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 5 } else { 1 });

/// A runtime without I/O, since nothing here waits.
struct Still;

#[async_trait]
impl Runtime for Still {
    type Stream = Cursor<Vec<u8>>;

    async fn sleep_until(&self, _: Instant) {
        panic!("an unnecessary timer")
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A scorer that searches for a word in the raw octets, in a header field, or in the visible text.
enum Rule {
    Octets(&'static str),
    Field(&'static str, &'static str),
    Text(&'static str),
}

#[async_trait]
impl Scorer for Rule {
    fn name(&self) -> &str {
        "rule"
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let has = |octets: &[u8], word: &str| memmem::find(octets, word.as_bytes()).is_some();
        let found = match self {
            Self::Octets(word) => at.message.segments().iter().any(|octets| has(octets, word)),
            Self::Field(name, word) => {
                at.message.view().field(name).is_some_and(|field| has(field.value(), word))
            }
            Self::Text(word) => at.message.view().texts().any(|text| has(text.as_bytes(), word)),
        };
        Ok(found.then(|| Finding::new("RULE", Score::hundredths(10))).into())
    }
}

/// Returns a typical mail of 10 KiB: a text in quoted-printable and the same in HTML.
fn mail() -> Vec<u8> {
    let head = "From: Shop <shop@example.com>\r\nTo: you@example.org\r\nSubject: Your order\r\n\
                Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\
                MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n";
    let part = |kind: &str, line: &str| {
        let head = format!("--b\r\nContent-Type: text/{kind}; charset=utf-8\r\n");
        let encoding = "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
        head + encoding + &line.repeat(5_000 / line.len())
    };
    let plain =
        part("plain", "Thank you for your order, it is on its way to you=2E gr=C3=BC=C3=9Fe\r\n");
    let html =
        part("html", "<p>Thank you for your <b>order</b>, it is on its way to you=2E</p>\r\n");
    format!("{head}{plain}{html}--b--\r\n").into_bytes()
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn thirty_local_scorers_cost_a_millisecond_at_most() {
    let content = mail();
    assert!((10_000..11_000).contains(&content.len()), "{}", content.len());
    let mut panel = Panel::new().thresholds(Thresholds::none());
    for n in 0..10 {
        panel = panel.scorer(Rule::Octets(["its way", "viagra"][n % 2]));
        panel = panel.scorer(Rule::Field(["Subject", "X-Mailer"][n % 2], "order"));
        panel = match n % 2 {
            0 => panel.scorer(Gtube),
            _ => panel.scorer(Rule::Text("gr\u{fc}\u{df}e")),
        };
    }
    let reverse_path = ReversePath::parse("<a@example.com>").unwrap();
    let peer = Arc::new(Peer::new(([192, 0, 2, 1], 4711).into()));
    let envelope = Envelope::new(SessionId::new("test").transaction(1), peer, reverse_path);

    // Each run includes parsing. The minimum is the cost without interference from other processes.
    let costs = (0..50).map(|_| {
        let content = MailData::normalise(&content);
        let message = Message::new("mx.example", &envelope, SystemTime::UNIX_EPOCH, content);
        let mut tally = Tally::new();
        let begin = cpu();
        pollster::block_on(panel.ask(
            &Still,
            Subject::Content(&envelope, &message),
            &mut tally,
            &mut Sitting::new(),
        ));
        let cost = cpu() - begin;
        assert_eq!(tally.total(), Score::hundredths(150), "{tally}");
        cost
    });
    let cost = costs.min().unwrap();
    println!("30 scorers on {} octets: {cost:?} of CPU", content.len());
    assert!(cost <= LIMIT, "{cost:?}");
}
