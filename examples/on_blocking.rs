//! A hand-written run loop over `std::net`, with one thread for each client.
//!
//! `cargo run --example on_blocking -- --relay 127.0.0.1:25`

use std::io::{self, ErrorKind::Interrupted, ErrorKind::WouldBlock, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, Builder};
use std::{error::Error, time::Duration, time::Instant};

use async_io::{Async, Timer};
use clap::Parser;
use nobounce::gate::GateStep;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::{Address, Event, Gate, Panel, Peer, Runtime, Settings, Target, relay};
use pollster::block_on;
use signal_hook::{consts::SIGINT, consts::SIGTERM, iterator::Signals};

/// The runtime adapter for scorers and relay targets, which are `async`. It is built on
/// `async-io`.
struct Waiting;

#[async_trait::async_trait]
impl Runtime for Waiting {
    type Stream = Async<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        Timer::at(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        let stream = TcpStream::connect(address.to_string())?;
        stream.set_nodelay(true)?;
        Async::new(stream)
    }
}

/// Serves one client on its own thread. The read times out every second, so that the loop can
/// check the time.
fn serve(mut client: TcpStream, gate: &Gate<Waiting>) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    client.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut session = match block_on(gate.open(Peer::new(client.peer_addr()?))) {
        Ok(session) => session,
        Err(reason) => return write!(client, "{}\r\n", reason.reply()),
    };
    loop {
        match session.poll(Waiting.now()) {
            GateStep::Transmit(octets) if client.write_all(&octets).is_err() => {
                session.lose_client();
            }
            GateStep::Transmit(_) => {}
            GateStep::Receive => {
                let mut buffer = [0; 16_384];
                match client.read(&mut buffer) {
                    Ok(0) => session.receive_eof(),
                    Ok(length) => session.receive(&buffer[..length]),
                    Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
                    Err(_) => session.lose_client(),
                }
                session.handle_timeout(Waiting.now());
            }
            GateStep::Ask(question) => block_on(question.ask()),
            GateStep::Forward(forward) => block_on(forward.ask()),
            GateStep::Delay(until) => block_on(Waiting.sleep_until(until)),
            GateStep::StartTls => session.tls_failed(), // This gate does not offer TLS.
            GateStep::Close => break,
        }
    }
    // Closing a socket with unread input resets the connection, and the last reply could be lost.
    let _ = client.shutdown(Shutdown::Write).and_then(|()| client.read(&mut [0; 16_384]));
    drop(client);
    block_on(session.close());
    Ok(())
}

/// Writes one line for each transaction, with all findings.
fn log(event: &Event<'_>) {
    if let Event::Ended(record) = event {
        let (id, cause) = (&record.end.envelope.id, record.end.cause);
        let _ = writeln!(io::stdout(), "id={id} {} {cause}", record.tally);
    }
}

#[derive(Parser)]
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
        Some(address) => Box::new(relay::Smtp::new(Waiting, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let spamd = options.spamd.map(|address| Spamd::new(Waiting, address));
    let panel = spamd.into_iter().fold(Panel::new().scorer(Gtube), Panel::scorer);
    let gate = Gate::new(Waiting, Settings::new("localhost"), target).panel(panel).observer(log);

    let listener = TcpListener::bind(&options.listen)?;
    let own = listener.local_addr()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    println!("listening on {own}");
    thread::scope(|scope| {
        scope.spawn(|| {
            signals.forever().next();
            gate.shut_down();
            TcpStream::connect(own) // wakes the accept loop
        });
        for client in listener.incoming().take_while(|_| !gate.is_going_down()) {
            let spawn = |client| Builder::new().spawn_scoped(scope, || serve(client, &gate));
            if let Err(error) = client.and_then(spawn) {
                // Most likely out of file descriptors or threads. Some will soon be free again.
                let _ = writeln!(io::stderr(), "accept: {error}");
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    });
    Ok(())
}
