//! An onward server's view of a connection: what it has been told, and what it has answered.

use super::replies::{self, Reply};
use super::{content, line, shown};

/// A server that keeps count. It panics at whatever no client may do.
#[derive(Default)]
pub struct Server {
    /// What it says in this connection, or since TLS began.
    said: Vec<u8>,
    /// What it has been asked, in order.
    asked: Vec<Asked>,
    /// Whom the PROXY header named.
    client: Option<String>,
    /// Mail data behind 354 that has not ended. It comes in batches.
    mail_data: Vec<u8>,
    /// Whether a PROXY header comes first.
    pub proxied: bool,
    /// Whether it has greeted, or TLS has begun and there is no greeting.
    private: bool,
    /// Whether what was written to it did not arrive whole: nothing is known of it any more.
    pub lost: bool,
}

/// What it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// For its greeting, by connecting.
    Greeting,
    Command(Vec<u8>),
    /// Mail data behind 354 or in a chunk, as it is understood.
    Content(Vec<u8>),
}

impl Server {
    /// A new connection.
    pub fn connect(proxied: bool) -> Self {
        Self { asked: vec![Asked::Greeting], proxied, ..Self::default() }
    }

    /// TLS has begun: nothing that was said counts.
    pub fn start_tls(&mut self) {
        *self = Self { private: true, client: self.client.take(), ..Self::default() };
    }

    pub fn say(&mut self, octets: &[u8]) {
        self.said.extend_from_slice(octets);
    }

    /// What has been said so far: whole replies.
    fn replies(&self) -> Vec<Reply> {
        replies::read(&self.said).0
    }

    /// What is written to it: commands in groups of whole lines.
    pub fn hear(&mut self, octets: &[u8]) {
        let mut rest = octets;
        if std::mem::take(&mut self.proxied) {
            let header = nobounce::ProxyHeader::read(rest).expect("a PROXY header");
            let (header, taken) = header.expect("a whole PROXY header");
            assert!(header.source().is_some(), "the client is not named");
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
            if let Some((end, octets)) = content::behind_data(&self.mail_data) {
                assert_eq!(end, self.mail_data.len());
                content::is_one_message(&self.mail_data);
                self.mail_data.clear();
                self.asked.push(Asked::Content(octets));
            }
            return;
        }
        while !rest.is_empty() {
            let (text, behind) =
                line(rest).unwrap_or_else(|| panic!("half a line: {}", shown(rest)));
            assert!(!text.iter().any(u8::is_ascii_control), "{}", shown(text));
            rest = behind;
            let words: Vec<_> = text.split(|octet| *octet == b' ').collect();
            if let [b"BDAT", size, b"LAST"] = words[..] {
                let size: usize = String::from_utf8_lossy(size).parse().expect("a size");
                assert_eq!(rest.len(), size, "not what the chunk was to hold");
                self.asked.push(Asked::Content(rest.to_vec()));
                rest = b"";
            } else {
                let last = matches!(words[0], b"DATA" | b"STARTTLS" | b"QUIT" | b"EHLO" | b"LHLO");
                assert!(!last || rest.is_empty(), "{} is the last of a group", shown(text));
                self.asked.push(Asked::Command(text.to_vec()));
            }
        }
    }

    /// What it was asked last, and its reply to that: one reply each, in order. What it says beyond
    /// that is an answer to nothing.
    pub fn last(&self) -> Option<(&Asked, Reply)> {
        let reply = self.replies().into_iter().nth(self.asked.len().checked_sub(1)?)?;
        Some((self.asked.last()?, reply))
    }

    /// Whether the command was answered with 2xx.
    pub fn granted(&self, command: &[u8]) -> bool {
        let mut answered = self.asked.iter().zip(self.replies());
        answered.any(|(asked, reply)| {
            reply.code / 100 == 2 && matches!(asked, Asked::Command(it) if it == command)
        })
    }

    /// For whose it takes the connection, if it was told and believed it: an address, or
    /// `[UNAVAILABLE]`.
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

    /// Whether TLS has begun.
    pub fn is_private(&self) -> bool {
        self.private
    }
}
