//! User code cannot keep a reply from the client, neither by a panic nor by blocking.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, mpsc};
use std::thread;

use super::*;
use crate::network::Networks;
use crate::opinion::{FailurePolicy, Opinion, ScorerError};
use crate::panel::{Panel, Seat};
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, DataContext, Scorer};
use crate::session::EarlyInput;
use crate::tarpit::Tarpit;

const MESSAGE: &str = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
const CONTENT: &str = "Subject: x\r\n\r\nHello\r\n.\r\n";

/// The place at which a relay target panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Capabilities,
    Rcpt,
    Content,
    /// The content is never answered, and the future panics when it is dropped.
    LateContent,
    Close,
    Drop,
    Nowhere,
}

/// A relay target that counts the accepted messages and panics in one place.
#[derive(Clone)]
struct Fragile {
    place: Place,
    taken: Arc<AtomicUsize>,
}

struct FragileRelay(Fragile);

struct PanicsWhenDropped;

impl Fragile {
    fn new(place: Place) -> Self {
        Self { place, taken: Arc::default() }
    }

    fn check(&self, place: Place) {
        assert!(self.place != place, "a bug in user code");
    }
}

impl Target for Fragile {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        self.check(Place::Open);
        Box::new(FragileRelay(self.clone()))
    }
}

impl Drop for FragileRelay {
    fn drop(&mut self) {
        self.0.check(Place::Drop);
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a bug in user code");
    }
}

#[async_trait]
impl Relay for FragileRelay {
    async fn capabilities(&mut self) -> Capabilities {
        self.0.check(Place::Capabilities);
        Capabilities::all()
    }

    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        self.0.check(Place::Rcpt);
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        self.0.check(Place::Content);
        if self.0.place == Place::LateContent {
            let _panics = PanicsWhenDropped;
            pending::<()>().await;
        }
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        Outcome::Accepted(Receipt::kept("1"))
    }

    async fn close(&mut self) {
        self.0.check(Place::Close);
    }
}

/// Returns the name of the event's variant.
fn kind(event: &Event<'_>) -> String {
    let debug = format!("{event:?}");
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap().into()
}

/// Serves a client that sends EHLO and a message, waits for the reply, and sends `more`. Returns
/// the replies.
fn heard_by_client(
    runtime: &Rehearsal,
    gate: &Gate<Rehearsal>,
    more: &str,
    breaks: bool,
) -> String {
    let mut heard = Vec::new();
    let before = format!("XCLIENT ADDR=192.0.2.7\r\nEHLO c\r\n{MESSAGE}");
    let says = format!("{before}{CONTENT}{more}");
    let mut client = Client::new(&says, &mut heard);
    client.groups = lines(&before);
    client.waits_at = before.len() + CONTENT.len();
    client.breaks = breaks;
    let _ = runtime.run(serve(client, peer(), gate));
    String::from_utf8(heard).unwrap()
}

#[test]
fn a_panic_of_an_observer_at_any_event_costs_no_reply() {
    let kinds = [
        "Connected",
        "ClientChanged",
        "Received",
        "Transmitted",
        "Judged",
        "Tarpitted",
        "Relayed",
        "Ended",
        "Unacknowledged",
        "RelayPanicked",
        "Disconnected",
    ];
    for panics_at in kinds {
        let runtime = Rehearsal::new();
        let target = Fragile::new(Place::Close);
        let mut settings = Settings::new("mx.example");
        settings.xclient_from = "192.0.2.1".parse().unwrap();
        settings.own_networks = Networks::none();
        let (seen, failed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (kinds, failures) = (seen.clone(), failed.clone());
        let gate = Gate::new(runtime.clone(), settings, target.clone())
            .panel(Panel::new().scorer(Suspicious))
            .tarpit(Tarpit::from(Score::points(1)))
            .observer(move |event| {
                assert!(kind(event) != panics_at, "a bug in user code");
            })
            .observer(move |event| match event {
                Event::ObserverFailed { observer: 0, panic } => {
                    assert_eq!(*panic, "a bug in user code");
                    failures.fetch_add(1, Ordering::Relaxed);
                }
                event => kinds.lock().unwrap().push(kind(event)),
            });
        let breaks = panics_at == "Unacknowledged";
        let quit = if breaks { "" } else { "QUIT\r\n" };
        let heard = heard_by_client(&runtime, &gate, quit, breaks);
        assert!(heard.contains("\r\n250 2.0.0 Ok: queued as 1\r\n"), "{panics_at}: {heard}");
        assert!(breaks || heard.contains("\r\n221 "), "{panics_at}: {heard}");
        assert_eq!(target.taken.load(Ordering::Relaxed), 1, "{panics_at}");
        let seen = seen.lock().unwrap();
        let times = seen.iter().filter(|kind| *kind == panics_at).count();
        assert!(times > 0, "{panics_at} was not observed: {seen:?}");
        assert_eq!(gate.observer_panics(), times as u64, "{panics_at}: each panic is counted");
        assert_eq!(failed.load(Ordering::Relaxed), 1, "{panics_at}: and the first is reported");
    }
}

/// A scorer whose finding puts the client into the tarpit.
struct Suspicious;

#[async_trait]
impl Scorer for Suspicious {
    fn name(&self) -> &'static str {
        "suspicious"
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(Finding::new("SUSPICIOUS", Score::points(2)).into())
    }
}

#[test]
fn observers_that_panic_at_reports_of_panics_are_reported_once_each() {
    let runtime = Rehearsal::new();
    let target = Fragile::new(Place::Nowhere);
    let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target.clone())
        .observer(|_| panic!("always"))
        .observer(|_| std::panic::panic_any(Bomb))
        .observer(|_| panic!("always"));
    let heard = heard_by_client(&runtime, &gate, "QUIT\r\n", false);
    assert!(heard.contains("queued as 1"), "{heard}");
    assert_eq!(target.taken.load(Ordering::Relaxed), 1);
}

/// A panic payload whose `Drop` panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Self);
    }
}

#[test]
fn a_panic_of_the_relay_target_is_answered_with_451() {
    for (place, rcpt, content) in [
        (Place::Open, "451 4.3.0", "554 5.5.1"),
        (Place::Capabilities, "451 4.3.0", "554 5.5.1"),
        (Place::Rcpt, "451 4.3.0", "554 5.5.1"),
        (Place::Content, "250", "451 4.3.0"),
        (Place::LateContent, "250", "451 4.4.7"),
        (Place::Close, "250", "250 2.0.0 Ok: queued as 1"),
        (Place::Drop, "250", "250 2.0.0 Ok: queued as 1"),
    ] {
        let runtime = Rehearsal::new();
        let target = Fragile::new(place);
        let panics = Arc::new(AtomicUsize::new(0));
        let counter = panics.clone();
        let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target.clone())
            .observer(move |event| {
                let count = match event {
                    Event::RelayPanicked { panic, .. } => *panic == "a bug in user code",
                    Event::Relayed { outcome: Outcome::Failed(error), .. } => {
                        error.to_string() == "the relay target panicked: a bug in user code"
                    }
                    _ => false,
                };
                counter.fetch_add(usize::from(count), Ordering::Relaxed);
            });
        let mut heard = Vec::new();
        let data = if rcpt == "250" { CONTENT } else { "" };
        // The second recipient is in a new transaction. A relay that panicked is not asked again.
        let says = format!("EHLO c\r\n{MESSAGE}{data}RSET\r\n{MESSAGE}QUIT\r\n");
        let mut client = Client::new(&says, &mut heard);
        client.groups = lines(&format!("EHLO c\r\n{MESSAGE}"));
        if !data.is_empty() {
            client.groups.push(data.len());
        }
        client.groups.extend(lines(&format!("RSET\r\n{MESSAGE}")));
        let _ = runtime.run(serve(client, peer(), &gate));
        let heard = String::from_utf8(heard).unwrap();
        let replies: Vec<&str> = heard.lines().filter(|line| &line[3..4] == " ").collect();
        // Greeting, EHLO, MAIL, RCPT, DATA or the content.
        assert!(replies[3].starts_with(rcpt), "{place:?}: {heard}");
        let answer = if rcpt == "250" { replies[5] } else { replies[4] };
        assert!(answer.starts_with(content), "{place:?}: {heard}");
        let taken = usize::from(content.starts_with("250"));
        assert_eq!(target.taken.load(Ordering::Relaxed), taken, "{place:?}");
        let reported = usize::from(place != Place::LateContent);
        assert_eq!(panics.load(Ordering::Relaxed), reported, "{place:?}: {heard}");
        if place == Place::Content {
            let again = replies.iter().rev().nth(2).unwrap();
            assert!(again.starts_with("451 4.3.0"), "{heard}");
        }
    }
}

fn lines(text: &str) -> Vec<usize> {
    text.split_inclusive("\r\n").map(str::len).collect()
}

/// A scorer that panics in the given place.
struct FragileScorer {
    late: bool,
}

#[derive(Debug)]
struct BrittleError;

impl std::fmt::Display for BrittleError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("a bug in user code");
    }
}

impl std::error::Error for BrittleError {}

impl Drop for BrittleError {
    fn drop(&mut self) {
        panic!("a bug in user code");
    }
}

#[async_trait]
impl Scorer for FragileScorer {
    fn name(&self) -> &'static str {
        "fragile"
    }

    async fn on_data(&self, _: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        if self.late {
            let _panics = PanicsWhenDropped;
            pending::<()>().await;
        }
        Err(ScorerError::new(BrittleError))
    }
}

#[test]
fn a_scorer_whose_parts_panic_when_they_are_dropped_costs_no_reply() {
    for late in [false, true] {
        // The timeout of the scorer, or that of the session, which drops all running hearings.
        for verdict in [Duration::from_secs(120), Duration::from_secs(1)] {
            let runtime = Rehearsal::new();
            let target = Fragile::new(Place::Nowhere);
            let mut settings = Settings::new("mx.example");
            settings.timeouts.verdict = verdict;
            let seat = || Seat::new(FragileScorer { late }).on_failure(FailurePolicy::Ignore);
            let gate = Gate::new(runtime.clone(), settings, target.clone())
                .panel(Panel::new().seat(seat()).seat(seat()))
                .observer(|event| {
                    if let Event::Ended(record) = event {
                        let _ = record.to_string();
                    }
                });
            let heard = heard_by_client(&runtime, &gate, "QUIT\r\n", false);
            let in_time = !late || verdict.as_secs() > 60;
            let expected = if in_time { "queued as 1\r\n221 " } else { "\r\n451 4.3.0 " };
            assert!(heard.contains(expected), "{late} {verdict:?}: {heard}");
            assert_eq!(target.taken.load(Ordering::Relaxed), usize::from(in_time));
        }
    }
}

#[test]
fn the_reply_to_a_content_does_not_wait_for_an_observer_that_blocks() {
    for blocks_at in ["Relayed", "Ended", "Received"] {
        let runtime = Rehearsal::new();
        let target = Fragile::new(Place::Nowhere);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let complete = Arc::new(AtomicBool::new(false));
        let is_complete = complete.clone();
        let mut settings = Settings::new("mx.example");
        settings.early_input = EarlyInput::Tolerate;
        let gate = Gate::new(runtime.clone(), settings, target.clone()).observer(move |event| {
            // After the content: blocks until the client has its reply.
            if let Event::Judged { stage: Stage::Data, .. } = event {
                is_complete.store(true, Ordering::Relaxed);
            } else if is_complete.load(Ordering::Relaxed) && kind(event) == blocks_at {
                let _ = released.lock().unwrap().recv();
            }
        });
        let (hear, heard) = mpsc::channel();
        let session = thread::spawn(move || {
            let mut buffer = Vec::new();
            // The client does not wait for its reply, so there is input while the content is
            // forwarded.
            let says = format!("EHLO c\r\n{MESSAGE}{CONTENT}NOOP\r\nQUIT\r\n");
            let mut client = Client::new(&says, &mut buffer);
            client.groups = lines(&format!("EHLO c\r\n{MESSAGE}"));
            client.groups.push(CONTENT.len());
            client.polite = false;
            let client = Tapped(client, hear);
            let _ = runtime.run(serve(client, peer(), &gate));
        });
        let wait = Duration::from_secs(60);
        let mut told = String::new();
        while !told.contains("queued as 1") {
            let octets = heard.recv_timeout(wait);
            told.push_str(&octets.unwrap_or_else(|_| panic!("{blocks_at}: no reply: {told}")));
        }
        drop(release);
        session.join().unwrap();
        assert_eq!(target.taken.load(Ordering::Relaxed), 1, "{blocks_at}");
    }
}

/// A client that passes on every reply as it is written.
struct Tapped<'c>(Client<'c>, mpsc::Sender<String>);

impl AsyncRead for Tapped<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tapped<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let _ = self.1.send(String::from_utf8(octets.to_vec()).unwrap());
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}
