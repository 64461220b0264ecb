//! Recorded sessions as dialogues, in the notation of `testing::Transcript`.

use std::fmt::Write as _;

use super::script::stand_in;
use crate::deadline::Awaiting;
use crate::observer::During;
use crate::recording::{Decided, Element, Fact, RecordedSession};
use crate::wire::reply::Reply;

/// The name of the session in dialogues.
const SESSION: &str = "play";

/// Returns the dialogue of a recorded session. `sent` is the number of octets up to which a replay
/// was as recorded, and `found` is what came then.
pub(super) fn dialogue(session: &RecordedSession, host: &str, sent: usize, found: &str) -> String {
    let mut writer = Writer {
        text: String::new(),
        session,
        sent: 0,
        differs: sent,
        found,
        is_lost: false,
        is_in_mail_data: false,
    };
    let id = &session.session;
    let _ = writeln!(writer.text, "## Session {id}, recorded by version {}.", session.version);
    let _ = writeln!(writer.text, "@ host {host}");
    match session.client.address {
        Some(address) => {
            let name = session.client.name.as_deref().unwrap_or_default();
            let _ = writeln!(writer.text, "{}", format!("@ client {address} {name}").trim_end());
        }
        None => writer.text += "@ client local\n",
    }
    writer.text += "@ relay answers\n";
    for element in &session.elements {
        writer.element(element);
    }
    if !writer.found.is_empty() {
        writer.differ();
    }
    writer.text
}

struct Writer<'r> {
    text: String,
    session: &'r RecordedSession,
    sent: usize,
    differs: usize,
    found: &'r str,
    /// Whether the connection with the client was lost.
    is_lost: bool,
    is_in_mail_data: bool,
}

impl Writer<'_> {
    fn element(&mut self, Element { fact, .. }: &Element) {
        match fact {
            Fact::Offered(offered) => {
                let keywords = crate::recording::extensions(offered).join(", ");
                let _ = writeln!(self.text, "@ through {keywords}");
            }
            Fact::Received { octets, during } => self.client(octets, *during),
            Fact::MailData { octets, ends, during } => {
                let length = usize::try_from(*octets).unwrap_or(usize::MAX).min(16 << 10);
                self.client(&stand_in(length, *ends), *during);
            }
            Fact::Transmitted(octets) => {
                for line in octets.split_inclusive(|octet| *octet == b'\n') {
                    if self.sent >= self.differs {
                        self.differ();
                    }
                    self.sent += line.len();
                    self.is_in_mail_data |= line.starts_with(b"354");
                    let line = String::from_utf8_lossy(line.trim_ascii_end());
                    let line = line.replace(self.session.session.as_str(), SESSION);
                    // The session of a dialogue has no gate, whose name ends the greeting.
                    let gate = self.session.session.gate().filter(|_| line.starts_with("220"));
                    let line = gate.and_then(|gate| line.strip_suffix(gate)).unwrap_or(&line);
                    let line = line.trim_ascii_end();
                    let _ = writeln!(self.text, "S: {}", line.replace('\\', "\\\\"));
                }
            }
            Fact::InputEnded { .. } => self.text += "C: <eof>\n",
            Fact::ClientLost { .. } => {
                self.text += "C: <reset>\n";
                self.is_lost = true;
            }
            Fact::Secured(_) => self.text += "S: <starttls>\n",
            Fact::ShuttingDown => self.text += "@ shutdown\n",
            Fact::Judged(it) if it.verdict >= Decided::Defer => {
                if let Some(reply) = &it.reply {
                    let _ = writeln!(self.text, "J: refuse {}", one_line(reply));
                }
            }
            Fact::Relayed(it) => {
                let _ = writeln!(self.text, "A: {}", one_line(&it.reply));
            }
            Fact::Late(Awaiting::Verdict) => self.text += "J: silent\n",
            Fact::Late(Awaiting::RecipientOutcome | Awaiting::ContentOutcome) => {
                self.text += "A: silent\n";
            }
            Fact::Late(awaiting) => {
                let _ = writeln!(self.text, "# timeout: {awaiting:?}");
            }
            // After `<reset>` there is nothing to close.
            Fact::Closed(_) if !self.is_lost => self.text += "S: <close>\n",
            Fact::Cut => self.text += "# The recording was cut here.\n",
            _ => {}
        }
    }

    /// Writes the line that came instead of the next one.
    fn differ(&mut self) {
        if !self.found.is_empty() {
            let _ = writeln!(self.text, "# found instead of the next line: {}", self.found);
            self.found = "";
        }
    }

    /// Writes lines of the client. Several equal lines become one.
    fn client(&mut self, octets: &[u8], during: During) {
        let mut lines = octets.split_inclusive(|octet| *octet == b'\n').peekable();
        let mut is_waited_for = during == During::Receive;
        while let Some(line) = lines.next() {
            // Commands that came in one piece with the one before did not wait for their turn.
            let speaker = if is_waited_for || self.is_in_mail_data { "C" } else { "C!" };
            is_waited_for = false;
            self.is_in_mail_data &= line != b".\r\n";
            let mut count = 1;
            let is_alone = speaker == "C" && !self.is_in_mail_data;
            while !is_alone && lines.next_if_eq(&line).is_some() {
                count += 1;
            }
            let times = if count > 1 { format!("*{count}") } else { String::new() };
            let (line, open) = match line.strip_suffix(b"\r\n") {
                Some(line) => (line, ""),
                None => (line, "\\"),
            };
            let line = escaped(line);
            let _ = writeln!(self.text, "{speaker}{times}: {line}{open}");
        }
    }
}

/// Returns octets with the escapes of dialogues.
fn escaped(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for (at, octet) in octets.iter().enumerate() {
        let is_edge = at == 0 || at + 1 == octets.len();
        match octet {
            b'\\' => text += "\\\\",
            b'\r' => text += "\\r",
            b'\n' => text += "\\n",
            b'\t' => text += "\\t",
            b' ' if is_edge => text += "\\x20",
            b'<' if at == 0 => text += "\\x3c",
            b' '..=b'~' => text.push(char::from(*octet)),
            octet => {
                let _ = write!(text, "\\x{octet:02x}");
            }
        }
    }
    text
}

/// Returns a reply on one line: its code, and its lines with `\n` between them.
fn one_line(reply: &Reply) -> String {
    let text = reply.to_string();
    let lines: Vec<_> = text.split('\n').map(|line| line.get(4..).unwrap_or_default()).collect();
    let lines: Vec<_> = lines.iter().map(|line| line.replace('\\', "\\\\")).collect();
    format!("{} {}", reply.code(), lines.join("\\n"))
}
