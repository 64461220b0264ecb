//! ESMTP parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11), and the words that they are made of.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr;
use smtp_proto::request::parser::Rfc5321Parser;

use super::text::is_printable;
use super::xtext;

/// Longest name that EHLO and HELO keep: that of a domain (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;
/// Longest values of ENVID and ORCPT (RFC 3461 sections 4.4 and 4.2).
const ENVID: usize = 100;
const ORCPT: usize = 500;
/// Most digits of a number on the wire: what fits into 64 bits, whatever the digits.
const DIGITS: usize = 18;

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
pub(super) fn is_keyword(octets: &[u8]) -> bool {
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
