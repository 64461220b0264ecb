//! An in-memory onward server: a lenient parser written from RFC 5321, RFC 2033 and RFC 3030. It
//! shares no code with the crate, and keeps the messages that it accepted.

use std::collections::VecDeque;
use std::time::Duration;

use super::oracle::{strict_end, unstuff};

/// The interface between a gate and its onward server.
pub trait OnwardServer {
    /// Handles a connection attempt.
    fn connect(&mut self) -> Connect;
    /// Receives octets on connection `at`. Returns `false` if not all could be written.
    fn write(&mut self, at: usize, octets: &[u8]) -> bool;
    /// Returns the available output on connection `at`, at most `most` octets.
    fn read(&mut self, at: usize, most: usize) -> Read;
    /// Handles the end of connection `at`, which the gate has closed.
    fn closed(&mut self, at: usize);
}

pub enum Connect {
    Made(usize),
    Refused,
    Silence,
}

pub enum Read {
    Octets(Vec<u8>),
    /// Nothing for this duration, then more.
    Later(Duration),
    Eof,
    /// Nothing, forever.
    Silence,
}

/// The extensions and the protocol of the server.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub pipelining: bool,
    pub chunking: bool,
    pub helo_only: bool,
    pub lmtp: bool,
}

/// The server's reaction to a command or a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Accept,
    /// Accepts with a multi-line reply.
    AcceptAtLength,
    /// Accepts after this many seconds.
    AcceptAfter(u16),
    /// Executes the command and closes without a reply.
    AcceptAndClose,
    /// Executes the command and never replies.
    AcceptInSilence,
    /// Executes the command, but only this many octets of the reply arrive.
    AcceptCut(usize),
    Refuse(u16),
    Leave,
    Close,
    Silence,
    /// Ignores the command and sends these octets.
    Nonsense(&'static [u8]),
    /// Refuses mail data before reading it, and reads no further.
    StopReading,
}

/// An accepted message.
#[derive(Debug, Clone)]
pub struct Kept {
    pub recipients: Vec<Vec<u8>>,
    pub content: Vec<u8>,
    pub connection: usize,
    /// Position on the connection where the positive reply ends.
    reply_ends: usize,
}

/// A reply to a command that concerns the client.
#[derive(Debug, Clone)]
pub struct Said {
    pub verb: &'static str,
    pub argument: Vec<u8>,
    pub text: Vec<u8>,
}

/// Text of replies that only concern the gate. No client may ever see it.
pub const SECRET: &str = "in-confidence";

pub struct Server {
    profile: Profile,
    acts: VecDeque<Act>,
    pub connections: Vec<Connection>,
    pub kept: Vec<Kept>,
    pub said: Vec<Said>,
    /// Protocol violations by the gate.
    pub faults: Vec<String>,
    /// On the first connection, nothing arrives after this many octets.
    cut: Option<(usize, Cut)>,
    /// Whether only one connection is accepted.
    single: bool,
    numbers: usize,
    /// The command that must identify the client before any mail.
    identity: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    Eof,
    Silence,
}

#[derive(Default)]
pub struct Connection {
    /// All octets written by the gate.
    pub received: Vec<u8>,
    /// Each write, and whether it came after 354.
    pub writes: Vec<(bool, Vec<u8>)>,
    /// Command lines without CRLF.
    pub commands: Vec<Vec<u8>>,
    at: usize,
    output: VecDeque<Out>,
    written: usize,
    pub delivered: usize,
    hello: bool,
    /// Whether the client is known.
    told: bool,
    mail: bool,
    recipients: Vec<Vec<u8>>,
    reading: Reading,
    ended: bool,
}

#[derive(Default, Clone, PartialEq)]
enum Reading {
    #[default]
    Commands,
    Data,
    /// All chunks so far.
    Chunks(Vec<u8>),
}

enum Out {
    Octets(Vec<u8>),
    Wait(Duration),
    Eof,
    Silence,
}

impl Server {
    pub fn new(profile: Profile, acts: Vec<Act>) -> Self {
        Self {
            profile,
            acts: acts.into(),
            connections: Vec::new(),
            kept: Vec::new(),
            said: Vec::new(),
            faults: Vec::new(),
            cut: None,
            single: false,
            numbers: 0,
            identity: None,
        }
    }

    pub fn cut(mut self, behind: usize, cut: Cut) -> Self {
        self.cut = Some((behind, cut));
        self
    }

    /// Accepts one connection and no other.
    pub fn single(mut self) -> Self {
        self.single = true;
        self
    }

    /// Requires this command to identify the client.
    pub fn told_by(mut self, command: &'static str) -> Self {
        self.identity = Some(command);
        self
    }

    /// Returns whether the complete positive reply to this message has arrived at the gate.
    pub fn was_heard(&self, kept: &Kept) -> bool {
        self.connections[kept.connection].delivered >= kept.reply_ends
    }

    fn act(&mut self) -> Act {
        self.acts.pop_front().unwrap_or(Act::Accept)
    }

    /// Processes the input of connection `at` as far as possible.
    fn serve(&mut self, at: usize) {
        while !self.connections[at].ended && self.serve_one(at) {}
    }

    fn serve_one(&mut self, at: usize) -> bool {
        let here = &mut self.connections[at];
        let rest = &here.received[here.at..];
        if here.reading == Reading::Data {
            let Some(length) = strict_end(rest) else { return false };
            let content = unstuff(&rest[..length]);
            here.at += length;
            here.reading = Reading::Commands;
            self.content(at, content);
            return true;
        }
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return false };
        let line = rest[..end].to_vec();
        let (verb, argument) = split_verb(&line);
        if verb == "BDAT" {
            let text = String::from_utf8_lossy(&argument).to_ascii_uppercase();
            let mut words = text.split(' ');
            let size: usize = words.next().unwrap().parse().expect("the gate writes a BDAT size");
            if rest.len() < end + 2 + size {
                return false;
            }
            let chunk = rest[end + 2..end + 2 + size].to_vec();
            here.at += end + 2 + size;
            here.commands.push(line);
            let mut whole = match std::mem::take(&mut here.reading) {
                Reading::Chunks(before) => before,
                _ => Vec::new(),
            };
            whole.extend(chunk);
            if words.next() == Some("LAST") {
                self.content(at, whole);
            } else {
                here.reading = Reading::Chunks(whole);
                self.answer(at, "BDAT", &argument, Act::Accept, 250);
            }
            return true;
        }
        here.at += end + 2;
        here.commands.push(line.clone());
        let more = here.at < here.received.len();
        if more && !(self.profile.pipelining && here.hello) {
            self.faults.push(format!("more octets after {:?}", String::from_utf8_lossy(&line)));
        }
        self.command(at, verb.as_str(), argument);
        true
    }

    fn command(&mut self, at: usize, verb: &str, argument: Vec<u8>) {
        let act = self.act();
        let takes = takes(&act);
        let here = &mut self.connections[at];
        match verb {
            "EHLO" | "LHLO" if self.profile.helo_only => {
                self.answer(at, "EHLO", &argument, Act::Refuse(502), 250);
            }
            "EHLO" | "LHLO" | "HELO" => {
                if (verb == "LHLO") != self.profile.lmtp {
                    self.faults.push(format!("{verb} in the wrong protocol"));
                }
                here.hello = takes;
                self.answer(at, "EHLO", &argument, act, 250);
            }
            "XCLIENT" | "XFORWARD" if here.mail || !here.hello || self.identity != Some(verb) => {
                self.faults.push(format!("{verb} out of turn"));
                self.answer(at, "RSET", &argument, Act::Refuse(503), 250);
            }
            "XCLIENT" => {
                here.told = takes;
                here.hello &= !takes;
                self.answer(at, "XCLIENT", &argument, act, 220);
            }
            "XFORWARD" => {
                here.told = takes;
                self.answer(at, "XFORWARD", &argument, act, 250);
            }
            "RSET" => {
                here.told &= self.identity == Some("XCLIENT");
                here.mail = false;
                here.recipients.clear();
                self.answer(at, "RSET", &argument, act, 250);
            }
            "MAIL" if here.mail || !here.hello => {
                self.faults.push("MAIL out of turn".into());
                self.answer(at, "MAIL", &argument, Act::Refuse(503), 250);
            }
            "MAIL" if self.identity == Some("XCLIENT") && !here.told => {
                self.faults.push("mail without an identified client".into());
                self.answer(at, "MAIL", &argument, Act::Refuse(550), 250);
            }
            "MAIL" => {
                here.mail = takes;
                self.answer(at, "MAIL", &argument, act, 250);
            }
            "RCPT" if !here.mail => {
                if !self.profile.pipelining {
                    self.faults.push("RCPT out of turn".into());
                }
                self.answer(at, "RCPT", &argument, Act::Refuse(503), 250);
            }
            "RCPT" => {
                if takes {
                    here.recipients.push(argument.clone());
                }
                self.answer(at, "RCPT", &argument, act, 250);
            }
            "DATA" if here.recipients.is_empty() => {
                self.faults.push("DATA without recipients".into());
                self.answer(at, "DATA", &argument, Act::Refuse(554), 354);
            }
            "DATA" => {
                if takes {
                    here.reading = Reading::Data;
                }
                self.answer(at, "DATA", &argument, act, 354);
            }
            "QUIT" => {
                self.answer(at, "QUIT", &argument, Act::Accept, 221);
                self.connections[at].output.push_back(Out::Eof);
                self.connections[at].ended = true;
            }
            other => self.faults.push(format!("unexpected command {other:?}")),
        }
    }

    fn content(&mut self, at: usize, content: Vec<u8>) {
        let act = self.act();
        let here = &mut self.connections[at];
        if self.identity.is_some() && !here.told {
            self.faults.push("content for nobody".into());
        }
        here.told &= self.identity == Some("XCLIENT");
        here.mail = false;
        let recipients = std::mem::take(&mut here.recipients);
        if recipients.is_empty() {
            self.faults.push("content without recipients".into());
            return self.answer(at, "content", b"", Act::Refuse(554), 250);
        }
        let groups: Vec<_> = match self.profile.lmtp {
            true => recipients.into_iter().map(|recipient| vec![recipient]).collect(),
            false => vec![recipients],
        };
        let mut act = Some(act);
        for recipients in groups {
            let act = act.take().unwrap_or_else(|| self.act());
            let taken = takes(&act);
            self.answer(at, "content", b"", act.clone(), 250);
            if taken {
                let reply_ends = match act {
                    Act::AcceptAndClose | Act::AcceptInSilence | Act::AcceptCut(_) => usize::MAX,
                    _ => self.connections[at].written,
                };
                let content = content.clone();
                self.kept.push(Kept { recipients, content, connection: at, reply_ends });
            }
            if self.connections[at].ended {
                return;
            }
        }
    }

    fn answer(&mut self, at: usize, verb: &'static str, argument: &[u8], act: Act, yes: u16) {
        self.numbers += 1;
        let private = !matches!(verb, "MAIL" | "RCPT" | "BDAT" | "content");
        let text = |code: u16| {
            let word = if private && code < 400 { SECRET } else { "reply" };
            format!("{}.0.0 {word} {} to {verb}", code / 100, self.numbers)
        };
        let mut lines = vec![text(yes)];
        if verb == "EHLO" && yes == 250 {
            lines = vec![format!("{SECRET}.example")];
            let offers = [
                (self.profile.pipelining, "PIPELINING"),
                (self.profile.chunking, "CHUNKING"),
                (true, "SIZE 100000"),
                (true, "8BITMIME"),
                (true, "SMTPUTF8"),
                (true, "DSN"),
                (true, "XCLIENT NAME ADDR"),
                (self.identity == Some("XFORWARD"), "XFORWARD NAME ADDR HELO"),
            ];
            lines.extend(offers.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_string()));
        }
        if act == Act::AcceptAtLength {
            lines.push(format!("{}.0.0 and more", yes / 100));
        }
        let (code, lines) = match act {
            Act::Refuse(code) => (code, vec![text(code)]),
            Act::Leave => (421, vec![text(421)]),
            Act::StopReading => (552, vec![text(552)]),
            _ => (yes, lines),
        };
        let mut reply = Vec::new();
        for (n, line) in lines.iter().enumerate() {
            let mark = if n + 1 < lines.len() { '-' } else { ' ' };
            reply.extend(format!("{code}{mark}{line}\r\n").into_bytes());
        }
        let text = reply.clone();
        let here = &mut self.connections[at];
        let (before, arrives, after) = match act {
            Act::Accept | Act::AcceptAtLength | Act::Refuse(_) => (None, reply.len(), None),
            Act::AcceptAfter(seconds) => {
                (Some(Out::Wait(Duration::from_secs(seconds.into()))), reply.len(), None)
            }
            Act::Leave => (None, reply.len(), Some(Out::Eof)),
            Act::AcceptAndClose | Act::Close => (None, 0, Some(Out::Eof)),
            Act::AcceptInSilence | Act::Silence => (None, 0, Some(Out::Silence)),
            Act::AcceptCut(octets) => (None, octets.min(reply.len() - 1), Some(Out::Eof)),
            Act::Nonsense(octets) => {
                reply = octets.to_vec();
                (None, reply.len(), Some(Out::Silence))
            }
            Act::StopReading => (None, reply.len(), Some(Out::Eof)),
        };
        here.ended |= after.is_some();
        reply.truncate(arrives);
        here.output.extend(before);
        here.written += reply.len();
        here.output.push_back(Out::Octets(reply));
        here.output.extend(after);
        self.said.push(Said { verb, argument: argument.to_vec(), text });
    }
}

impl OnwardServer for Server {
    fn connect(&mut self) -> Connect {
        if self.single && !self.connections.is_empty() {
            return Connect::Refused;
        }
        match self.act() {
            Act::Close => return Connect::Refused,
            Act::Silence => return Connect::Silence,
            _ => {}
        }
        let at = self.connections.len();
        self.connections.push(Connection::default());
        let act = self.act();
        self.answer(at, "greeting", b"", act, 220);
        Connect::Made(at)
    }

    fn write(&mut self, at: usize, octets: &[u8]) -> bool {
        let here = &mut self.connections[at];
        here.writes.push((here.reading == Reading::Data, octets.to_vec()));
        let whole = match self.acts.front() {
            Some(Act::StopReading) if here.reading == Reading::Data => false,
            _ => !here.ended,
        };
        if whole {
            here.received.extend_from_slice(octets);
            self.serve(at);
        } else if !here.ended {
            // Refuses the mail data and reads no further.
            here.received.extend_from_slice(&octets[..octets.len() / 2]);
            let act = self.act();
            self.answer(at, "content", b"", act, 250);
        }
        whole
    }

    fn read(&mut self, at: usize, most: usize) -> Read {
        let here = &mut self.connections[at];
        let mut most = most;
        if let (0, Some((behind, cut))) = (at, self.cut) {
            most = most.min(behind - here.delivered.min(behind));
            if most == 0 {
                here.ended = true;
                return if cut == Cut::Eof { Read::Eof } else { Read::Silence };
            }
        }
        while matches!(here.output.front(), Some(Out::Octets(octets)) if octets.is_empty()) {
            here.output.pop_front();
        }
        match here.output.front_mut() {
            Some(Out::Octets(octets)) => {
                let taken: Vec<u8> = octets.drain(..most.min(octets.len())).collect();
                here.delivered += taken.len();
                Read::Octets(taken)
            }
            Some(Out::Wait(time)) => {
                let time = *time;
                here.output.pop_front();
                Read::Later(time)
            }
            Some(Out::Eof) => Read::Eof,
            Some(Out::Silence) | None => Read::Silence,
        }
    }

    fn closed(&mut self, at: usize) {
        self.connections[at].ended = true;
    }
}

/// Returns whether a server with this reaction executes the command.
fn takes(act: &Act) -> bool {
    matches!(
        act,
        Act::Accept
            | Act::AcceptAtLength
            | Act::AcceptAfter(_)
            | Act::AcceptAndClose
            | Act::AcceptInSilence
            | Act::AcceptCut(_)
    )
}

fn split_verb(line: &[u8]) -> (String, Vec<u8>) {
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let argument = line.get(end + 1..).unwrap_or_default().to_vec();
    (String::from_utf8_lossy(&line[..end]).to_ascii_uppercase(), argument)
}
