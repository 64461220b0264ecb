//! A client that sends given octets and returns every reply unchanged.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, and reads the greeting and the reply to EHLO.
    pub(crate) fn greet(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        let greeting = client.reply();
        assert!(greeting.starts_with("220 localhost ESMTP nobounce"), "{greeting}");
        let offered = client.say("EHLO client.example");
        assert!(offered.starts_with("250-localhost"), "{offered}");
        client
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a command and returns the reply.
    pub(crate) fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends commands and returns the last reply. The other replies must be positive.
    pub(crate) fn say_all(&mut self, commands: &[&str]) -> String {
        let (last, before) = commands.split_last().unwrap();
        for command in before {
            let reply = self.say(command);
            assert!(reply.starts_with(['2', '3']), "{command}: {reply}");
        }
        self.say(last)
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
    }

    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let before = reply.len();
            assert_ne!(self.0.read_line(&mut reply).unwrap(), 0, "closed after {reply:?}");
            if reply.as_bytes().get(before + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    pub(crate) fn quit(mut self) {
        assert_eq!(self.say("QUIT"), "221 2.0.0 Bye\r\n");
        self.assert_closed();
    }

    /// Checks that the gate closes the connection without further output.
    pub(crate) fn assert_closed(mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
