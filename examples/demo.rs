//! A self-contained demo: a gate in front of a Maildir and a client that sends it three messages.
//!
//! It needs no network, no root privileges and no mail server: `cargo run --example demo`.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lettre::{Message, SmtpTransport, Transport};
use nobounce::relay::Mailboxes;
use nobounce::scorers::Gtube;
use nobounce::{Address, Event, Gate, Observer, Panel, Peer, Runtime, Settings, relay, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// The messages to send: title, recipient, text.
const MAILS: [(&str, &str, &str); 3] = [
    ("A mail that nobody minds", "alice@example.org", "Hello Alice,\r\n.\r\nis a dot.\r\n"),
    ("Spam: GTUBE, which every filter knows", "alice@example.org", GTUBE),
    ("A recipient that does not exist", "bob@example.org", "Are you there?\r\n"),
];

struct Tokio; // The minimum that nobounce needs; this demo opens no outgoing connection.

#[async_trait]
impl Runtime for Tokio {
    type Stream = Compat<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// An observer that prints each session after it ends: first the dialogue in the notation of RFC
/// 5321, then the result.
struct Narrator {
    new: PathBuf,
    story: Mutex<[String; 2]>,
}

impl Observer for Narrator {
    fn observe(&self, event: &Event<'_>) {
        let mut story = self.story.lock().unwrap_or_else(PoisonError::into_inner);
        let [dialogue, result] = &mut *story;
        let mut say = |who: &str, octets: &[u8]| {
            let lines = String::from_utf8_lossy(octets);
            dialogue.extend(lines.lines().map(|line| format!("   {who}: {line}\n")));
        };
        match event {
            Event::Received { octets, .. } => say("C", octets),
            Event::Transmitted { octets, .. } => say("S", octets),
            Event::Ended(record) => {
                let kept = record.queue_id.as_ref().map(|name| self.new.join(&**name));
                let place = kept.unwrap_or("nowhere; the sender has it still".into());
                *result += &format!("   Verdict: {} ({})\n", record.end.cause, record.tally);
                *result += &format!("   Mail:    {}\n   Record:  {record}\n", place.display());
            }
            Event::Disconnected(_) => {
                println!("{dialogue}\n{result}");
                *story = Default::default();
            }
            _ => {}
        }
    }
}

async fn accept(listener: TcpListener, gate: Arc<Gate<Tokio>>) -> io::Result<()> {
    loop {
        let (client, address) = listener.accept().await?;
        client.set_nodelay(true)?;
        let gate = gate.clone();
        tokio::spawn(async move { serve(client.compat(), Peer::new(address), &gate).await });
    }
}

fn send(server: u16, title: &str, to: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let client = SmtpTransport::builder_dangerous("127.0.0.1").port(server).build();
    let from = "Sender <sender@example.com>".parse()?;
    let mail =
        Message::builder().from(from).to(to.parse()?).subject(title).body(text.to_owned())?;
    let heard = client.send(&mail).map(|reply| reply.code().to_string());
    println!("The client knows at once: {}\n", heard.unwrap_or_else(|error| error.to_string()));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let folder = tempfile::tempdir()?;
    let maildir = folder.path().join("maildir");
    let target = relay::Maildir::new(&maildir).recipients(Mailboxes::new(["alice@example.org"])?);
    let gate = Gate::new(Tokio, Settings::new("localhost"), target)
        .panel(Panel::new().scorer(Gtube))
        .observed_by(Narrator { new: maildir.join("new"), story: Mutex::default() });
    let gate = Arc::new(gate);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener, gate.clone()));

    println!("A gate that keeps mail for <alice@example.org>. S: is the gate, C: a client.\n");
    for (title, to, text) in MAILS {
        println!("== {title}\n");
        tokio::task::block_in_place(|| send(address.port(), title, to, text))?;
        gate.drained().await;
    }
    println!("== Your turn\n\n   swaks --server {address} --to alice@example.org\n");
    println!("Ctrl-C ends it, and the Maildir goes with it.\nlistening on {address}");
    tokio::select!(_ = interrupt.recv() => {}, _ = terminate.recv() => {});
    gate.shut_down();
    let _ = tokio::time::timeout(Duration::from_secs(5), gate.drained()).await;
    Ok(())
}
