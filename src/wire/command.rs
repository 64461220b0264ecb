//! Commands and their parameters (RFC 5321 section 4.1): raw octets with a parsed view.

use bytes::Bytes;

use super::mailbox::{ForwardPath, ReversePath};

/// A command as read off one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// EHLO and HELO with the name, made printable.
    Ehlo(Box<str>),
    Helo(Box<str>),
    Mail(ReversePath),
    Rcpt(ForwardPath),
    Data,
    Bdat { size: u64, last: bool },
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    StartTls,
}

/// Why a line is not a command. The fault is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandFault {
    #[error("unknown command")]
    Unknown,
    /// The line is the request of another protocol, HTTP above all.
    #[error("another protocol")]
    Foreign,
    /// What the command should look like.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// No path where one should be.
    #[error("no reverse-path")]
    ReversePath,
    #[error("no forward-path")]
    ForwardPath,
    /// A parameter that nobody here knows: 555.
    #[error("unknown parameter")]
    UnknownParameter,
    /// A known parameter with a value that it cannot have, or given twice.
    #[error("bad parameter")]
    BadParameter,
    /// The chunk that follows has an unknown size: nothing behind it can be read.
    #[error("bad chunk size")]
    ChunkSize,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MailParameters {
    /// As written, without the space before the first; goes onward in full.
    pub raw: Bytes,
    /// SIZE (RFC 1870), octets.
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// Whether RET or ENVID (RFC 3461) is there.
    pub dsn: bool,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RcptParameters {
    /// As written, without the space before the first; goes onward in full.
    pub raw: Bytes,
    /// Whether NOTIFY or ORCPT (RFC 3461) is there.
    pub dsn: bool,
}

/// The value of BODY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

impl Command {
    /// Reads a command off a line without its CRLF. The line holds no control octets.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, CommandFault> {
        let _ = line;
        todo!("helper")
    }
}
