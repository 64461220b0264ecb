//! Minimal servers around a gate: an onward server and a spamd.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A mail that the onward server received, including the end of data, whatever it replied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// DATA or BDAT.
    pub(crate) verb: String,
    /// The arguments of `MAIL FROM:` and of each accepted `RCPT TO:`.
    pub(crate) envelope: Vec<String>,
    pub(crate) content: Vec<u8>,
}

/// An onward server whose replies depend on the recipient.
pub(crate) struct Onward {
    pub(crate) address: SocketAddr,
    pub(crate) deliveries: Receiver<Delivery>,
}

/// Local part of the recipient, the reply to RCPT, and the reply to the content (`None`: it closes
/// the connection). All other recipients are accepted.
pub(crate) const ANSWERS: &[(&str, &str, Option<&str>)] = &[
    (
        "nobody",
        "550-5.1.1 <nobody@example.org>: no such user here,\r\n\
         550-5.1.1\r\n\
         550 5.1.1 see https://example.org/help?a=1&b=2\r\n",
        None,
    ),
    ("later", "451 4.7.1 <later@example.org>: greylisted, 60 s\r\n", None),
    ("spamtrap", OK, Some("554-5.7.1 we do not want this\r\n554 5.7.1 and shall not\r\n")),
    ("full", OK, Some("452 4.2.2 mailbox full\r\n")),
    ("curt", OK, Some("550 no\r\n")),
    ("cut", OK, None),
];
const OK: &str = "250 2.1.5 Ok\r\n";
pub(crate) const TAKEN: &str = "250 2.0.0 Ok: queued as 4Xyz\r\n";

impl Onward {
    pub(crate) fn start(chunking: bool) -> Self {
        let (sender, deliveries) = channel();
        let address = listen(move |stream| onward(stream, chunking, &sender));
        Self { address, deliveries }
    }
}

fn onward(mut stream: BufReader<TcpStream>, chunking: bool, deliveries: &Sender<Delivery>) {
    let (mut envelope, mut content, mut answer) = (Vec::new(), Vec::new(), Some(TAKEN));
    say(&mut stream, "220 onward.example ESMTP\r\n");
    while let Some(line) = line(&mut stream) {
        let argument = |prefix: &str| line.strip_prefix(prefix).map(str::to_owned);
        let upper = line.to_ascii_uppercase();
        let verb = upper.split(' ').next().unwrap();
        if let Some(path) = argument("MAIL FROM:") {
            (envelope, answer) = (vec![path], Some(TAKEN));
            say(&mut stream, "250 2.1.0 Ok\r\n");
        } else if let Some(path) = argument("RCPT TO:") {
            let known = ANSWERS.iter().find(|(local, ..)| path.contains(&format!("<{local}@")));
            let (reply, later) =
                known.map_or((OK, Some(TAKEN)), |(_, reply, later)| (*reply, *later));
            if reply == OK {
                envelope.push(path);
                answer = later;
            }
            say(&mut stream, reply);
        } else if verb == "DATA" || verb == "BDAT" {
            let last = if verb == "DATA" {
                say(&mut stream, "354 go ahead\r\n");
                content = data(&mut stream);
                true
            } else {
                let size = line.split(' ').nth(1).unwrap().parse().unwrap();
                let chunk = stream.by_ref().take(size).read_to_end(&mut content).unwrap();
                assert_eq!(chunk as u64, size);
                upper.ends_with(" LAST")
            };
            if !last {
                say(&mut stream, "250 2.0.0 chunk\r\n");
                continue;
            }
            let (envelope, content) = (envelope.split_off(0), content.split_off(0));
            deliveries.send(Delivery { verb: verb.into(), envelope, content }).unwrap();
            let Some(answer) = answer else { return };
            say(&mut stream, answer);
        } else if verb == "EHLO" {
            let chunking = if chunking { "250-CHUNKING\r\n" } else { "" };
            let offered = "250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n";
            say(&mut stream, &format!("250-onward.example\r\n{offered}{chunking}250 HELP\r\n"));
        } else {
            say(&mut stream, if verb == "QUIT" { "221 2.0.0 Bye\r\n" } else { "250 2.0.0 Ok\r\n" });
        }
    }
}

/// Reads mail data after 354 and removes dot-stuffing (RFC 5321 section 4.5.2).
fn data(stream: &mut impl BufRead) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\r\n"), "truncated mail data");
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return content,
            rest => content.extend_from_slice(rest.unwrap_or(&line)),
        }
    }
}

/// Starts a spamd that gives every message this score.
pub(crate) fn spamd(score: &'static str) -> SocketAddr {
    listen(move |mut stream| {
        let request = line(&mut stream).unwrap();
        assert!(request.starts_with("REPORT SPAMC/1."), "{request}");
        let mut length = 0;
        while let Some(field) = line(&mut stream).filter(|line| !line.is_empty()) {
            if let Some(value) = field.strip_prefix("Content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).unwrap();
        let head = "SPAMD/1.5 0 EX_OK\r\nContent-length: 17\r\n";
        let verdict =
            if score.parse::<f64>().is_ok_and(|score| score < 5.0) { "False" } else { "True" };
        say(
            &mut stream,
            &format!("{head}Spam: {verdict} ; {score} / 5.0\r\n\r\n 0.0 TEST_RULE x\n"),
        );
    })
}

/// Returns an address without a listener.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Listens until the end of the test, with a thread for each connection.
fn listen(serve: impl Fn(BufReader<TcpStream>) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (serve.clone(), stream.unwrap());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(BufReader::new(stream)));
        }
    });
    address
}

/// Reads a line without its end; `None` when the peer has closed.
fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    Some(line.strip_suffix("\r\n").expect("lines end in CRLF").to_owned())
}

fn say(stream: &mut BufReader<TcpStream>, reply: &str) {
    // Errors are ignored: the gate's client checks whether the gate still works.
    let _ = stream.get_mut().write_all(reply.as_bytes());
}
