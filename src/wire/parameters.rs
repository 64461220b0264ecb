//! ESMTP parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11), and parsers for their parts.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr;
use smtp_proto::request::parser::Rfc5321Parser;

use super::text::is_printable;
use super::xtext;

/// Longest name of EHLO and HELO that is kept, in octets: the maximum length of a domain (RFC 5321
/// section 4.5.3.1.2).
const NAME: usize = 255;
/// Longest values of ENVID and ORCPT in octets (RFC 3461 sections 4.4 and 4.2).
const ENVID: usize = 100;
const ORCPT: usize = 500;
/// Maximum number of digits of a number on the wire. Any number of this length fits into 64 bits.
const DIGITS: usize = 18;

/// The parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MailParameters {
    /// The parameters as written, without the space before the first and without PRDR. They are
    /// sent to the onward server unchanged.
    pub(crate) raw: Bytes,
    /// SIZE (RFC 1870), in octets.
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// Whether RET or ENVID (RFC 3461) is present.
    pub dsn: bool,
    /// PRDR (draft-hall-prdr): the client supports a separate reply to the content for each
    /// recipient.
    pub prdr: bool,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RcptParameters {
    /// The parameters as written, without the space before the first. They are sent to the onward
    /// server unchanged.
    pub(crate) raw: Bytes,
    /// Whether NOTIFY or ORCPT (RFC 3461) is present.
    pub dsn: bool,
}

/// The value of the BODY parameter of MAIL (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// Reason why a parameter is not accepted. Fault of the client or caller that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The keyword or value is not one that nobounce passes on. This includes `BODY=BINARYMIME`,
    /// since BINARYMIME is never offered.
    #[error("unknown parameter")]
    Unknown,
    /// The parameter violates the grammar (RFC 5321 section 4.1.2), has an invalid value, or occurs
    /// twice.
    #[error("invalid or repeated parameter")]
    Bad,
}

impl MailParameters {
    /// Parses the parameters after a reverse-path, for example `SIZE=3 BODY=8BITMIME`.
    pub fn parse(octets: &[u8]) -> Result<Self, ParameterError> {
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
                // SIZE is parsed here, since the number type of smtp-proto is only as wide as the
                // machine word.
                "SIZE" => {
                    size = Some(value.and_then(octets_of_message).ok_or(ParameterError::Bad)?);
                    continue;
                }
                "PRDR" if value.is_some() => return Err(ParameterError::Bad),
                "PRDR" => {
                    prdr = Some(written);
                    continue;
                }
                "ENVID" => {
                    let value = value.filter(|value| value.len() <= ENVID);
                    value.and_then(xtext::decode).ok_or(ParameterError::Bad)?;
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
            .map_err(|_| ParameterError::Bad)?;
        let has = |flag| parsed.flags & flag != 0;
        if has(smtp_proto::MAIL_BODY_BINARYMIME) {
            return Err(ParameterError::Unknown);
        }
        let body = if has(smtp_proto::MAIL_BODY_8BITMIME) {
            Some(Body::EightBitMime)
        } else {
            has(smtp_proto::MAIL_BODY_7BIT).then_some(Body::SevenBit)
        };
        // PRDR applies between the client and the gate only, so it is removed.
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

    /// Returns the parameters as written, without the space before the first. They are sent to the
    /// onward server unchanged. PRDR is not included, since it applies between the client and the
    /// gate only.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl RcptParameters {
    /// Parses the parameters after a forward-path, for example `NOTIFY=NEVER`.
    pub fn parse(octets: &[u8]) -> Result<Self, ParameterError> {
        let raw = trim_start(trim_end(octets));
        if raw.is_empty() {
            return Ok(Self::default());
        }
        for parameter in split(raw, &["NOTIFY", "ORCPT"]) {
            let Parameter { keyword, value, .. } = parameter?;
            let is_sound = if keyword == "NOTIFY" { is_notify } else { is_original_recipient };
            value.filter(|value| is_sound(value)).ok_or(ParameterError::Bad)?;
        }
        Ok(Self { raw: Bytes::copy_from_slice(raw), dsn: true })
    }

    /// Returns the parameters as written, without the space before the first. They are sent to the
    /// onward server unchanged.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

/// One parameter that follows the grammar (RFC 5321 section 4.1.2).
struct Parameter<'p> {
    /// One of the known keywords, in upper case.
    keyword: &'static str,
    value: Option<&'p [u8]>,
    written: &'p [u8],
}

/// Splits parameters. Each keyword must be one of the `known` ones (at most 8) and must occur only
/// once, since smtp-proto merges parameters that occur twice.
fn split<'p>(
    raw: &'p [u8],
    known: &'static [&'static str],
) -> impl Iterator<Item = Result<Parameter<'p>, ParameterError>> {
    let mut seen = 0_u8;
    raw.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(move |written| {
        let (keyword, value) = halves(written);
        if !is_keyword(keyword) || !value.is_none_or(is_value) {
            return Err(ParameterError::Bad);
        }
        let mut names = known.iter().zip(0..);
        let (keyword, index) = names
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(keyword))
            .ok_or(ParameterError::Unknown)?;
        if seen & (1 << index) != 0 {
            return Err(ParameterError::Bad);
        }
        seen |= 1 << index;
        Ok(Parameter { keyword, value, written })
    })
}

/// Splits a word at the first `=`.
pub(super) fn halves(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = word.splitn(2, |octet| *octet == b'=');
    (halves.next().unwrap_or_default(), halves.next())
}

/// Returns whether the octets are an `esmtp-keyword`.
pub(super) fn is_keyword(octets: &[u8]) -> bool {
    octets.first().is_some_and(u8::is_ascii_alphanumeric)
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
}

/// Returns whether the octets are an `esmtp-value`, extended by UTF-8 (RFC 6531 section 3.3; RFC
/// 6533 uses it in ORCPT). As in Postfix, `=` is allowed, since some clients write it in ORCPT and
/// ENVID. Characters that are not printable are refused, since the onward server prints the value
/// in delivery status notifications.
fn is_value(octets: &[u8]) -> bool {
    let is_ascii = octets.iter().all(|octet| matches!(octet, 33..=126));
    let is_utf8 = || {
        octets.iter().all(|octet| matches!(octet, 33..=126 | 128..))
            && str::from_utf8(octets).is_ok_and(|value| value.chars().all(is_printable))
    };
    !octets.is_empty() && (is_ascii || is_utf8())
}

/// Returns whether this is a value of NOTIFY (RFC 3461 section 4.1): NEVER alone, or a list of the
/// others. Empty list elements are ignored, as in Postfix.
fn is_notify(value: &[u8]) -> bool {
    const OTHERS: [&[u8]; 3] = [b"SUCCESS", b"FAILURE", b"DELAY"];
    let conditions = || value.split(|octet| *octet == b',').filter(|word| !word.is_empty());
    let all_among = |known: &[&[u8]]| {
        conditions().all(|word| known.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    conditions().next().is_some() && (all_among(&[b"NEVER"]) || all_among(&OTHERS))
}

/// Returns whether this is a value of ORCPT (RFC 3461 section 4.2): a type and an address. The
/// address may be empty, as in Postfix. Addresses of type `utf-8` (RFC 6533) are not checked as
/// xtext.
fn is_original_recipient(value: &[u8]) -> bool {
    let Some(end) = memchr(b';', value) else { return false };
    let (kind, address) = (&value[..end], &value[end + 1..]);
    let is_address = kind.eq_ignore_ascii_case(b"utf-8") || xtext::decode(address).is_some();
    value.len() <= ORCPT && is_keyword(kind) && is_address
}

/// Parses the value of SIZE (RFC 1870). A number too large for the type becomes the maximum, which
/// exceeds any limit.
fn octets_of_message(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| number(digits).unwrap_or(u64::MAX))
}

/// Parses a decimal number that cannot overflow: only digits, at most 18 after any number of
/// leading zeros, as in Postfix (`off_cvt_string`).
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let figures = &digits[zeros..];
    let plain = figures.len() <= DIGITS && figures.iter().all(u8::is_ascii_digit);
    let is_number = plain && !digits.is_empty();
    is_number.then(|| figures.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Returns a printable form of a client's name. Octets that are not printable become `?`, and a
/// long name is cut at the end.
pub(super) fn printable(octets: &[u8]) -> Box<str> {
    let plain = |octet: &u8| {
        if octet.is_ascii_graphic() { char::from(*octet) } else { '?' }
    };
    octets.iter().take(NAME).map(plain).collect::<String>().into()
}

/// Removes spaces at the start. Other white space is kept, since other checks refuse it.
pub(super) fn trim_start(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_prefix(b" ") {
        octets = rest;
    }
    octets
}

/// Removes spaces at the end.
pub(super) fn trim_end(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_suffix(b" ") {
        octets = rest;
    }
    octets
}
