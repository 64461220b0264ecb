//! SMTP commands and their parameters (RFC 5321 section 4.1): raw octets with a parsed view.

use std::borrow::Cow;

use memchr::{memchr, memrchr};

pub use super::line::LineError;
use super::mailbox::{ForwardPath, PathError, ReversePath};
pub use super::parameters::{Body, MailParameters, ParameterError, RcptParameters};
use super::parameters::{is_keyword, number, printable, trim_end, trim_start};

#[cfg(test)]
mod tests;

/// HTTP methods, with which an HTTP request begins (RFC 9110 section 9.3, RFC 5789).
const HTTP_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A command, parsed from one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// EHLO or HELO with the client's name, made printable.
    Ehlo(Box<str>),
    Helo(Box<str>),
    Mail(ReversePath),
    Rcpt(ForwardPath),
    Data,
    Bdat {
        size: u64,
        last: bool,
    },
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    StartTls,
}

/// Reason why a line is not a valid command. Client fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandFault {
    #[error("unknown command")]
    Unknown,
    /// The line belongs to another protocol, usually HTTP.
    #[error("the line belongs to another protocol")]
    Foreign,
    /// The arguments do not follow this syntax.
    #[error("syntax error, expected {0}")]
    Syntax(&'static str),
    /// The path is missing or malformed.
    #[error("missing or malformed reverse-path")]
    ReversePath,
    #[error("missing or malformed forward-path")]
    ForwardPath,
    /// A parameter that nobounce does not support: reply 555.
    #[error("unknown parameter")]
    UnknownParameter,
    /// A known parameter has an invalid value or occurs twice.
    #[error("invalid or repeated parameter")]
    BadParameter,
    /// The size of the chunk is unknown, so nothing after the command can be read.
    #[error("invalid chunk size")]
    ChunkSize,
}

impl Command {
    /// Parses a command from a line without its CRLF. The line must contain no control octets, and
    /// its tabs must have been replaced by [`spaced`]. Any number of spaces is accepted before each
    /// word, as in Postfix.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, CommandFault> {
        let line = trim_start(trim_end(line));
        let (verb, tail) = line.split_at(line.iter().take_while(|octet| **octet != b' ').count());
        let argument = trim_start(tail);
        let alone = |command, syntax| match argument {
            b"" => Ok(command),
            _ => Err(CommandFault::Syntax(syntax)),
        };
        let with = |command, syntax| match argument {
            b"" => Err(CommandFault::Syntax(syntax)),
            _ => Ok(command),
        };
        // RFC 5321 section 2.4: verbs are case-insensitive.
        match &upper_case(verb)[..verb.len().min(VERB)] {
            b"EHLO" => with(Self::Ehlo(printable(argument)), "EHLO name"),
            b"HELO" => with(Self::Helo(printable(argument)), "HELO name"),
            b"MAIL" => after(argument, "FROM:")
                .ok_or(CommandFault::Syntax("MAIL FROM:<address>"))
                .and_then(|argument| ReversePath::parse(argument).map_err(reverse_path_fault))
                .map(Self::Mail),
            b"RCPT" => after(argument, "TO:")
                .ok_or(CommandFault::Syntax("RCPT TO:<address>"))
                .and_then(|argument| ForwardPath::parse(argument).map_err(forward_path_fault))
                .map(Self::Rcpt),
            b"DATA" => alone(Self::Data, "DATA"),
            b"BDAT" => chunk(tail).ok_or(CommandFault::ChunkSize),
            b"RSET" => alone(Self::Rset, "RSET"),
            b"NOOP" => Ok(Self::Noop),
            b"VRFY" => with(Self::Vrfy, "VRFY address"),
            b"EXPN" => with(Self::Expn, "EXPN list"),
            b"HELP" => Ok(Self::Help),
            b"QUIT" => alone(Self::Quit, "QUIT"),
            b"STARTTLS" => alone(Self::StartTls, "STARTTLS"),
            _ if is_foreign(verb, argument) => Err(CommandFault::Foreign),
            _ => Err(CommandFault::Unknown),
        }
    }
}

/// Replaces the tabs between the words of a line by spaces. Tabs between the first `<` and the last
/// `>` stay, since a path is never altered. A path with a tab is refused later.
pub(crate) fn spaced(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\t', line).is_none() {
        return Cow::Borrowed(line);
    }
    let open = memchr(b'<', line).unwrap_or(line.len());
    let closed = memrchr(b'>', line).unwrap_or(0);
    let mut spaced = line.to_vec();
    for (at, octet) in spaced.iter_mut().enumerate() {
        if *octet == b'\t' && !(open..closed).contains(&at) {
            *octet = b' ';
        }
    }
    Cow::Owned(spaced)
}

/// Returns whether a faulty line is, or may be, a BDAT command. If so, a chunk of unknown size
/// follows it (RFC 3030 section 2). Control octets count as white space. `is_cut` says that the
/// line continues after these octets, so its verb may be incomplete or missing.
pub(crate) fn announces_chunk(line: &[u8], is_cut: bool) -> bool {
    const BDAT: &[u8] = b"BDAT";
    let is_space = |octet: &u8| *octet <= b' ' || *octet == 0x7f;
    let start = line.iter().position(|octet| !is_space(octet)).unwrap_or(line.len());
    let word = &line[start..];
    match word.iter().position(is_space) {
        None if is_cut && word.len() < BDAT.len() => BDAT[..word.len()].eq_ignore_ascii_case(word),
        end => word[..end.unwrap_or(word.len())].eq_ignore_ascii_case(BDAT),
    }
}

/// One octet more than the longest verb, so that a longer word matches no verb.
const VERB: usize = 9;

/// Returns the first octets of a word, with letters in upper case.
fn upper_case(word: &[u8]) -> [u8; VERB] {
    let mut upper = [0; VERB];
    upper.iter_mut().zip(word).for_each(|(upper, octet)| *upper = octet.to_ascii_uppercase());
    upper
}

impl From<ParameterError> for CommandFault {
    fn from(fault: ParameterError) -> Self {
        match fault {
            ParameterError::Unknown => Self::UnknownParameter,
            ParameterError::Bad => Self::BadParameter,
        }
    }
}

fn reverse_path_fault(fault: PathError) -> CommandFault {
    match fault {
        PathError::Parameter(fault) => fault.into(),
        PathError::Control | PathError::NoPath => CommandFault::ReversePath,
    }
}

fn forward_path_fault(fault: PathError) -> CommandFault {
    match fault {
        PathError::Parameter(fault) => fault.into(),
        PathError::Control | PathError::NoPath => CommandFault::ForwardPath,
    }
}

/// Parses the arguments of BDAT, `SP 1*DIGIT [SP "LAST"]` (RFC 3030 section 2), with any number of
/// spaces.
fn chunk(tail: &[u8]) -> Option<Command> {
    let mut words = tail.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let size = number(words.next()?)?;
    let last = match words.next() {
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
        None => false,
    };
    words.next().is_none().then_some(Command::Bdat { size, last })
}

/// Returns the rest of the argument after `keyword`, which is case-insensitive.
fn after<'a>(argument: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    let (front, rest) = argument.split_at_checked(keyword.len())?;
    front.eq_ignore_ascii_case(keyword.as_bytes()).then_some(rest)
}

/// Returns whether the line is an HTTP request or a header field. A header field comes from HTTP,
/// or from a message whose DATA was refused. Postfix disconnects in both cases.
fn is_foreign(verb: &[u8], argument: &[u8]) -> bool {
    let is_method = HTTP_METHODS.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(verb));
    (is_method && !argument.is_empty()) || verb.strip_suffix(b":").is_some_and(is_keyword)
}
