//! Parser of dialogues.

use std::fmt;
use std::time::Duration;

use super::TranscriptError;
use crate::capabilities::Capabilities;
use crate::header::HeaderField;
use crate::host::HostName;
use crate::onward::{Identify, OneRecipient, OnwardSettings, Protocol, ProxyVersion, TlsPolicy};
use crate::peer::Peer;
use crate::rehearsal::automatic::Automatic;
use crate::session::{EarlyInput, Settings};
use crate::verdict::{Refusal, Verdict};
use crate::wire::budget::Budget;
use crate::wire::content::LineEndings;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode};

/// Default host name of the gate.
const HOST: &str = "gate.example.com";

const DURATION: &str = "a duration as `20s`, `5m`, `1h`, `1500ms`";

/// A parsed dialogue.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) settings: Settings,
    pub(super) onward: OnwardSettings,
    pub(super) client: Peer,
    pub(super) through: Option<Capabilities>,
    pub(super) server: Automatic,
    /// Whether the relay target answers in `A:` lines, without an onward server.
    pub(super) answers: bool,
    pub(super) entries: Vec<Entry>,
}

/// A line of a dialogue.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) event: Event,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Client(Sent),
    Session(Expected),
    Relay(Expected),
    Onward(Sent),
    Panel(Ruling),
    /// The relay target's answer. `None`: it does not answer.
    Answer(Option<Reply>),
    Time(Duration),
    ShutDown,
}

/// An action of a peer.
#[derive(Debug, Clone)]
pub(super) enum Sent {
    /// The octets that the peer sends. With `at_once`, it does not wait for its turn.
    Octets {
        octets: Vec<u8>,
        at_once: bool,
    },
    Eof,
    Reset,
    Refused,
    Deaf,
}

/// An expected action of the gate.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// A line of these pieces, with any text between them.
    Line(Vec<Vec<u8>>),
    Trace,
    Connect,
    StartTls,
    Close,
}

#[derive(Debug, Clone)]
pub(super) enum Ruling {
    Verdict(Verdict),
    Silent,
}

impl Script {
    pub(super) fn parse(text: &str) -> Result<Self, TranscriptError> {
        let mut script = Self {
            settings: Settings::new(HOST),
            onward: OnwardSettings::new(HOST),
            client: Peer::new(([192, 0, 2, 1], 4321).into()),
            through: None,
            server: Automatic::default(),
            answers: false,
            entries: Vec::new(),
        };
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let text = text.trim_start();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            script
                .read(line, text)
                .map_err(|expected| TranscriptError::new(line, expected, format!("`{text}`")))?;
        }
        Ok(script)
    }

    /// Parses a line. Returns the expected syntax as an error.
    fn read(&mut self, line: usize, text: &str) -> Result<(), &'static str> {
        if let Some(setting) = text.strip_prefix('@') {
            let (name, value) = split(setting.trim());
            if name == "shutdown" {
                let event = Event::ShutDown;
                self.entries.push(Entry { line, event });
                return Ok(());
            }
            if !self.entries.is_empty() {
                return Err("settings before the first line of the dialogue");
            }
            return self.set(name, value);
        }
        let (speaker, said) = text.split_once(':').ok_or("a speaker and a colon")?;
        let said = said.strip_prefix(' ').unwrap_or(said);
        let (speaker, times) = match speaker.split_once('*') {
            Some((speaker, times)) => (speaker, times.parse().map_err(|_| "a number after `*`")?),
            None => (speaker, 1),
        };
        let event = match speaker {
            "C" => Event::Client(Sent::parse(said, false)?),
            "C!" => Event::Client(Sent::parse(said, true)?),
            "S" => Event::Session(Expected::parse(said)?),
            "R" => Event::Relay(Expected::parse(said)?),
            "O" => Event::Onward(Sent::parse(said, false)?),
            "O!" => Event::Onward(Sent::parse(said, true)?),
            "J" => Event::Panel(Ruling::parse(said)?),
            "A" => Event::Answer(answer(said)?),
            "T" => Event::Time(duration(said.trim()).ok_or(DURATION)?),
            _ => {
                return Err(
                    "one of `C:`, `C!:`, `S:`, `R:`, `O:`, `O!:`, `J:`, `A:`, `T:`, `@`, `#`",
                );
            }
        };
        let entry = Entry { line, event };
        self.entries.extend(std::iter::repeat_n(entry, times));
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const NUMBER: &str = "a number";
        const NETWORKS: &str = "networks";
        let limits = &mut self.settings.limits;
        match (name, value) {
            ("limits.command_line", value) => {
                limits.command_line = value.parse().map_err(|_| NUMBER)?;
            }
            ("budget", value) => {
                self.settings.budget = Budget::new(value.parse().map_err(|_| NUMBER)?);
            }
            ("limits.content", value) => limits.content = value.parse().map_err(|_| NUMBER)?,
            ("limits.recipients", value) => {
                limits.recipients = value.parse().map_err(|_| NUMBER)?
            }
            ("limits.hops", value) => limits.hops = value.parse().map_err(|_| NUMBER)?,
            ("limits.recipients_overshoot", value) => {
                limits.recipients_overshoot = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.mime.parts", value) => {
                limits.mime.parts = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.mime.depth", value) => {
                limits.mime.depth = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.mime.readings", value) => {
                limits.mime.readings = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.mime.field", value) => {
                limits.mime.field = value.parse().map_err(|_| NUMBER)?;
            }
            ("replies.line", value) => {
                self.onward.replies.line = value.parse().map_err(|_| NUMBER)?;
            }
            ("replies.lines", value) => {
                self.onward.replies.lines = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.refused_in_a_row", value) => {
                limits.refused_in_a_row = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.refused_recipients", value) => {
                limits.refused_recipients = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.added_fields", value) => {
                limits.added_fields = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.transactions", value) => {
                limits.transactions = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.errors", value) => limits.errors = value.parse().map_err(|_| NUMBER)?,
            ("limits.junk_commands", value) => {
                limits.junk_commands = value.parse().map_err(|_| NUMBER)?;
            }
            ("limits.data_rate", value) => limits.data_rate = value.parse().map_err(|_| NUMBER)?,
            ("host", name) => {
                self.settings.host = HostName::new(name);
                self.onward.host = HostName::new(name);
            }
            ("greeting_delay", value) => {
                self.settings.greeting_delay = duration(value).ok_or(DURATION)?;
            }
            ("own_networks", networks) => {
                self.settings.own_networks = networks.parse().map_err(|_| NETWORKS)?;
            }
            ("line_endings", "refuse") => self.settings.line_endings = LineEndings::Refuse,
            ("early_input", "tolerate") => self.settings.early_input = EarlyInput::Tolerate,
            ("xclient_from", networks) => {
                self.settings.xclient_from = networks.parse().map_err(|_| NETWORKS)?;
            }
            ("xforward_from", networks) => {
                self.settings.xforward_from = networks.parse().map_err(|_| NETWORKS)?;
            }
            ("protocol", "lmtp") => self.onward.protocol = Protocol::Lmtp,
            ("one_recipient", "always") => self.onward.one_recipient = OneRecipient::Always,
            ("one_recipient", "never") => self.onward.one_recipient = OneRecipient::Never,
            ("tls", "may") => self.onward.tls = TlsPolicy::May,
            ("tls", "must") => self.onward.tls = TlsPolicy::Must,
            ("identify", "xclient") => self.onward.identify = Identify::XClient,
            ("identify", "xforward") => self.onward.identify = Identify::XForward,
            ("identify", "proxy") => self.onward.identify = Identify::Proxy(ProxyVersion::V1),
            ("client", "local") => self.client = Peer::local(),
            ("client", value) => {
                let (address, name) = split(value);
                self.client = Peer::new(address.parse().map_err(|_| "an address with a port")?);
                self.client.name = (!name.is_empty()).then(|| name.into());
            }
            ("capabilities", keywords) => self.settings.capabilities = capabilities(keywords),
            ("through", keywords) => self.through = Some(capabilities(keywords)),
            ("relay", "answers") => self.answers = true,
            ("relay", value) => {
                let (how, keywords) = split(value);
                let keywords = keywords.split(',').map(str::trim);
                let keywords: Vec<_> = keywords.filter(|word| !word.is_empty()).collect();
                self.server = match how {
                    "offers" => Automatic::introduces(&keywords),
                    "accepts" => Automatic::accepts(&keywords),
                    _ => return Err("`relay offers`, `relay accepts` or `relay answers`"),
                };
            }
            _ => return Err("a setting"),
        }
        Ok(())
    }
}

impl Sent {
    fn parse(said: &str, at_once: bool) -> Result<Self, &'static str> {
        Ok(match said {
            "<eof>" => Self::Eof,
            "<reset>" => Self::Reset,
            "<refused>" => Self::Refused,
            "<deaf>" => Self::Deaf,
            _ => {
                let (mut octets, open) = unescape(said)?;
                if !open {
                    octets.extend_from_slice(b"\r\n");
                }
                Self::Octets { octets, at_once }
            }
        })
    }
}

impl Expected {
    fn parse(said: &str) -> Result<Self, &'static str> {
        Ok(match said {
            "<trace>" => Self::Trace,
            "<connect>" => Self::Connect,
            "<starttls>" => Self::StartTls,
            "<close>" => Self::Close,
            _ => {
                let piece = |piece| match unescape(piece)? {
                    (octets, false) => Ok(octets),
                    (_, true) => Err("no backslash at the end"),
                };
                Self::Line(said.split("...").map(piece).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Returns whether a line matches.
    pub(super) fn matches(&self, line: &[u8]) -> bool {
        match self {
            Self::Line(pieces) => matches(pieces, line),
            Self::Trace => line.starts_with(b"Received:"),
            Self::Connect | Self::StartTls | Self::Close => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(pieces) => {
                let pieces: Vec<_> =
                    pieces.iter().map(|piece| piece.escape_ascii().to_string()).collect();
                f.write_str(&pieces.join("..."))
            }
            Self::Trace => f.write_str("<trace>"),
            Self::Connect => f.write_str("<connect>"),
            Self::StartTls => f.write_str("<starttls>"),
            Self::Close => f.write_str("<close>"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(expected) => write!(f, "`S: {expected}`"),
            Self::Relay(expected) => write!(f, "`R: {expected}`"),
            Self::Client(_) => f.write_str("a client that is read from"),
            Self::Onward(_) => f.write_str("an onward server that is read from"),
            Self::Panel(_) => f.write_str("a question to the panel"),
            Self::Answer(_) => f.write_str("a question to the relay target"),
            Self::Time(_) => f.write_str("time to pass"),
            Self::ShutDown => f.write_str("a shutdown"),
        }
    }
}

impl Ruling {
    fn parse(said: &str) -> Result<Self, &'static str> {
        let (word, rest) = split(said.trim());
        Ok(match word {
            "pass" => Self::Verdict(Verdict::Pass),
            "silent" => Self::Silent,
            "come" if rest == "again" => Self::Verdict(Verdict::Refuse(Refusal::come_again())),
            "refuse" => {
                let (text, _) = unescape(rest)?;
                let text = String::from_utf8_lossy(&text);
                let refusal = refusal(&text).ok_or("`refuse CODE STATUS text`")?;
                Self::Verdict(Verdict::Refuse(refusal))
            }
            "tag" => {
                let (fields, _) = unescape(rest)?;
                let fields = String::from_utf8_lossy(&fields);
                let field = |field: &str| {
                    let (name, value) = field.split_once(':').ok_or("`tag Name: value`")?;
                    HeaderField::new(name, value).map_err(|_| "a header field name")
                };
                let fields = fields.split('\n').map(field).collect::<Result<_, _>>()?;
                Self::Verdict(Verdict::Tag(fields))
            }
            _ => return Err("`pass`, `refuse`, `tag`, `come again` or `silent`"),
        })
    }
}

/// Parses the relay target's answer.
fn answer(said: &str) -> Result<Option<Reply>, &'static str> {
    const ANSWER: &str = "`CODE text` with a code from 200 to 299 or 400 to 599, or `silent`";
    if said.trim() == "silent" {
        return Ok(None);
    }
    let (said, _) = unescape(said)?;
    let said = String::from_utf8_lossy(&said);
    let (code, text) = split(&said);
    let code = ReplyCode::read(code.as_bytes()).filter(|_| code.len() == 3);
    let code = code.filter(|code| code.class() != ReplyClass::Intermediate).ok_or(ANSWER)?;
    Ok(Some(Reply::plain(code, text)))
}

fn refusal(said: &str) -> Option<Refusal> {
    let (code, rest) = split(said);
    let (status, text) = split(rest);
    let mut status = status.split('.').map(str::parse);
    let (Some(Ok(class)), Some(Ok(subject)), Some(Ok(detail)), None) =
        (status.next(), status.next(), status.next(), status.next())
    else {
        return None;
    };
    let code: u16 = code.parse().ok()?;
    let status = EnhancedStatus::new(subject, detail);
    match class {
        _ if code / 100 != class => None,
        4 => Some(Refusal::transient(code, status, text)),
        5 => Some(Refusal::permanent(code, status, text)),
        _ => None,
    }
}

/// Parses capabilities from EHLO keywords separated by commas.
fn capabilities(keywords: &str) -> Capabilities {
    let lines = format!("{HOST}\n{}", keywords.replace(',', "\n"));
    Capabilities::read(&Reply::plain(ReplyCode::OK, &lines))
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    unit.checked_mul(number.parse().ok()?)
}

/// Splits off the first word.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Decodes escapes. Also returns whether `text` ends with a backslash.
fn unescape(text: &str) -> Result<(Vec<u8>, bool), &'static str> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        let Some((&escape, behind)) = rest.split_first() else {
            return Ok((octets, true));
        };
        rest = behind;
        octets.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'.' | b'\\' => escape,
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| str::from_utf8(digits).ok());
                let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                octet.ok_or("two hexadecimal digits after `\\x`")?
            }
            _ => return Err("one of `\\r \\n \\t \\0 \\. \\\\ \\xHH`"),
        });
    }
    Ok((octets, false))
}

/// Returns whether `line` consists of these pieces in order. The first must be at its start and the
/// last at its end.
fn matches(pieces: &[Vec<u8>], line: &[u8]) -> bool {
    match pieces {
        [] => true,
        [piece] => piece == line,
        [first, between @ .., last] => {
            let Some(mut rest) = line
                .strip_prefix(first.as_slice())
                .and_then(|line| line.strip_suffix(last.as_slice()))
            else {
                return false;
            };
            for piece in between {
                match memchr::memmem::find(rest, piece) {
                    Some(at) => rest = &rest[at + piece.len()..],
                    None => return false,
                }
            }
            true
        }
    }
}
