//! Tells mail data from commands in the input of a session, so that recordings need not contain it.
//!
//! An error is on the safe side: mail data that is taken for commands is not understood, and is
//! masked like other lines that are no commands.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem;

/// The end of mail data after DATA, with the line end before it.
const END: &[u8] = b"\r\n.\r\n";
/// The number of octets before the last one of [`END`].
const TAIL: usize = END.len() - 1;
/// The number of octets at the end of a large read that are searched for the end of the mail data.
/// Clients send at most a few commands behind it.
const SEARCHED: usize = 1_024;
/// Size up to which a read is searched whole, in octets.
const SMALL: usize = 4_096;

/// What the next input is.
#[derive(Debug, Default)]
enum Mode {
    #[default]
    Commands,
    /// The reply to DATA has not been sent. It decides.
    Undecided,
    /// Mail data after DATA.
    Data,
    /// The rest of a chunk (BDAT).
    Chunk(u64),
}

/// The position in the input of one session.
#[derive(Debug, Default)]
pub(super) struct Extent {
    mode: Mode,
    /// The number of replies that the session owes.
    owed: usize,
    /// The octets of mail data so far.
    data: u64,
    tail: Tail,
}

/// The last octets of mail data.
#[derive(Debug, Default)]
struct Tail {
    octets: [u8; TAIL],
    length: usize,
}

impl Tail {
    fn octets(&self) -> &[u8] {
        &self.octets[TAIL - self.length..]
    }

    fn push(&mut self, data: &[u8]) {
        let new = &data[data.len().saturating_sub(TAIL)..];
        self.octets.rotate_left(new.len());
        self.octets[TAIL - new.len()..].copy_from_slice(new);
        self.length = TAIL.min(self.length + new.len());
    }
}

/// A piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'i> {
    /// Octets of commands. The flag tells whether they end a line.
    Commands(&'i [u8], bool),
    /// So many octets of mail data have ended. The flag tells whether the end of data is among them.
    MailData(u64, bool),
    /// Octets behind DATA, before its reply. Pass them again when it was sent.
    Early(&'i [u8]),
}

impl Extent {
    /// Creates the position at the start of a session, which owes the greeting.
    pub(super) fn new() -> Self {
        Self { owed: 1, ..Self::default() }
    }

    /// Splits the next piece off `input`. `begun` is the begin of the current line.
    pub(super) fn next<'i>(&mut self, input: &mut &'i [u8], begun: &[u8]) -> Option<Piece<'i>> {
        if input.is_empty() {
            return None;
        }
        match &mut self.mode {
            Mode::Commands => Some(self.command(input, begun)),
            Mode::Undecided => Some(Piece::Early(std::mem::take(input))),
            Mode::Data => self.mail_data(input),
            Mode::Chunk(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= length as u64;
                self.data += length as u64;
                *input = &input[length..];
                (*left == 0).then(|| self.end(false))
            }
        }
    }

    /// Takes a whole input if it is one command that mail data cannot follow. Most inputs are.
    pub(super) fn is_command(&mut self, input: &[u8]) -> bool {
        let is_command = matches!(self.mode, Mode::Commands)
            && !can_lead_to_data(input)
            && memchr(b'\n', input).is_some_and(|end| end + 1 == input.len());
        self.owed += usize::from(is_command);
        is_command
    }

    fn command<'i>(&mut self, input: &mut &'i [u8], begun: &[u8]) -> Piece<'i> {
        let Some(end) = memchr(b'\n', input) else {
            return Piece::Commands(std::mem::take(input), false);
        };
        let (line, rest) = input.split_at(end + 1);
        *input = rest;
        self.owed += 1;
        let whole;
        let command = if begun.is_empty() {
            line
        } else {
            whole = [begun, line].concat();
            &whole
        };
        if !can_lead_to_data(command) {
            return Piece::Commands(line, true);
        }
        let mut words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default();
        if verb.eq_ignore_ascii_case(b"DATA") {
            self.mode = Mode::Undecided;
        } else if verb.eq_ignore_ascii_case(b"BDAT")
            && let Some(size) =
                words.next().and_then(|word| str::from_utf8(word).ok()?.parse().ok())
            && size > 0
        {
            self.mode = Mode::Chunk(size);
        }
        Piece::Commands(line, true)
    }

    fn mail_data<'i>(&mut self, input: &mut &'i [u8]) -> Option<Piece<'i>> {
        let length = self.find_end(input);
        let taken = length.unwrap_or(input.len());
        self.data += taken as u64;
        let (data, rest) = input.split_at(taken);
        *input = rest;
        if length.is_some() {
            self.owed += 1;
            return Some(self.end(true));
        }
        self.tail.push(data);
        None
    }

    /// Returns the length of the mail data up to its end, if the end is in `input`.
    fn find_end(&self, input: &[u8]) -> Option<usize> {
        let tail = self.tail.octets();
        let begin = &input[..input.len().min(TAIL)];
        // Otherwise, the end is not in both.
        if tail.contains(&b'.') || begin.contains(&b'.') {
            let mut joint = [0; 2 * TAIL];
            joint[..tail.len()].copy_from_slice(tail);
            joint[tail.len()..][..begin.len()].copy_from_slice(begin);
            let mut windows = joint[..tail.len() + begin.len()].windows(END.len());
            if let Some(at) = windows.position(|window| window == END) {
                return Some(at + END.len() - tail.len());
            }
        }
        /// Reused, because creating it takes longer than a search in a small message.
        static FINDER: LazyLock<memmem::Finder<'static>> =
            LazyLock::new(|| memmem::Finder::new(END));
        let from = if input.len() > SMALL { input.len() - SEARCHED } else { 0 };
        FINDER.find(&input[from..]).map(|at| from + at + END.len())
    }

    /// Ends mail data.
    fn end<'i>(&mut self, ends: bool) -> Piece<'i> {
        self.mode = Mode::Commands;
        self.tail = Tail::default();
        Piece::MailData(std::mem::take(&mut self.data), ends)
    }

    /// Takes replies that were sent to the client. Returns whether octets behind DATA can be passed
    /// again.
    pub(super) fn replied(&mut self, octets: &[u8]) -> bool {
        let mut rest = octets;
        // Most replies are one line.
        while !rest.is_empty()
            && let Some(end) = memchr(b'\n', rest)
        {
            let line;
            (line, rest) = (&rest[..end], &rest[end + 1..]);
            if line.get(3) == Some(&b'-') {
                continue;
            }
            self.owed = self.owed.saturating_sub(1);
            if matches!(self.mode, Mode::Undecided) && line.starts_with(b"354") {
                self.mode = Mode::Data;
                // The end of data may come at once.
                self.tail.push(b"\r\n");
                return true;
            }
        }
        if matches!(self.mode, Mode::Undecided) && self.owed == 0 {
            self.mode = Mode::Commands;
            return true;
        }
        false
    }

    /// Ends mail data that the session knows to be over, or that broke off.
    pub(super) fn stop(&mut self, ends: bool) -> Option<Piece<'static>> {
        let is_open = matches!(self.mode, Mode::Data | Mode::Chunk(_)) && self.data > 0;
        is_open.then(|| self.end(ends))
    }
}

/// Returns whether the verb of a command may be DATA or BDAT.
fn can_lead_to_data(command: &[u8]) -> bool {
    matches!(command.trim_ascii_start().first(), Some(b'D' | b'd' | b'B' | b'b'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the octets of commands, with the number of octets of mail data in brackets.
    fn read(pieces: &[(&[u8], &str)]) -> String {
        let (mut extent, mut read, mut begun) = (Extent::new(), String::new(), Vec::new());
        let mut early = Vec::new();
        let mut take = |extent: &mut Extent, early: &mut Vec<u8>, mut input: &[u8]| {
            while !input.is_empty() {
                match extent.next(&mut input, &begun) {
                    Some(Piece::Commands(octets, ends)) => {
                        begun.extend_from_slice(octets);
                        read += &String::from_utf8_lossy(octets);
                        if ends {
                            begun.clear();
                        }
                    }
                    Some(Piece::MailData(octets, _)) => read += &format!("[{octets}]"),
                    Some(Piece::Early(octets)) => early.extend_from_slice(octets),
                    None => {}
                }
            }
        };
        for (input, replies) in pieces {
            take(&mut extent, &mut early, input);
            if extent.replied(replies.as_bytes()) {
                let held = std::mem::take(&mut early);
                take(&mut extent, &mut early, &held);
            }
        }
        read
    }

    #[test]
    fn mail_data_is_told_from_commands_at_every_boundary() {
        let begin: &[u8] = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
        let rest: &[u8] = b"x\r\n.y\r\n..\r\n\r\n.\r\nBDAT 5\r\nQUIT\nRSET\r\n";
        let expected = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n[16]BDAT 5\r\n[5]RSET\r\n";
        for one in 0..begin.len() {
            for two in 0..rest.len() {
                let pieces: [(&[u8], &str); 5] = [
                    (b"", "220 x\r\n"),
                    (&begin[..one], ""),
                    (&begin[one..], "250 a\r\n250-b\r\n250 c\r\n354 d\r\n"),
                    (&rest[..two], ""),
                    (&rest[two..], ""),
                ];
                assert_eq!(read(&pieces), expected, "{one} {two}");
            }
        }
    }

    #[test]
    fn a_refusal_of_data_is_followed_by_commands() {
        let pieces: [(&[u8], &str); 3] =
            [(b"", "220 x\r\n"), (b"DATA\r\nNOOP\r\n", "503 a\r\n"), (b"QUIT\r\n", "")];
        assert_eq!(read(&pieces), "DATA\r\nNOOP\r\nQUIT\r\n");
        // The reply to DATA may come later than that to MAIL.
        let pieces: [(&[u8], &str); 3] = [
            (b"RSET\r\nDATA\r\n", "220 x\r\n250 y\r\n"),
            (b"a\r\n.\r\nQUIT\r\n", "354 a\r\n"),
            (b"", ""),
        ];
        assert_eq!(read(&pieces), "RSET\r\nDATA\r\n[6]QUIT\r\n");
    }
}
