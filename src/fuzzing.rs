//! Crate-private functions for the fuzz targets, with public types. Built only with
//! `--cfg fuzzing`, which `cargo fuzz` sets. Not part of the public API.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::budget::{BLOCK, Budget};
use crate::wire::command::{Command, spaced};
use crate::wire::content::{ContentDecoder, ContentFault, DataWriter, Dots, MailData, Progress};
use crate::wire::line::{LineError, LineReader};
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::reply::{Reply, ReplyError, ReplyLimits, ReplyReader};

/// The result of reading mail data.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// The content; `None` if it was not kept.
    pub content: Option<Vec<u8>>,
    /// Whether the content exceeds the limit.
    pub too_big: bool,
    /// Number of input octets that belong to the mail data.
    pub taken: usize,
    /// Whether there was a bare CR or LF.
    pub bare: bool,
    /// Size of the content in octets, even if it was not kept.
    pub size: u64,
}

/// Reads the mail data after DATA from these parts. Returns `None` if there is no end of data.
pub fn data<'w>(
    parts: impl IntoIterator<Item = &'w [u8]>,
    budget: &Budget,
    limit: u64,
) -> Option<Read> {
    let mut decoder = ContentDecoder::new(budget.clone(), 0, limit);
    let mut taken = 0;
    for part in parts {
        match decoder.data(part) {
            Progress::More => taken += part.len(),
            Progress::End(end) => return Some(read(decoder, taken + end)),
        }
    }
    None
}

/// Reads mail data as [`data`] does, but as much as possible directly into a block (no copy). The
/// block has been used before.
pub fn data_in_place<'w>(
    parts: impl IntoIterator<Item = &'w [u8]>,
    budget: &Budget,
    limit: u64,
) -> Option<Read> {
    // An earlier message that used the block.
    ContentDecoder::new(budget.clone(), BLOCK, u64::MAX).chunk(&[b'.'; BLOCK]);
    let mut decoder = ContentDecoder::new(budget.clone(), BLOCK, limit);
    let mut taken = 0;
    for mut part in parts {
        while !part.is_empty() {
            let room = decoder.room();
            let (here, behind) = part.split_at(room.len().min(part.len()));
            room[..here.len()].copy_from_slice(here);
            let (in_place, rest) = decoder.data_in_place(here.len());
            let left = if here.is_empty() { behind } else { &rest };
            if let Progress::End(end) = decoder.data(left) {
                return Some(read(decoder, taken + in_place + end));
            }
            taken += in_place + left.len();
            part = if here.is_empty() { &[] } else { behind };
        }
    }
    None
}

/// Reads the chunks of BDAT from these parts.
pub fn chunks<'w>(parts: impl IntoIterator<Item = &'w [u8]>, budget: &Budget, limit: u64) -> Read {
    let mut decoder = ContentDecoder::new(budget.clone(), 0, limit);
    let mut taken = 0;
    for part in parts {
        decoder.chunk(part);
        taken += part.len();
    }
    read(decoder, taken)
}

fn read(decoder: ContentDecoder, taken: usize) -> Read {
    let (bare, size) = (decoder.saw_bare(), decoder.size());
    let content = decoder.finish();
    let too_big = matches!(content, Err(ContentFault::TooBig));
    let content = content.ok().map(|content| octets(&content));
    Read { content, too_big, taken, bare, size }
}

/// Returns the mail data in one piece.
pub fn octets(mail_data: &MailData) -> Vec<u8> {
    mail_data.segments().concat()
}

/// Returns these segments as mail data for DATA, with dot-stuffing and the end of data. Nothing is
/// assumed about dots at the start of lines.
pub fn write_data(segments: &[Bytes]) -> Vec<Bytes> {
    let dots = Dots::Perhaps;
    let mut output = Vec::new();
    let mut writer = DataWriter::new(segments.to_vec(), dots);
    while !writer.is_done() {
        writer.write(&mut output);
    }
    output
}

/// Returns the command lines in these parts. Stops at a line that is endless or contains a bare LF.
pub fn lines<'w>(
    parts: impl IntoIterator<Item = &'w [u8]>,
    limit: usize,
) -> Vec<Result<Vec<u8>, LineError>> {
    let mut reader = LineReader::new(limit);
    let mut buffer = BytesMut::new();
    let mut lines = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            let (length, line) = reader.next(&buffer);
            let line = line.map(|line| line.map(<[u8]>::to_vec));
            buffer.advance(length);
            match line {
                Some(line) => lines.push(line),
                None if length == 0 => break,
                None => {}
            }
            if let Some(Err(LineError::BareLf | LineError::Endless)) = lines.last() {
                return lines;
            }
        }
    }
    lines
}

/// A parsed command, reduced to the arguments that the fuzz targets check.
#[derive(Debug, PartialEq, Eq)]
pub enum Spoken {
    /// The name in EHLO or HELO.
    Name(Box<str>),
    /// MAIL.
    Mail(ReversePath),
    /// RCPT.
    Rcpt(ForwardPath),
    /// BDAT: the size of the chunk, and whether it is the last.
    Bdat(u64, bool),
    /// Any other command.
    Other,
}

/// Parses a command line whose only control octets are tabs. Returns `None` if it is malformed.
pub fn command(line: &[u8]) -> Option<Spoken> {
    Command::parse(&spaced(line)).ok().map(|command| match command {
        Command::Ehlo(name) | Command::Helo(name) => Spoken::Name(name),
        Command::Mail(path) => Spoken::Mail(path),
        Command::Rcpt(path) => Spoken::Rcpt(path),
        Command::Bdat { size, last } => Spoken::Bdat(size, last),
        _ => Spoken::Other,
    })
}

/// Returns the replies in these parts, and the fault after them, if any.
pub fn replies<'w>(parts: impl IntoIterator<Item = &'w [u8]>) -> (Vec<Reply>, Option<ReplyError>) {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for part in parts {
        reader.receive(part);
        loop {
            match reader.next(ReplyLimits::default()) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault)),
            }
        }
    }
    (replies, None)
}

/// Parses the text of an SPF policy and writes it again; `None` if it is malformed.
#[cfg(feature = "sender-authentication")]
pub fn spf_policy(text: &[u8]) -> Option<String> {
    crate::authentication::Policy::parse(text).ok().map(|policy| policy.to_string())
}
