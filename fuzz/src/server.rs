//! The onward server's view of a connection: the requests it has received and its replies.

use super::replies::{self, Reply};
use super::{content, line, shown};

/// A server that tracks the connection. It panics on everything that a client must not do.
#[derive(Default)]
pub struct Server {
    /// Its output on this connection, or since TLS began.
    said: Vec<u8>,
    /// The requests it has received, in order.
    asked: Vec<Asked>,
    /// The client named by the PROXY header.
    client: Option<String>,
    /// Incomplete mail data after 354. It arrives in batches.
    mail_data: Vec<u8>,
    /// Whether a PROXY header comes first.
    pub proxied: bool,
    /// Whether TLS has begun, so that the server does not greet again.
    private: bool,
    /// Whether a write to it was incomplete, so that its state is unknown.
    pub lost: bool,
}

/// A request to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The connection itself, which asks for the greeting.
    Greeting,
    Command(Vec<u8>),
    /// Mail data after 354 or in a chunk, as the server interprets it.
    Content(Vec<u8>),
}

impl Server {
    /// Opens a new connection.
    pub fn connect(proxied: bool) -> Self {
        Self { asked: vec![Asked::Greeting], proxied, ..Self::default() }
    }

    /// Starts TLS. Everything sent before is discarded.
    pub fn start_tls(&mut self) {
        *self = Self { private: true, client: self.client.take(), ..Self::default() };
    }

    pub fn say(&mut self, octets: &[u8]) {
        self.said.extend_from_slice(octets);
    }

    /// Returns the complete replies so far.
    fn replies(&self) -> Vec<Reply> {
        replies::read(&self.said).0
    }

    /// Receives commands in groups of whole lines.
    pub fn hear(&mut self, octets: &[u8]) {
        let mut rest = octets;
        if std::mem::take(&mut self.proxied) {
            let header = nobounce::proxy::ProxyHeader::read(rest).expect("a PROXY header");
            let (header, taken) = header.expect("a whole PROXY header");
            assert!(header.source().is_some(), "the client is not identified");
            self.client = header.source().map(|source| source.ip().to_string());
            rest = &rest[taken..];
        }
        let in_data = match (self.asked.last(), self.replies().last()) {
            (Some(Asked::Command(data)), Some(reply)) => {
                data == b"DATA" && reply.code / 100 == 3 && self.replies().len() == self.asked.len()
            }
            _ => false,
        };
        if in_data {
            self.mail_data.extend_from_slice(rest);
            if let Some((end, octets)) = content::after_data(&self.mail_data) {
                assert_eq!(end, self.mail_data.len());
                content::is_one_message(&self.mail_data);
                self.mail_data.clear();
                self.asked.push(Asked::Content(octets));
            }
            return;
        }
        while !rest.is_empty() {
            let (text, remaining) =
                line(rest).unwrap_or_else(|| panic!("half a line: {}", shown(rest)));
            assert!(!text.iter().any(u8::is_ascii_control), "{}", shown(text));
            rest = remaining;
            let words: Vec<_> = text.split(|octet| *octet == b' ').collect();
            if let [b"BDAT", size, b"LAST"] = words[..] {
                let size: usize = String::from_utf8_lossy(size).parse().expect("a size");
                assert_eq!(rest.len(), size, "not the expected content of the chunk");
                self.asked.push(Asked::Content(rest.to_vec()));
                rest = b"";
            } else {
                let last = matches!(words[0], b"DATA" | b"STARTTLS" | b"QUIT" | b"EHLO" | b"LHLO");
                assert!(!last || rest.is_empty(), "{} is the last of a group", shown(text));
                self.asked.push(Asked::Command(text.to_vec()));
            }
        }
    }

    /// Returns the last request and the reply to it. Requests and replies are matched in order, one
    /// to one. Further output answers no request.
    pub fn last(&self) -> Option<(&Asked, Reply)> {
        let reply = self.replies().into_iter().nth(self.asked.len().checked_sub(1)?)?;
        Some((self.asked.last()?, reply))
    }

    /// Returns whether the command was answered with 2xx.
    pub fn granted(&self, command: &[u8]) -> bool {
        let mut answered = self.asked.iter().zip(self.replies());
        answered.any(|(asked, reply)| {
            reply.code / 100 == 2 && matches!(asked, Asked::Command(it) if it == command)
        })
    }

    /// Returns the client for whom the server regards this connection to be, if it was told and
    /// accepted it: an address, or `[UNAVAILABLE]`.
    pub fn client(&self) -> Option<String> {
        let told = self.asked.iter().zip(self.replies()).filter_map(|(asked, reply)| match asked {
            Asked::Command(command) if command.starts_with(b"XCLIENT ") && reply.code == 220 => {
                let words = String::from_utf8_lossy(command).into_owned();
                words.split(' ').find_map(|word| word.strip_prefix("ADDR=")).map(str::to_owned)
            }
            _ => None,
        });
        told.last().or_else(|| self.client.clone())
    }

    /// Returns whether TLS has begun.
    pub fn is_private(&self) -> bool {
        self.private
    }
}
