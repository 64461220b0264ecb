//! The run loop by hand, over `std::net`, a thread for each client and no runtime:
//! `cargo run --example on_blocking -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use clap::Parser;
use futures::io::AllowStdIo;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::{Address, Panel, Peer, Request, Runtime, Session, SessionId, Settings, Step};
use nobounce::{Tally, Target, relay};
use pollster::block_on;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// For scorers and relay targets: blocking sockets with time-outs are all the runtime there is.
struct Blocking;

#[async_trait]
impl Runtime for Blocking {
    type Stream = AllowStdIo<TcpStream>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep_until(&self, at: Instant) {
        futures_timer::Delay::new(at.saturating_duration_since(Instant::now())).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        patient(TcpStream::connect(address.to_string())?, 60).map(AllowStdIo::new)
    }
}

/// The stream, whose reads give up after so many seconds.
fn patient(stream: TcpStream, seconds: u64) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(seconds)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

static GOING_DOWN: AtomicBool = AtomicBool::new(false);
/// Each session holds it shared; whoever gets it alone knows that none is left.
static SESSIONS: RwLock<()> = RwLock::new(());

fn serve(mut client: TcpStream, mut session: Session, target: &dyn Target, panel: &Panel) {
    let mut relay = target.open(session.peer());
    session.offer(&block_on(relay.capabilities()));
    let mut tally = Tally::default();
    loop {
        match session.poll(Instant::now()) {
            Step::Transmit(octets) => match client.write_all(&octets) {
                Ok(()) => {}
                Err(_) => session.lose_client(),
            },
            Step::Receive => {
                let mut buffer = [0; 16_384];
                match client.read(&mut buffer) {
                    Ok(0) => session.receive_eof(),
                    Ok(length) => session.receive(&buffer[..length]),
                    Err(e)
                        if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                    {
                        session.handle_timeout(Instant::now());
                    }
                    Err(_) => session.lose_client(),
                }
                if GOING_DOWN.load(SeqCst) {
                    session.shut_down();
                }
            }
            Step::Ask(question) => {
                let verdict = block_on(panel.ask(&Blocking, question.subject(), &mut tally));
                question.answer(verdict);
            }
            Step::Forward(forward) => {
                let outcome = match forward.request() {
                    Request::Recipient(envelope, path) => block_on(relay.rcpt(envelope, path)),
                    Request::Content(envelope, message) => {
                        block_on(relay.content(envelope, message))
                    }
                };
                forward.complete(outcome);
            }
            Step::Ended(end) => println!("id={} result={} {tally}", end.envelope.id, end.cause),
            Step::StartTls => session.lose_client(),
            Step::Close => break,
        }
    }
    block_on(relay.close());
}

#[derive(clap::Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: String,
    /// The onward server; without it mail is kept in `./maildir`.
    #[arg(long)]
    relay: Option<Address>,
    #[arg(long)]
    spamd: Option<Address>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(Blocking, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let spamd = options.spamd.map(|address| Spamd::new(Blocking, address));
    let panel = spamd.into_iter().fold(Panel::new().scorer(Gtube), Panel::scorer);
    let settings = Arc::new(Settings::new("localhost"));
    let shared = Arc::new((target, panel));

    let listener = TcpListener::bind(&options.listen)?;
    println!("listening on {}", listener.local_addr()?);
    let accept = move || {
        for n in 0.. {
            let Ok((client, address)) = listener.accept() else { continue };
            let id = SessionId::new(&format!("{}-{n}", std::process::id()));
            let (settings, shared) = (settings.clone(), shared.clone());
            thread::spawn(move || {
                let _session = SESSIONS.read();
                let (now, time) = (Instant::now(), SystemTime::now());
                let session = Session::new(settings, id, Peer::new(address), now, time);
                serve(patient(client, 1)?, session, &*shared.0, &shared.1);
                io::Result::Ok(())
            });
        }
    };
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(accept);
    signals.forever().next();
    GOING_DOWN.store(true, SeqCst);
    drop(SESSIONS.write());
    Ok(())
}
