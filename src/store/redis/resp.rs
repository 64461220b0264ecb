//! The redis serialisation protocol, as far as it is needed: RESP2, commands out, one string in.

use memchr::memmem;

/// Longest reply that is read. What our scripts answer has less than a hundred octets.
pub(super) const REPLY: usize = 4096;

/// A reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A string.
    Text(Box<str>),
    /// A no, and why.
    Error(Box<str>),
}

/// What is no reply, or none that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

/// A command with its arguments.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    command.into_bytes()
}

impl Reply {
    /// Reads a reply; `None` as long as it is not whole. Nothing may follow it: nothing else was
    /// asked.
    pub(super) fn parse(octets: &[u8]) -> Result<Option<Self>, Garbled> {
        let Some(end) = memmem::find(octets, b"\r\n") else {
            return if octets.len() > REPLY { Err(Garbled("endless line")) } else { Ok(None) };
        };
        let (line, rest) = (&octets[..end], &octets[end + 2..]);
        let (kind, line) = line.split_first().ok_or(Garbled("empty line"))?;
        let line = str::from_utf8(line).map_err(|_| Garbled("not UTF-8"))?;
        let reply = match kind {
            b'+' => Self::Text(line.into()),
            b'-' => Self::Error(line.into()),
            b'$' => return Self::bulk(line, rest),
            _ => return Err(Garbled("not a string")),
        };
        if rest.is_empty() { Ok(Some(reply)) } else { Err(Garbled("more than was asked for")) }
    }

    fn bulk(length: &str, rest: &[u8]) -> Result<Option<Self>, Garbled> {
        let digits = length.bytes().all(|octet| octet.is_ascii_digit());
        let length: usize = length.parse().ok().filter(|_| digits).ok_or(Garbled("length"))?;
        if length > REPLY {
            return Err(Garbled("endless string"));
        }
        let Some((text, end)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        match end {
            b"" | b"\r" => Ok(None),
            b"\r\n" => {
                let text = str::from_utf8(text).map_err(|_| Garbled("not UTF-8"))?;
                Ok(Some(Self::Text(text.into())))
            }
            _ => Err(Garbled("more than was asked for")),
        }
    }
}
