//! Copies of refused messages: what is kept, its limits, and its release to a relay target.

#![cfg(all(feature = "json", feature = "testing", unix))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nobounce::message::Budget;
use nobounce::observer::{
    KeptMail, KeptMailError, RefusedMail, RefusedMailLimits, RefusedMailReport, RefusedMailWriter,
};
use nobounce::reply::EnhancedStatus;
use nobounce::scorers::Gtube;
use nobounce::session::Capabilities;
use nobounce::testing::{Script, VirtualRuntime, peer};
use nobounce::{
    DataContext, Envelope, ForwardPath, Gate, Message, Opinion, Outcome, Panel, Peer, Receipt,
    Refusal, Relay, Scorer, ScorerError, Settings, Target, async_trait, serve,
};
use pollster::block_on;
use tempfile::TempDir;

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n";
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

type Got = (Envelope, Vec<u8>);

/// A relay target that records what it gets, and refuses recipients named `nobody` and `later`.
#[derive(Clone, Default)]
struct Onward {
    got: Arc<Mutex<Vec<Got>>>,
    one_by_one: bool,
}

impl Target for Onward {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Relay for Onward {
    async fn capabilities(&mut self) -> Capabilities {
        let mut offered = Capabilities::basic();
        (offered.smtp_utf8, offered.dsn) = (true, true);
        offered.recipients_max = self.one_by_one.then_some(1);
        offered
    }

    async fn rcpt(&mut self, _: &Envelope, recipient: &ForwardPath) -> Outcome {
        let status = EnhancedStatus::new(1, 1);
        match recipient.path.to_string() {
            it if it.contains("nobody@") => {
                Outcome::Refused(Refusal::permanent(550, status, "No such user"))
            }
            it if it.contains("later@") => {
                Outcome::Refused(Refusal::transient(451, status, "Later"))
            }
            _ => Outcome::Accepted(Receipt::recipient()),
        }
    }

    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        let mut got = self.got.lock().unwrap();
        got.push((envelope.clone(), message.segments().concat()));
        Outcome::Accepted(Receipt::kept(&format!("Q{}", got.len())))
    }
}

struct Fails;

#[async_trait]
impl Scorer for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let is_meant = at.envelope.reverse_path.path.to_string().contains("fail@");
        if is_meant { Err(ScorerError::new("no answer")) } else { Ok(Opinion::default()) }
    }
}

/// A gate that keeps refused messages.
struct Keeping {
    runtime: VirtualRuntime,
    gate: Gate<VirtualRuntime>,
    writer: RefusedMailWriter,
    folder: TempDir,
}

impl Keeping {
    fn new(limits: RefusedMailLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (refused, writer) = RefusedMail::new(&folder.path().join("refused"), limits).unwrap();
        let runtime = VirtualRuntime::with(Script::smtp_server());
        let mut settings = Settings::new("mx.example");
        // Memory for one message at a time.
        settings.budget = Budget::new(1 << 20);
        let gate = Gate::new(runtime.clone(), settings, Onward::default())
            .panel(Panel::new().scorer(Gtube).scorer(Fails))
            .session_prefix("gate")
            .record_fields(["Subject"])
            .observed_by(refused);
        Self { runtime, gate, writer, folder }
    }

    /// Sends a message in its own session, and returns the reply to its content.
    fn send(&self, mail: &[&str], content: &str) -> String {
        let content = format!("{content}.");
        let commands = [&["EHLO client.example"], mail, &["DATA", &content, "QUIT"]].concat();
        let client = self.runtime.client(Script::smtp_client(commands));
        let heard = client.heard();
        self.runtime.run(serve(client, peer(), &self.gate)).unwrap();
        let heard = heard.text();
        heard.lines().nth_back(1).unwrap().to_owned()
    }

    fn refuse(&self, content: &str) {
        let reply = self.send(&["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"], content);
        assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    }

    /// Writes the copies. Returns the folder and the reports.
    fn write(self) -> (TempDir, Vec<RefusedMailReport>) {
        drop(self.gate);
        let mut reports = Vec::new();
        self.writer.run(|report| reports.push(report));
        (self.folder, reports)
    }
}

fn spam(subject: &str) -> String {
    format!("Subject: {subject}\r\n\r\n..dots\r\n{GTUBE}")
}

fn files(folder: &TempDir) -> Vec<String> {
    let files = fs::read_dir(folder.path().join("refused")).unwrap();
    let mut names: Vec<_> =
        files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(folder: &TempDir, reference: &str) -> Result<KeptMail, KeptMailError> {
    KeptMail::open(&folder.path().join("refused"), reference)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn refused_message_is_kept_privately_and_released_as_it_was_sent() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    let mail = [
        "MAIL FROM:<gr\u{fc}\u{df}e@example.org> BODY=8BITMIME SMTPUTF8 ENVID=a+2Bb",
        "RCPT TO:<b@example.com> NOTIFY=NEVER",
        "RCPT TO:<100%25@example.com>",
    ];
    let reply = keeping.send(&mail, &spam("offer"));
    assert!(reply.starts_with("550 5.7.1 Message refused: GTUBE (gate-0.1)"), "{reply}");
    let (folder, reports) = keeping.write();
    assert!(reports.is_empty(), "{reports:?}");
    assert_eq!(files(&folder), ["gate-0.1.eml", "gate-0.1.json"]);
    let refused = folder.path().join("refused");
    assert_eq!(mode(&refused), 0o700);
    let (eml, json) = (refused.join("gate-0.1.eml"), refused.join("gate-0.1.json"));
    assert_eq!((mode(&eml), mode(&json)), (0o600, 0o600));
    let message = fs::read(&eml).unwrap();
    assert!(message.starts_with(b"Received: from client.example "));
    assert!(message.ends_with(spam("offer").replace("..", ".").as_bytes()));
    assert!(fs::read(&json).unwrap().is_ascii());

    let mut kept = open(&folder, "gate-0.1").unwrap();
    assert!(matches!(open(&folder, "gate-0.1"), Err(KeptMailError::InUse)));
    let record = kept.record().to_string();
    assert!(record.contains("\"subject\"") || record.contains("offer"), "{record}");
    let onward = Onward::default();
    let all = kept.unreleased();
    assert_eq!(all, ["<b@example.com> NOTIFY=NEVER", "<100%2525@example.com>"]);
    let answers = block_on(kept.release(&onward, &all, "mx.example", NOW)).unwrap();
    let replies: Vec<_> = answers.iter().map(|it| it.reply.to_string()).collect();
    assert_eq!(replies, ["250 2.0.0 Ok: queued as Q1"; 2]);
    {
        let got = onward.got.lock().unwrap();
        let [(envelope, content)] = &got[..] else { panic!("{} messages", got.len()) };
        let sender = &envelope.reverse_path;
        assert_eq!(sender.path.written(), "<gr\u{fc}\u{df}e@example.org>".as_bytes());
        assert!(sender.parameters.smtp_utf8 && sender.parameters.dsn);
        assert!(envelope.forward_paths[0].parameters.dsn);
        assert_eq!(envelope.forward_paths[1].path.written(), b"<100%25@example.com>");
        assert_eq!(envelope.id.to_string(), "gate-0.1");
        let client = &envelope.peer;
        assert_eq!(client.address, peer().address);
        assert_eq!(client.helo.as_ref().unwrap().name.as_ref(), "client.example");
        let trace = content.strip_suffix(&message[..]).expect("the message as it was sent");
        let trace = String::from_utf8_lossy(trace).replace("\r\n ", " ");
        let expected =
            "X-Nobounce-Released: gate-0.1 by mx.example; Thu, 01 Jan 1970 00:00:00 +0000\r\n";
        assert_eq!(trace.replace("\r\n\t", " "), expected);
    }
    drop(kept);
    let kept = open(&folder, "gate-0.1").unwrap();
    assert!(kept.unreleased().is_empty());
    assert_eq!(kept.releases()[0].reply, "250 2.0.0 Ok: queued as Q1");
    assert_eq!(mode(&json), 0o600);
    kept.remove().unwrap();
    assert!(files(&folder).is_empty());
    assert!(matches!(open(&folder, "gate-0.1"), Err(KeptMailError::NotFound)));
}

#[test]
fn only_messages_that_the_panel_refused_for_good_are_kept() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    let rcpt = "RCPT TO:<b@example.com>";
    let accepted =
        keeping.send(&["MAIL FROM:<a@example.org>", rcpt], "Subject: x\r\n\r\nHello\r\n");
    assert!(accepted.starts_with("250 "), "{accepted}");
    let deferred = keeping.send(&["MAIL FROM:<fail@example.org>", rcpt], "Subject: x\r\n\r\n");
    assert!(deferred.starts_with("451 "), "{deferred}");
    let (folder, _) = keeping.write();
    assert!(files(&folder).is_empty());

    let mut limits = RefusedMailLimits::default();
    limits.share = 0.0;
    let keeping = Keeping::new(limits);
    keeping.refuse(&spam("x"));
    assert!(files(&keeping.write().0).is_empty());
}

#[test]
fn share_of_the_refused_messages_is_kept() {
    let mut limits = RefusedMailLimits::default();
    limits.share = 0.5;
    let keeping = Keeping::new(limits);
    (0..400).for_each(|_| keeping.refuse(&spam("x")));
    let count = files(&keeping.write().0).len() / 2;
    assert!((120..280).contains(&count), "{count}");
}

#[test]
fn release_continues_with_the_recipients_that_are_left() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    // At the time of the refusal, all recipients were accepted.
    let mail = ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>"];
    keeping.send(&mail, &spam("x"));
    let (folder, _) = keeping.write();
    let json = folder.path().join("refused/gate-0.1.json");
    let text = fs::read_to_string(&json).unwrap();
    fs::write(&json, text.replace("[\"<b@", "[\"<later@")).unwrap();
    let mut kept = open(&folder, "gate-0.1").unwrap();
    for (onward, messages) in
        [(Onward::default(), 1), (Onward { one_by_one: true, ..Onward::default() }, 0)]
    {
        let left = kept.unreleased();
        let answers = block_on(kept.release(&onward, &left, "mx.example", NOW)).unwrap();
        let first = &answers[0];
        assert_eq!(first.recipient, "<later@example.com>");
        assert_eq!(first.reply.to_string(), "451 4.1.1 Later");
        assert_eq!(onward.got.lock().unwrap().len(), messages);
        assert_eq!(kept.unreleased(), ["<later@example.com>"]);
    }
    // A target that takes one recipient in each transaction.
    let onward = Onward { one_by_one: true, ..Onward::default() };
    let all =
        vec!["<c@example.com>".to_owned(), "<nobody@example.com>".into(), "<d@example.com>".into()];
    let answers = block_on(kept.release(&onward, &all, "mx.example", NOW)).unwrap();
    let codes: Vec<_> = answers.iter().map(|it| it.reply.to_string()[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "550", "250"]);
    let got = onward.got.lock().unwrap();
    assert_eq!(got.len(), 2);
    assert_ne!(got[0].0.id, got[1].0.id);
}

#[test]
fn oldest_copies_are_removed_at_the_limits() {
    let mut limits = RefusedMailLimits::default();
    limits.messages = 2;
    let keeping = Keeping::new(limits.clone());
    for n in 0..4 {
        keeping.refuse(&spam(&n.to_string()));
    }
    let (folder, reports) = keeping.write();
    assert!(reports.is_empty());
    let kept = ["gate-2.1.eml", "gate-2.1.json", "gate-3.1.eml", "gate-3.1.json"];
    assert_eq!(files(&folder), kept);

    // Another process finds the copies, and leaves files of others alone.
    let refused = folder.path().join("refused");
    fs::write(refused.join("notes"), "mine").unwrap();
    fs::write(refused.join("gate-9.1.eml.unfinished"), "torn").unwrap();
    let size = |name: &str| fs::metadata(refused.join(name)).unwrap().len();
    let one = size("gate-3.1.eml") + size("gate-3.1.json");
    limits.octets = one * 2 + one / 2;
    limits.messages = 100;
    let again = |limits: &RefusedMailLimits, age: u64, name: &str| {
        let (observer, writer) = RefusedMail::new(&refused, limits.clone()).unwrap();
        let gate = Keeping::new(RefusedMailLimits::default());
        let gate = Keeping { gate: gate.gate.session_prefix(name).observed_by(observer), ..gate };
        let file = fs::File::options().write(true).open(refused.join("gate-2.1.json")).ok();
        #[allow(clippy::disallowed_methods, reason = "files have the time of day")]
        let then = SystemTime::now() - Duration::from_secs(age);
        file.iter().for_each(|file| file.set_modified(then).unwrap());
        gate.refuse(&spam("5"));
        drop(gate.gate);
        writer.run(|report| panic!("{report}"));
    };
    again(&limits, 0, "size");
    assert_eq!(
        files(&folder),
        ["gate-3.1.eml", "gate-3.1.json", "notes", "size-0.1.eml", "size-0.1.json"]
    );

    limits.octets = 1 << 20;
    limits.age = Duration::from_secs(3_600);
    let old = fs::File::options().write(true).open(refused.join("gate-3.1.eml")).unwrap();
    old.set_modified(NOW).unwrap();
    again(&limits, 0, "age");
    let kept = ["age-0.1.eml", "age-0.1.json", "notes", "size-0.1.eml", "size-0.1.json"];
    assert_eq!(files(&folder), kept);
}

#[test]
fn only_the_header_of_a_large_message_is_kept() {
    let mut limits = RefusedMailLimits::default();
    limits.message_size = 1_000;
    let keeping = Keeping::new(limits);
    keeping.refuse(&spam("small"));
    keeping.refuse(&format!("{}{}", spam("large"), "x\r\n".repeat(400)));
    let (folder, _) = keeping.write();
    let small = open(&folder, "gate-0.1").unwrap();
    let mut large = open(&folder, "gate-1.1").unwrap();
    assert!(small.is_whole() && !large.is_whole());
    let text = fs::read_to_string(folder.path().join("refused/gate-1.1.eml")).unwrap();
    assert!(text.starts_with("Received: ") && text.ends_with("\r\nSubject: large\r\n"), "{text}");
    let (onward, all) = (Onward::default(), large.unreleased());
    let released = block_on(large.release(&onward, &all, "mx.example", NOW));
    assert!(matches!(released, Err(KeptMailError::HeaderOnly)), "{released:?}");
    assert!(onward.got.lock().unwrap().is_empty());
}

/// The writer does not run, so that the disk seems to hang. Every client still gets the refusal, and
/// the copies hold no memory for mail data.
#[test]
fn slow_disk_loses_copies_and_changes_no_reply() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    // 1 MiB of mail data is less than what waits.
    let body = "x".repeat(900) + "\r\n";
    for n in 0..1_030 {
        keeping.refuse(&format!("{}{}", spam(&n.to_string()), body.repeat(4)));
    }
    let (folder, reports) = keeping.write();
    assert_eq!(files(&folder).len(), 2 * 1_000, "the limit of copies");
    let [RefusedMailReport::Failed(error)] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(error.to_string(), "too many copies wait for the disk");
}

/// As above, with few large messages, and with large headers only.
#[test]
fn octets_that_wait_for_the_disk_are_bounded() {
    let field = format!("X-A: {}\r\n", "x".repeat(900));
    for (header_only, content, count) in [
        (false, format!("\r\n{GTUBE}{}", field.repeat(1_000)), 40),
        (true, format!("{}\r\n{GTUBE}", field.repeat(66)), 600),
    ] {
        let mut limits = RefusedMailLimits::default();
        limits.header_only = header_only;
        let keeping = Keeping::new(limits);
        (0..count).for_each(|_| keeping.refuse(&content));
        let (folder, reports) = keeping.write();
        let paths =
            fs::read_dir(folder.path().join("refused")).unwrap().map(|it| it.unwrap().path());
        let messages = paths.filter(|path| path.extension().is_some_and(|it| it == "eml"));
        let octets: u64 = messages.map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!((31 << 20..=32 << 20).contains(&octets), "{header_only}: {octets}");
        assert!(matches!(&reports[..], [RefusedMailReport::Failed(_)]), "{reports:?}");
    }
}

#[test]
fn failing_disk_is_reported_once_and_changes_no_reply() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    // A file cannot be created in a folder that is gone.
    fs::remove_dir(keeping.folder.path().join("refused")).unwrap();
    (0..5).for_each(|_| keeping.refuse(&spam("x")));
    let (_folder, reports) = keeping.write();
    let [RefusedMailReport::Failed(error)] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn reference_cannot_leave_the_folder() {
    let keeping = Keeping::new(RefusedMailLimits::default());
    let keeping = Keeping { gate: keeping.gate.session_prefix("../../x"), ..keeping };
    keeping.refuse(&spam("x"));
    let (folder, reports) = keeping.write();
    assert!(reports.is_empty(), "{reports:?}");
    assert_eq!(files(&folder), ["%2e.%2f..%2fx-0.1.eml", "%2e.%2f..%2fx-0.1.json"]);
    assert!(open(&folder, "../../x-0.1").is_ok());
    assert!(matches!(open(&folder, "../refused/gate-0.1"), Err(KeptMailError::NotFound)));
}
