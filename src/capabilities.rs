//! Which ESMTP extensions are offered: by us to clients, by an onward server to us.

use crate::wire::reply::Reply;

/// The ESMTP extensions that nobounce understands. What is not here is never passed on: not to a
/// client in an EHLO reply, not onward in a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// RFC 2920: commands may be sent in groups.
    pub pipelining: bool,
    /// RFC 1870: `Some(0)` is an offer without a fixed limit; octets otherwise.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3030: BDAT. BINARYMIME is never offered.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3207.
    pub start_tls: bool,
    /// draft-hall-prdr, as Exim speaks it: a target that answers the content per recipient may have
    /// several of them in one transaction, if the client understands so many answers
    /// ([`Relay::answer`](crate::Relay::answer)).
    pub prdr: bool,
    /// RFC 9422 `RCPTMAX`: most recipients that one transaction may have; with `prdr`, one without it.
    pub recipients_max: Option<usize>,
    /// RFC 9422 `MAILMAX`: most transactions that one session may have.
    pub transactions_max: Option<usize>,
    /// What stands behind XCLIENT. It is between the gate and the onward server alone.
    pub(crate) xclient: Option<Box<str>>,
    /// What stands behind XFORWARD, likewise.
    pub(crate) xforward: Option<Box<str>>,
}

impl Capabilities {
    /// Every extension that nobounce can speak, without limits, and without STARTTLS and PRDR, which
    /// need more than a wish.
    pub fn all() -> Self {
        Self {
            pipelining: true,
            size: Some(0),
            eight_bit_mime: true,
            smtp_utf8: true,
            chunking: true,
            dsn: true,
            enhanced_status_codes: true,
            start_tls: false,
            prdr: false,
            recipients_max: None,
            transactions_max: None,
            xclient: None,
            xforward: None,
        }
    }

    /// Returns the extensions that any relay target can honour, whatever it does with mail.
    ///
    /// - PIPELINING, CHUNKING and SIZE are between the client and the session. The target gets the
    ///   message in one piece, and [`Limits::content`](crate::Limits::content) bounds it.
    /// - 8BITMIME: the target gets the octets of the message as they are.
    /// - ENHANCEDSTATUSCODES: receipts and refusals have them.
    ///
    /// A target that can do more says so in [`Relay::capabilities`](crate::Relay::capabilities): DSN
    /// promises reports that the target or a server behind it must write (RFC 3461). SMTPUTF8
    /// promises that addresses and header fields in UTF-8 are understood to the end of the way (RFC
    /// 6531). STARTTLS and PRDR need more than a wish.
    ///
    /// ```
    /// use nobounce::Capabilities;
    ///
    /// let basic = Capabilities::basic();
    /// assert!(basic.eight_bit_mime && !basic.dsn && !basic.smtp_utf8);
    /// ```
    pub fn basic() -> Self {
        Self { smtp_utf8: false, dsn: false, ..Self::all() }
    }

    /// None at all: a server that knows HELO only.
    pub fn none() -> Self {
        Self {
            pipelining: false,
            size: None,
            eight_bit_mime: false,
            smtp_utf8: false,
            chunking: false,
            dsn: false,
            enhanced_status_codes: false,
            start_tls: false,
            prdr: false,
            recipients_max: None,
            transactions_max: None,
            xclient: None,
            xforward: None,
        }
    }

    /// What may be offered to a client of a gate whose onward server offers `self`: extensions that
    /// are between client and gate alone (PIPELINING, CHUNKING) always, those that reach through
    /// the gate only if the onward server has them: its replies go to the client as they are, so
    /// ENHANCEDSTATUSCODES is one of these. PRDR is not spoken with onward servers. How many transactions one of
    /// their sessions may have is no matter of the client's: there is another session behind it.
    pub fn through(&self) -> Self {
        let between = Self { pipelining: true, chunking: true, prdr: false, ..self.clone() };
        Self { transactions_max: None, xclient: None, xforward: None, ..between }
    }

    /// What both offer.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let least = |one: Option<usize>, other: Option<usize>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            pipelining: self.pipelining && other.pipelining,
            size: match (self.size, other.size) {
                (Some(0), size) | (size, Some(0)) => size,
                (one, other) => one.zip(other).map(|(one, other)| one.min(other)),
            },
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            smtp_utf8: self.smtp_utf8 && other.smtp_utf8,
            chunking: self.chunking && other.chunking,
            dsn: self.dsn && other.dsn,
            enhanced_status_codes: self.enhanced_status_codes && other.enhanced_status_codes,
            start_tls: self.start_tls && other.start_tls,
            prdr: self.prdr && other.prdr,
            recipients_max: least(self.recipients_max, other.recipients_max),
            transactions_max: least(self.transactions_max, other.transactions_max),
            xclient: None,
            xforward: None,
        }
    }

    /// The extensions that an EHLO or LHLO reply names. Its first line is the server's name.
    pub(crate) fn read(reply: &Reply) -> Self {
        let mut offered = Self::none();
        for line in reply.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else {
                continue;
            };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "SIZE" => offered.size = Some(words.next().and_then(number).unwrap_or(0)),
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtp_utf8 = true,
                "CHUNKING" => offered.chunking = true,
                "DSN" => offered.dsn = true,
                "ENHANCEDSTATUSCODES" => offered.enhanced_status_codes = true,
                "STARTTLS" => offered.start_tls = true,
                "PRDR" => offered.prdr = true,
                "XCLIENT" => offered.xclient = Some(rest(line, keyword)),
                "XFORWARD" => offered.xforward = Some(rest(line, keyword)),
                "LIMITS" => words.for_each(|limit| offered.limit(limit)),
                _ => {}
            }
        }
        offered
    }

    fn limit(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else {
            return;
        };
        let value = number(value).and_then(|value| usize::try_from(value).ok());
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients_max = value.filter(|value| *value > 0),
            "MAILMAX" => self.transactions_max = value.filter(|value| *value > 0),
            _ => {}
        }
    }
}

fn rest(line: &str, keyword: &str) -> Box<str> {
    line.split_once(keyword).map_or("", |(_, rest)| rest.trim()).into()
}

/// A plain decimal number of at most 18 digits.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 18 && digits.bytes().all(|octet| octet.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}
