//! The client of a trial: it sends a message, or the commands on standard input.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;

use super::report::print;

/// A message with its envelope.
pub(super) struct Mail {
    pub(super) helo: String,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) content: Vec<u8>,
}

/// The client's side of the connection.
pub(super) struct Dialogue {
    replies: BufReader<UnixStream>,
    commands: UnixStream,
}

impl Dialogue {
    pub(super) fn new(connection: UnixStream) -> io::Result<Self> {
        Ok(Self { commands: connection.try_clone()?, replies: BufReader::new(connection) })
    }

    /// Sends the message. An I/O error means that the gate has closed the connection. Its last
    /// reply gives the reason.
    pub(super) fn send(mut self, mail: &Mail) {
        let _ = self.send_mail(mail);
    }

    fn send_mail(&mut self, mail: &Mail) -> io::Result<()> {
        if !self.reply()?.is_positive() || !self.say(&format!("EHLO {}", mail.helo))?.is_positive()
        {
            return Ok(());
        }
        let is_utf8 = !mail.from.is_ascii() || mail.to.iter().any(|to| !to.is_ascii());
        let utf8 = if is_utf8 { " SMTPUTF8" } else { "" };
        let body = if mail.content.is_ascii() { "" } else { " BODY=8BITMIME" };
        let mail_from = format!("MAIL FROM:{}{body}{utf8}", path(&mail.from));
        let mut accepted = 0;
        if self.say(&mail_from)?.is_positive() {
            for to in &mail.to {
                accepted += usize::from(self.say(&format!("RCPT TO:{}", path(to)))?.is_positive());
            }
        }
        if accepted > 0 && self.say("DATA")?.is_positive() {
            print("C: (the message)");
            self.commands.write_all(&stuffed(&mail.content))?;
            self.reply()?;
        }
        self.say("QUIT").map(drop)
    }

    /// Sends the commands from standard input, each after the reply to the previous one, until the
    /// gate or standard input ends the dialogue.
    pub(super) fn relay_input(mut self) {
        let _ = self.relay_commands();
    }

    fn relay_commands(&mut self) -> io::Result<()> {
        let mut input = io::stdin().lock();
        let echoes = !input.is_terminal();
        self.reply()?;
        while let Some(line) = line(&mut input)? {
            if echoes {
                print(&format!("C: {}", String::from_utf8_lossy(&line)));
            }
            self.commands.write_all(&[&line, &b"\r\n"[..]].concat())?;
            if let Some(octets) = chunk(&line) {
                io::copy(&mut input.by_ref().take(octets), &mut self.commands)?;
            }
            let Reply(code) = self.reply()?;
            if code == 354 {
                self.relay_content(&mut input)?;
                self.reply()?;
            } else if matches!(code, 221 | 421) {
                break;
            }
        }
        Ok(())
    }

    fn relay_content(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        loop {
            let line = line(input)?.unwrap_or_else(|| b".".to_vec());
            self.commands.write_all(&[&line, &b"\r\n"[..]].concat())?;
            if line == b"." {
                return Ok(());
            }
        }
    }

    fn say(&mut self, command: &str) -> io::Result<Reply> {
        print(&format!("C: {command}"));
        self.commands.write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// Reads and prints a reply. With PRDR, further replies follow 353.
    fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let mut line = String::new();
            if self.replies.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            print(&format!("S: {}", line.trim_end()));
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply(line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)));
            }
        }
    }
}

/// The code of a reply.
#[derive(Clone, Copy)]
struct Reply(u16);

impl Reply {
    fn is_positive(self) -> bool {
        (200..400).contains(&self.0)
    }
}

/// Reads a line without its end, which is CRLF or LF. `None` at the end of input.
fn line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|octet| *octet == b'\r');
    }
    Ok(Some(line))
}

/// Returns the number of octets after a BDAT command.
fn chunk(line: &[u8]) -> Option<u64> {
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|verb| verb.eq_ignore_ascii_case("BDAT"))?;
    words.next()?.parse().ok()
}

/// Returns an address in angle brackets.
fn path(address: &str) -> String {
    if address.starts_with('<') { address.to_owned() } else { format!("<{address}>") }
}

/// Returns the content with CRLF at the end of each line, with dot-stuffing, and with the end of
/// data.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(content.len() + content.len() / 32 + 8);
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    for line in content.split(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b".\r\n");
    data
}
