//! The ESMTP extensions that nobounce offers to clients or that an onward server offers to
//! nobounce.

use crate::wire::reply::Reply;

/// The ESMTP extensions that nobounce understands. Any other extension is filtered out: EHLO
/// replies do not list it, and commands to the onward server do not use its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// PIPELINING (RFC 2920): commands may be sent in groups.
    pub pipelining: bool,
    /// SIZE (RFC 1870) in octets. `Some(0)` offers SIZE without a fixed limit.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// CHUNKING (RFC 3030): BDAT. BINARYMIME is never offered.
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// PRDR (draft-hall-prdr, as implemented by Exim): one reply to the content for each recipient.
    /// With PRDR, a relay target that answers per recipient can accept several recipients in one
    /// transaction. The client must support PRDR as well ([`Relay::answer`](crate::Relay::answer)).
    pub prdr: bool,
    /// RFC 9422 `RCPTMAX`: the maximum number of recipients in one transaction. With `prdr`, it is
    /// the limit for a transaction that does not use PRDR.
    pub recipients_max: Option<usize>,
    /// RFC 9422 `MAILMAX`: the maximum number of transactions in one session.
    pub transactions_max: Option<usize>,
    /// The attribute names of the XCLIENT keyword. The gate uses them with the onward server and
    /// never offers them to clients.
    pub(crate) xclient: Option<Box<str>>,
    /// The attribute names of the XFORWARD keyword. The gate uses them with the onward server and
    /// never offers them to clients.
    pub(crate) xforward: Option<Box<str>>,
}

impl Capabilities {
    /// Returns every extension that nobounce can handle, without limits. STARTTLS and PRDR are off.
    /// For STARTTLS, the caller must do the TLS handshake; for PRDR, the relay target must answer
    /// per recipient.
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
    /// - PIPELINING, CHUNKING and SIZE concern only the client and the session. The target gets the
    ///   message in one piece, and [`Limits::content`](crate::session::Limits::content) bounds it.
    /// - 8BITMIME: the target gets the octets of the message unchanged.
    /// - ENHANCEDSTATUSCODES: receipts and refusals carry enhanced status codes.
    ///
    /// A target that supports more returns it from
    /// [`Relay::capabilities`](crate::Relay::capabilities). DSN promises reports that the target or
    /// a later server must write (RFC 3461). SMTPUTF8 promises that every later server understands
    /// addresses and header fields in UTF-8 (RFC 6531). STARTTLS and PRDR are off. For STARTTLS,
    /// the caller must do the TLS handshake; for PRDR, the relay target must answer per recipient.
    ///
    /// ```
    /// use nobounce::session::Capabilities;
    ///
    /// let basic = Capabilities::basic();
    /// assert!(basic.eight_bit_mime && !basic.dsn && !basic.smtp_utf8);
    /// ```
    pub fn basic() -> Self {
        Self { smtp_utf8: false, dsn: false, ..Self::all() }
    }

    /// Returns no extensions, as for a server that supports only HELO.
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

    /// Returns the extensions that a gate can offer to clients when its onward server offers
    /// `self`.
    ///
    /// PIPELINING and CHUNKING are always included, because they concern only the client and the
    /// gate. PRDR is never included, because the gate does not use PRDR with onward servers. Other
    /// extensions are included only if the onward server offers them. This includes
    /// ENHANCEDSTATUSCODES, because the client gets the onward server's replies unchanged.
    /// `transactions_max` is removed: when one onward session reaches it, the gate opens another.
    pub fn through(&self) -> Self {
        let between = Self { pipelining: true, chunking: true, prdr: false, ..self.clone() };
        Self { transactions_max: None, xclient: None, xforward: None, ..between }
    }

    /// Returns the extensions that both sides offer, with the smaller limits.
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

    /// Parses an EHLO or LHLO reply. The first line is skipped, because it is the server's name.
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

/// Parses a plain decimal number of at most 18 digits.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 18 && digits.bytes().all(|octet| octet.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}
