//! The client's view of a session: the input it has sent, in units that get one reply each.

use super::replies::{self, Reply};
use super::{content, line, shown};

/// A client that tracks the session. It panics on everything that a server must not do.
pub struct Client {
    /// Maximum length of a command line in octets, including CRLF.
    line_limit: usize,
    sent: Vec<u8>,
    /// Number of octets of `sent` that have been answered.
    answered: usize,
    /// Whether mail data is being sent after 354.
    in_data: bool,
    /// Whether the current line was refused before its end.
    refused: bool,
    greeted: bool,
    /// Whether an unsolicited reply was received. No other reply may follow it.
    pub said_good_bye: bool,
    /// Chunks of the current content.
    chunks: Vec<u8>,
    /// Number of MAIL commands answered with 2xx.
    pub senders: usize,
    /// Paths of the RCPT commands answered with 2xx.
    pub recipients: Vec<Vec<u8>>,
    /// Contents answered with 2xx.
    pub contents: Vec<Vec<u8>>,
}

/// A unit of input that gets one reply.
enum Unit {
    Command(Vec<u8>),
    /// A malformed command line.
    Faulty,
    /// Mail data with dot-stuffing removed.
    Data(Vec<u8>),
    Chunk {
        octets: Vec<u8>,
        last: bool,
    },
}

impl Client {
    pub fn new(line_limit: usize) -> Self {
        Self {
            line_limit,
            sent: Vec::new(),
            answered: 0,
            in_data: false,
            refused: false,
            greeted: false,
            said_good_bye: false,
            chunks: Vec::new(),
            senders: 0,
            recipients: Vec::new(),
            contents: Vec::new(),
        }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
    }

    /// Discards everything that was sent before TLS.
    pub fn start_tls(&mut self) {
        self.answered = self.sent.len();
    }

    /// Receives output of the server.
    pub fn hear(&mut self, octets: &[u8]) {
        for reply in replies::written(octets) {
            assert!(!self.said_good_bye, "{} after the last reply", reply.code);
            self.take(&reply);
        }
    }

    /// Panics unless everything sent has been answered.
    pub fn is_answered(&mut self) {
        assert!(self.greeted, "not greeted");
        assert!(!self.said_good_bye, "asked for more after the last reply");
        if let Some((_, end)) = self.unit() {
            panic!("not answered: {}", shown(&self.sent[self.answered..end]));
        }
    }

    fn take(&mut self, reply: &Reply) {
        let Reply { code, .. } = *reply;
        let yes = code / 100 == 2;
        if !self.greeted {
            self.greeted = true;
            self.said_good_bye = code != 220;
            return assert!(!yes || code == 220, "greeted with {code}");
        }
        let Some((unit, end)) = self.unit() else {
            let rest = &self.sent[self.answered..];
            let faulty = rest.contains(&b'\n') || rest.len() >= self.line_limit;
            if code == 500 && faulty && !self.in_data && !self.refused {
                self.refused = true;
            } else {
                assert!(!yes, "{code} without a command");
                self.said_good_bye = true;
            }
            return;
        };
        self.answered = end;
        assert!(code != 354 || matches!(&unit, Unit::Command(line) if verb(line) == b"DATA"));
        match unit {
            Unit::Command(line) => self.take_command(&line, code),
            Unit::Faulty => assert!(!yes, "{code} to an unknown command"),
            Unit::Data(octets) => {
                self.in_data = false;
                if yes {
                    self.contents.push(content::normalised(&octets));
                }
            }
            Unit::Chunk { octets, last } => {
                self.chunks.extend_from_slice(&octets);
                if !yes || last {
                    let chunks = std::mem::take(&mut self.chunks);
                    self.contents.extend(yes.then(|| content::normalised(&chunks)));
                }
            }
        }
    }

    fn take_command(&mut self, line: &[u8], code: u16) {
        let yes = code / 100 == 2;
        match verb(line).as_slice() {
            b"DATA" => {
                assert!(!yes, "{code} to DATA");
                self.in_data = code == 354;
            }
            b"EHLO" | b"HELO" | b"RSET" if yes => self.chunks.clear(),
            b"MAIL" if yes => {
                self.chunks.clear();
                self.senders += 1;
            }
            b"RCPT" if yes => {
                let colon = line.iter().position(|octet| *octet == b':').expect("RCPT TO:");
                // An accepted path contains no tab.
                let octets = line[colon + 1..].iter();
                let spaced = octets.map(|octet| if *octet == b'\t' { b' ' } else { *octet });
                self.recipients.push(spaced.collect());
            }
            _ => {}
        }
    }

    /// Returns the first complete unanswered unit and the position of its end.
    fn unit(&mut self) -> Option<(Unit, usize)> {
        if self.in_data {
            let (length, octets) = content::after_data(&self.sent[self.answered..])?;
            return Some((Unit::Data(octets), self.answered + length));
        }
        if self.refused {
            let (faulty, _) = line(&self.sent[self.answered..])?;
            self.answered += faulty.len() + 2;
            self.refused = false;
        }
        let rest = &self.sent[self.answered..];
        let (text, remaining) = line(rest)?;
        let end = self.answered + text.len() + 2;
        if text.len() + 2 > self.line_limit
            || text.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t')
        {
            return Some((Unit::Faulty, end));
        }
        match chunk(text) {
            Some((size, last)) => {
                let octets = remaining.get(..size)?.to_vec();
                Some((Unit::Chunk { octets, last }, end + size))
            }
            None => Some((Unit::Command(text.to_vec()), end)),
        }
    }
}

fn verb(line: &[u8]) -> Vec<u8> {
    let word = line.trim_ascii_start().split(u8::is_ascii_whitespace).next();
    word.unwrap_or_default().to_ascii_uppercase()
}

/// Returns the size of the chunk announced by BDAT, and whether it is the last (RFC 3030 section
/// 2).
fn chunk(line: &[u8]) -> Option<(usize, bool)> {
    let line = str::from_utf8(line).ok()?.to_ascii_uppercase();
    let (size, last) = match *line.split_ascii_whitespace().collect::<Vec<_>>() {
        ["BDAT", size] => (size, false),
        ["BDAT", size, "LAST"] => (size, true),
        _ => return None,
    };
    let figures = size.trim_start_matches('0').len();
    let plain = figures <= 18 && size.bytes().all(|digit| digit.is_ascii_digit());
    plain.then_some((size.parse().ok()?, last))
}
