//! A blocking client over TCP or a Unix socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use nobounce::Address;

use super::PATIENCE;

pub(crate) struct Client(BufReader<Box<dyn Stream>>);

pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Client {
    pub(crate) fn connect(address: &Address) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects. Fails after 60 s, even if the backlog is full.
    pub(crate) fn try_connect(address: &Address) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(&address.parse().unwrap(), PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn greeted(address: &Address) -> Self {
        let mut client = Self::connect(address);
        client.expect("220 mx.example ESMTP");
        client
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Sends a command and checks the beginning of the reply.
    pub(crate) fn say(&mut self, command: &str, reply: &str) {
        self.send(&format!("{command}\r\n"));
        self.expect(reply);
    }

    pub(crate) fn expect(&mut self, expected: &str) {
        let mut reply = String::new();
        loop {
            let before = reply.len();
            let length = self.0.read_line(&mut reply).unwrap();
            assert_ne!(length, 0, "closed after {reply:?}, expected {expected:?}");
            if reply.as_bytes().get(before + 3) != Some(&b'-') {
                break;
            }
        }
        assert!(reply.starts_with(expected), "{reply:?}, expected {expected:?}");
    }

    /// Runs a transaction up to the reply to DATA.
    pub(crate) fn begin_message(&mut self) {
        self.say("EHLO client.example", "250-");
        self.say("MAIL FROM:<a@example.org>", "250 ");
        self.say("RCPT TO:<b@mx.example>", "250 ");
        self.say("DATA", "354 ");
    }

    /// Checks that the gate closes the connection without further output.
    pub(crate) fn assert_closed(mut self) {
        let mut rest = String::new();
        match self.0.read_to_string(&mut rest) {
            Ok(_) => assert_eq!(rest, ""),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
}
