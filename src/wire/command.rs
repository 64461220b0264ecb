//! Commands and their parameters (RFC 5321 section 4.1): raw octets with a parsed view.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memrchr};
use smtp_proto::request::parser::Rfc5321Parser;

use super::attributes::xtext;
use super::mailbox::{ForwardPath, PathFault, ReversePath};
use super::text::is_printable;

#[cfg(test)]
mod tests;

/// Longest name that EHLO and HELO keep: that of a domain (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;
/// Longest values of ENVID and ORCPT (RFC 3461 sections 4.4 and 4.2).
const ENVID: usize = 100;
const ORCPT: usize = 500;
/// Most digits of a number on the wire: what fits into 64 bits, whatever the digits.
const DIGITS: usize = 18;

/// What an HTTP request begins with (RFC 9110 section 9.3, RFC 5789).
const HTTP_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A command as read off one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// EHLO and HELO with the name, made printable.
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
    /// As written, without the space before the first and without PRDR; goes onward in full.
    pub(crate) raw: Bytes,
    /// SIZE (RFC 1870), octets.
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// Whether RET or ENVID (RFC 3461) is there.
    pub dsn: bool,
    /// PRDR (draft-hall-prdr): the client understands an answer to the content for each recipient.
    pub prdr: bool,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RcptParameters {
    /// As written, without the space before the first; goes onward in full.
    pub(crate) raw: Bytes,
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

/// Why a parameter is not accepted. The fault is of whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterFault {
    /// Its keyword or value is not one that nobounce passes on; for `BODY=BINARYMIME`, too, since
    /// BINARYMIME is never offered.
    #[error("unknown parameter")]
    Unknown,
    /// It is against the grammar of parameters (RFC 5321 section 4.1.2), has a value that it cannot
    /// have, or is given twice.
    #[error("bad parameter")]
    Bad,
}

impl Command {
    /// Reads a command off a line without its CRLF. The line holds no control octets; its tabs are
    /// [`spaced`]. Words may have any number of spaces before them, as with Postfix.
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
        // RFC 5321 section 2.4: verbs are known in any case.
        match &upper_case(verb)[..verb.len().min(VERB)] {
            b"EHLO" => with(Self::Ehlo(printable(argument)), "EHLO name"),
            b"HELO" => with(Self::Helo(printable(argument)), "HELO name"),
            b"MAIL" => behind(argument, "FROM:")
                .ok_or(CommandFault::Syntax("MAIL FROM:<address>"))
                .and_then(|argument| ReversePath::parse(argument).map_err(reverse_path_fault))
                .map(Self::Mail),
            b"RCPT" => behind(argument, "TO:")
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

/// A line with spaces for the tabs between its words. Tabs between the first `<` and the last `>`
/// stay, since a path is never altered; one that holds a tab is refused.
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

/// Whether a faulty line is, or may be, a BDAT command: a chunk of unknown size follows it (RFC 3030
/// section 2). Control octets are taken for white space. `is_cut` says that the line goes on behind
/// these octets; its verb may then be incomplete, or not begun.
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

/// More octets than any verb has.
const VERB: usize = 9;

/// The first octets of a word, letters in upper case.
fn upper_case(word: &[u8]) -> [u8; VERB] {
    let mut upper = [0; VERB];
    upper.iter_mut().zip(word).for_each(|(upper, octet)| *upper = octet.to_ascii_uppercase());
    upper
}

impl MailParameters {
    /// Reads parameters as they stand behind a reverse-path, for example `SIZE=3 BODY=8BITMIME`.
    pub fn parse(octets: &[u8]) -> Result<Self, ParameterFault> {
        let raw = trim_start(trim_end(octets));
        if raw.is_empty() {
            return Ok(Self::default());
        }
        let mut size = None;
        let mut prdr = None;
        let mut dsn = false;
        let mut handed_over = Vec::new();
        for parameter in split(raw, &["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "PRDR"]) {
            let Parameter { keyword, value, written } = parameter?;
            match keyword {
                // Read here: smtp-proto's number has as many bits as the machine.
                "SIZE" => {
                    size = Some(value.and_then(octets_of_message).ok_or(ParameterFault::Bad)?);
                    continue;
                }
                "PRDR" if value.is_some() => return Err(ParameterFault::Bad),
                "PRDR" => {
                    prdr = Some(written);
                    continue;
                }
                "ENVID" => {
                    let value = value.filter(|value| value.len() <= ENVID);
                    value.and_then(xtext::decode).ok_or(ParameterFault::Bad)?;
                    dsn = true;
                    continue;
                }
                _ => {}
            }
            handed_over.extend_from_slice(written);
            handed_over.push(b' ');
        }
        handed_over.push(b'\n');
        let parsed = Rfc5321Parser::new(&mut handed_over.iter())
            .mail_from_parameters(Cow::Borrowed(""))
            .map_err(|_| ParameterFault::Bad)?;
        let has = |flag| parsed.flags & flag != 0;
        if has(smtp_proto::MAIL_BODY_BINARYMIME) {
            return Err(ParameterFault::Unknown);
        }
        let body = if has(smtp_proto::MAIL_BODY_8BITMIME) {
            Some(Body::EightBitMime)
        } else {
            has(smtp_proto::MAIL_BODY_7BIT).then_some(Body::SevenBit)
        };
        // PRDR is between client and gate.
        let raw = match prdr {
            Some(prdr) => {
                let words = raw.split(|octet| *octet == b' ');
                words.filter(|word| *word != prdr).collect::<Vec<_>>().join(&b' ').into()
            }
            None => Bytes::copy_from_slice(raw),
        };
        Ok(Self {
            raw,
            prdr: prdr.is_some(),
            size,
            body,
            smtp_utf8: has(smtp_proto::MAIL_SMTPUTF8),
            dsn: dsn || has(smtp_proto::MAIL_RET_FULL | smtp_proto::MAIL_RET_HDRS),
        })
    }

    /// The parameters as written, without the space before the first. They go onward in full, but
    /// for PRDR, which is between the client and us and not among them.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl RcptParameters {
    /// Reads parameters as they stand behind a forward-path, for example `NOTIFY=NEVER`.
    pub fn parse(octets: &[u8]) -> Result<Self, ParameterFault> {
        let raw = trim_start(trim_end(octets));
        if raw.is_empty() {
            return Ok(Self::default());
        }
        for parameter in split(raw, &["NOTIFY", "ORCPT"]) {
            let Parameter { keyword, value, .. } = parameter?;
            let is_sound = if keyword == "NOTIFY" { is_notify } else { is_original_recipient };
            value.filter(|value| is_sound(value)).ok_or(ParameterFault::Bad)?;
        }
        Ok(Self { raw: Bytes::copy_from_slice(raw), dsn: true })
    }

    /// The parameters as written, without the space before the first. They go onward in full.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl From<ParameterFault> for CommandFault {
    fn from(fault: ParameterFault) -> Self {
        match fault {
            ParameterFault::Unknown => Self::UnknownParameter,
            ParameterFault::Bad => Self::BadParameter,
        }
    }
}

fn reverse_path_fault(fault: PathFault) -> CommandFault {
    match fault {
        PathFault::Parameter(fault) => fault.into(),
        PathFault::Control | PathFault::NoPath => CommandFault::ReversePath,
    }
}

fn forward_path_fault(fault: PathFault) -> CommandFault {
    match fault {
        PathFault::Parameter(fault) => fault.into(),
        PathFault::Control | PathFault::NoPath => CommandFault::ForwardPath,
    }
}

/// One parameter, checked against the grammar (RFC 5321 section 4.1.2).
struct Parameter<'p> {
    /// In upper case, one of those known.
    keyword: &'static str,
    value: Option<&'p [u8]>,
    written: &'p [u8],
}

/// Splits parameters. Each keyword must be among the `known` ones (at most 8) and stand there once:
/// smtp-proto adds up what is given twice.
fn split<'p>(
    raw: &'p [u8],
    known: &'static [&'static str],
) -> impl Iterator<Item = Result<Parameter<'p>, ParameterFault>> {
    let mut seen = 0_u8;
    raw.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(move |written| {
        let (keyword, value) = halves(written);
        if !is_keyword(keyword) || !value.is_none_or(is_value) {
            return Err(ParameterFault::Bad);
        }
        let mut names = known.iter().zip(0..);
        let (keyword, index) = names
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(keyword))
            .ok_or(ParameterFault::Unknown)?;
        if seen & (1 << index) != 0 {
            return Err(ParameterFault::Bad);
        }
        seen |= 1 << index;
        Ok(Parameter { keyword, value, written })
    })
}

/// What stands before and behind the first `=`.
pub(super) fn halves(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = word.splitn(2, |octet| *octet == b'=');
    (halves.next().unwrap_or_default(), halves.next())
}

/// `esmtp-keyword`
fn is_keyword(octets: &[u8]) -> bool {
    octets.first().is_some_and(u8::is_ascii_alphanumeric)
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
}

/// `esmtp-value`, which RFC 6531 section 3.3 extends by UTF-8 (RFC 6533 has use for it in ORCPT). It
/// may hold `=`, as with Postfix: some clients write it in ORCPT and ENVID. The onward server prints it
/// in its delivery status notifications, so that characters that are not printable are refused.
fn is_value(octets: &[u8]) -> bool {
    let is_ascii = octets.iter().all(|octet| matches!(octet, 33..=126));
    let is_utf8 = || {
        octets.iter().all(|octet| matches!(octet, 33..=126 | 128..))
            && str::from_utf8(octets).is_ok_and(|value| value.chars().all(is_printable))
    };
    !octets.is_empty() && (is_ascii || is_utf8())
}

/// Whether this is a value of NOTIFY (RFC 3461 section 4.1): NEVER alone, or others. Empty places in
/// the list mean nothing, as with Postfix.
fn is_notify(value: &[u8]) -> bool {
    const OTHERS: [&[u8]; 3] = [b"SUCCESS", b"FAILURE", b"DELAY"];
    let conditions = || value.split(|octet| *octet == b',').filter(|word| !word.is_empty());
    let all_among = |known: &[&[u8]]| {
        conditions().all(|word| known.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    conditions().next().is_some() && (all_among(&[b"NEVER"]) || all_among(&OTHERS))
}

/// Whether this is a value of ORCPT (RFC 3461 section 4.2), a type and an address, which may be empty
/// as with Postfix. Addresses of the type `utf-8` (RFC 6533) are not in xtext.
fn is_original_recipient(value: &[u8]) -> bool {
    let Some(end) = memchr(b';', value) else { return false };
    let (kind, address) = (&value[..end], &value[end + 1..]);
    let is_address = kind.eq_ignore_ascii_case(b"utf-8") || xtext::decode(address).is_some();
    value.len() <= ORCPT && is_keyword(kind) && is_address
}

/// The value of SIZE (RFC 1870). One that is too large for its type is larger than any limit.
fn octets_of_message(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| number(digits).unwrap_or(u64::MAX))
}

/// `SP 1*DIGIT [SP "LAST"]`: what follows BDAT (RFC 3030 section 2), with any number of spaces.
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

/// A decimal number that cannot overflow: digits and nothing else, at most 18 behind any number of zeros, as
/// Postfix reads it (`off_cvt_string`).
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let figures = &digits[zeros..];
    let plain = figures.len() <= DIGITS && figures.iter().all(u8::is_ascii_digit);
    let is_number = plain && !digits.is_empty();
    is_number.then(|| figures.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// A name that a client gave itself: what is not a printable octet becomes `?`, the end is cut.
pub(super) fn printable(octets: &[u8]) -> Box<str> {
    let plain = |octet: &u8| {
        if octet.is_ascii_graphic() { char::from(*octet) } else { '?' }
    };
    octets.iter().take(NAME).map(plain).collect::<String>().into()
}

/// What stands behind `keyword`, in any case.
fn behind<'a>(argument: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    let (front, rest) = argument.split_at_checked(keyword.len())?;
    front.eq_ignore_ascii_case(keyword.as_bytes()).then_some(rest)
}

/// Whether somebody speaks HTTP, or sends a header field: of HTTP, or of a message whose DATA was
/// refused (Postfix hangs up on both).
fn is_foreign(verb: &[u8], argument: &[u8]) -> bool {
    let is_method = HTTP_METHODS.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(verb));
    (is_method && !argument.is_empty()) || verb.strip_suffix(b":").is_some_and(is_keyword)
}

/// Without spaces in front. Other white space stays, for others to refuse.
pub(super) fn trim_start(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_prefix(b" ") {
        octets = rest;
    }
    octets
}

/// Without spaces at the end.
pub(super) fn trim_end(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_suffix(b" ") {
        octets = rest;
    }
    octets
}
