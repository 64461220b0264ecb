//! See it work, without network, root or a mail server: `cargo run --example demo`.
//!
//! A gate in front of a Maildir, and a client (lettre) that sends it three mails.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use lettre::{Message, SmtpTransport, Transport};
use nobounce::scorers::Gtube;
use nobounce::{
    Address, Event, Gate, Panel, Peer, Runtime, Settings, TransactionRecord, relay, serve,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// What is sent: a title, the recipient, the text.
const MAILS: [(&str, &str, &str); 3] = [
    ("A mail that nobody minds", "alice@example.org", "Hello Alice,\n.\nis a dot.\n"),
    ("Spam: GTUBE, which every filter knows", "alice@example.org", GTUBE),
    ("A recipient that does not exist", "bob@example.org", "Are you there?\n"),
];

/// All that nobounce needs of tokio. Nobody here connects to anything.
struct Tokio;

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

/// A client's connection, and what was said on it: by whom, and the octets.
struct Overheard<S> {
    stream: S,
    said: Vec<(char, Vec<u8>)>,
}

impl<S> Overheard<S> {
    fn note(&mut self, who: char, octets: &[u8]) {
        match self.said.last_mut() {
            Some((last, said)) if *last == who => said.extend_from_slice(octets),
            _ => self.said.push((who, octets.to_vec())),
        }
    }

    /// The dialogue as RFC 5321 writes them.
    fn print(&self) {
        for (who, octets) in &self.said {
            for line in String::from_utf8_lossy(octets).lines() {
                println!("   {who}: {line}");
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for &mut Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(length)) = read {
            self.note('C', &buffer[..length]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for &mut Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        if let Poll::Ready(Ok(length)) = written {
            self.note('S', &octets[..length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let maildir = folder.path().join("maildir");
    let target = relay::Maildir::new(&maildir).recipients(["alice@example.org"])?;
    let records = Arc::new(Mutex::new(Vec::new()));
    let ended = records.clone();
    let observer = move |event: &Event<'_>| {
        if let (Event::Ended(record), Ok(mut ended)) = (event, ended.lock()) {
            ended.push(TransactionRecord::clone(record));
        }
    };
    let gate = Gate::new(Tokio, Settings::new("localhost"), target)
        .panel(Panel::new().scorer(Gtube))
        .observer(observer);
    let gate = Arc::new(gate);

    let runtime = tokio::runtime::Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        io::Result::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    let address = listener.local_addr()?;
    let (sender, sessions) = channel();
    runtime.spawn(accept(listener, gate.clone(), sender));
    let print_session = move |session: Overheard<_>| {
        session.print();
        let records = records.lock().map(|mut records| std::mem::take(&mut *records));
        records.unwrap_or_default().iter().for_each(|record| explain(record, &maildir));
    };

    println!("A gate listens on {address}. It asks one scorer, keeps mail for <alice@example.org>");
    println!("in a Maildir, and knows nobody else. S: is the gate, C: is a client.");
    let client = SmtpTransport::builder_dangerous("127.0.0.1").port(address.port()).build();
    for (number, (title, to, text)) in MAILS.into_iter().enumerate() {
        println!("\n== {}. {title}\n", number + 1);
        let mail = Message::builder()
            .from("Sender <sender@example.com>".parse()?)
            .to(to.parse()?)
            .subject(title)
            .body(text.replace('\n', "\r\n"))?;
        let heard = client.send(&mail);
        print_session(sessions.recv()?);
        match heard {
            Ok(reply) => println!("   The client knows it is kept ({}).", reply.code()),
            Err(error) => println!("   The client knows at once: {error}."),
        }
    }
    println!("\n== Your turn\n");
    println!("   swaks --server {address} --to alice@example.org");
    println!("   nc -C 127.0.0.1 {}", address.port());
    println!("\nCtrl-C ends it, and the Maildir goes with it.");
    println!("listening on {address}");
    thread::spawn(move || {
        for session in sessions {
            println!("\n== A client of yours\n");
            print_session(session);
        }
    });
    runtime.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        gate.shut_down();
        let _ = tokio::time::timeout(Duration::from_secs(5), gate.drained()).await;
    });
    Ok(())
}

async fn accept(
    listener: TcpListener,
    gate: Arc<Gate<Tokio>>,
    sessions: Sender<Overheard<Compat<TcpStream>>>,
) -> io::Result<()> {
    loop {
        let (client, address) = listener.accept().await?;
        client.set_nodelay(true)?;
        let (gate, sessions) = (gate.clone(), sessions.clone());
        tokio::spawn(async move {
            let mut client = Overheard { stream: client.compat(), said: Vec::new() };
            let _ = serve(&mut client, Peer::new(address), &gate).await;
            sessions.send(client)
        });
    }
}

/// What became of a mail, and why.
fn explain(record: &TransactionRecord, maildir: &std::path::Path) {
    println!("\n   Result:   {} ({})", record.end.cause, record.tally);
    for (recipient, reply) in &record.end.refused {
        println!("   Refused:  {} because {reply}", recipient.path);
    }
    match &record.queue_id {
        Some(name) => println!("   Mail:     {}", maildir.join("new").join(&**name).display()),
        None => println!("   Mail:     nowhere; the sender has it still"),
    }
    println!("   Record:   {record}");
}
