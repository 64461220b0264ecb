//! The part of the Redis serialisation protocol that is needed: RESP2 commands, and replies of one
//! string.

use memchr::memmem;

/// Maximum size of a short reply. Actual short replies have less than a hundred octets.
pub(super) const REPLY: usize = 4096;

/// A reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A string.
    Text(Box<[u8]>),
    /// An error message.
    Error(Box<str>),
}

/// The error for a reply that is malformed or not of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

/// Encodes a command with its arguments.
pub(super) fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    command
}

impl Reply {
    /// Parses a reply with a string of at most `most` octets. Returns `None` while the reply is
    /// incomplete. Octets after the reply are an error, because only one command was sent.
    pub(super) fn parse(octets: &[u8], most: usize) -> Result<Option<Self>, Garbled> {
        let head = &octets[..octets.len().min(REPLY + 2)];
        let Some(end) = memmem::find(head, b"\r\n") else {
            return if octets.len() > REPLY { Err(Garbled("line too long")) } else { Ok(None) };
        };
        let (line, rest) = (&octets[..end], &octets[end + 2..]);
        let (kind, line) = line.split_first().ok_or(Garbled("empty line"))?;
        let line = str::from_utf8(line).map_err(|_| Garbled("not UTF-8"))?;
        let reply = match kind {
            b'+' => Self::Text(line.as_bytes().into()),
            b'-' => Self::Error(line.into()),
            b'$' => return Self::bulk(line, rest, most),
            _ => return Err(Garbled("not a string")),
        };
        if rest.is_empty() { Ok(Some(reply)) } else { Err(Garbled("octets after the response")) }
    }

    fn bulk(length: &str, rest: &[u8], most: usize) -> Result<Option<Self>, Garbled> {
        let digits = length.bytes().all(|octet| octet.is_ascii_digit());
        let length: usize = length.parse().ok().filter(|_| digits).ok_or(Garbled("length"))?;
        if length > most {
            return Err(Garbled("string too long"));
        }
        let Some((text, end)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        match end {
            b"" | b"\r" => Ok(None),
            b"\r\n" => Ok(Some(Self::Text(text.into()))),
            _ => Err(Garbled("octets after the response")),
        }
    }
}
