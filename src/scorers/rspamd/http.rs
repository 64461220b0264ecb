//! The part of HTTP/1.1 (RFC 9112) that rspamd and proxies in front of it use. Requests have a
//! `Content-Length`. Responses have a length, are chunked, or end with the connection.

mod chunks;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr_iter, memmem};

use crate::runtime::Address;

use super::report::{BadReport, Report};
use crate::scorers::daemon::{Answer, Reader};

/// Maximum octets of a response header, including interim responses (`1xx`) before it.
const HEADER: usize = 16 * 1024;
/// Maximum number of fields in a response header.
const FIELDS: usize = 64;

/// A request whose header is being built.
pub(super) struct Request {
    header: Vec<u8>,
}

impl Request {
    pub(super) fn post(target: &str, server: &Address) -> Self {
        let host = match server {
            Address::Tcp(host) => host,
            Address::Unix(_) => "localhost",
        };
        let mut request = Self { header: format!("POST {target} HTTP/1.1\r\n").into() };
        request.field("Host", host.as_bytes());
        request
    }

    /// Adds a field. Characters that are invalid in a field value become spaces (RFC 9110 section
    /// 5.5).
    pub(super) fn field(&mut self, name: &str, value: &[u8]) {
        self.header.extend_from_slice(name.as_bytes());
        self.header.extend_from_slice(b": ");
        let plain = |octet: &u8| if octet.is_ascii_control() { b' ' } else { *octet };
        self.header.extend(value.iter().map(plain));
        self.header.extend_from_slice(b"\r\n");
    }

    pub(super) fn with_body(mut self, body: &[Bytes]) -> Vec<Bytes> {
        let length: usize = body.iter().map(Bytes::len).sum();
        self.field("Content-Length", length.to_string().as_bytes());
        self.header.extend_from_slice(b"\r\n");
        let mut segments = vec![Bytes::from(self.header)];
        segments.extend_from_slice(body);
        segments
    }
}

/// The reason why a response holds no report. Fault of the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpFault {
    #[error("malformed HTTP response: {0}")]
    Malformed(&'static str),
    #[error("the response exceeds the size limit")]
    Endless,
    #[error("rspamd refused the request: {0:?}")]
    Declined(Box<str>),
    #[error("invalid report from rspamd: {0}")]
    Report(#[from] BadReport),
}

/// Parser for responses to `/checkv2`.
pub(super) struct Responses {
    /// Maximum octets of a body.
    pub(super) limit: usize,
}

impl Reader for Responses {
    type Reply = Answer<Report>;
    type Fault = HttpFault;

    fn limit(&self) -> usize {
        // The framing of small chunks can take as many octets as the body.
        HEADER.saturating_add(self.limit.saturating_mul(2))
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Answer<Report>>, HttpFault> {
        self.response(octets, false)
    }

    fn read_to_end(&self, octets: &[u8]) -> Result<Option<Answer<Report>>, HttpFault> {
        self.response(octets, true)
    }
}

impl Responses {
    /// Returns the final response in `octets`, after any interim responses (RFC 9110 section 15.2).
    fn response(&self, octets: &[u8], ended: bool) -> Result<Option<Answer<Report>>, HttpFault> {
        let mut rest = octets;
        let header = loop {
            let Some(end) = memmem::find(rest, b"\r\n\r\n") else {
                let endless = rest.len() > HEADER;
                return if endless { Err(HttpFault::Endless) } else { Ok(None) };
            };
            let (header, behind) = rest.split_at(end + 4);
            rest = behind;
            if octets.len() - rest.len() > HEADER {
                return Err(HttpFault::Endless);
            }
            match Header::read(header)? {
                Header::Interim => {}
                Header::Final(status) => break status,
            }
        };
        let Some(body) = header.body(rest, ended, self.limit)? else {
            return if header.declined.is_some() { Err(header.declined(b"")) } else { Ok(None) };
        };
        if header.declined.is_some() {
            return Err(header.declined(&body.octets));
        }
        // After the offset comes a rewritten message, which we never request.
        let json = body.octets.get(..header.offset.unwrap_or(body.octets.len()));
        let json = json.ok_or(HttpFault::Malformed("Message-Offset"))?;
        let reply = Report::parse(json)?;
        Ok(Some(Answer { reply, keep: header.keep && body.ended && body.length == rest.len() }))
    }
}

/// The header of a response.
enum Header {
    /// `1xx`: another response follows.
    Interim,
    Final(Status),
}

/// The relevant parts of the header of a final response.
struct Status {
    /// Code and reason, if the status is not 200.
    declined: Option<Box<str>>,
    framing: Framing,
    /// The end of the report, if a rewritten message follows it.
    offset: Option<usize>,
    /// Whether the server accepts another request on this connection.
    keep: bool,
}

/// Framing of a body, which determines its end (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    /// The body ends when the connection is closed.
    Closed,
}

/// A complete body.
struct Body<'a> {
    octets: Cow<'a, [u8]>,
    /// Octets of the body on the wire.
    length: usize,
    /// Whether the end of the body was marked.
    ended: bool,
}

impl Header {
    fn read(octets: &[u8]) -> Result<Self, HttpFault> {
        use HttpFault::Malformed;

        if memchr_iter(b'\n', octets).any(|at| at == 0 || octets[at - 1] != b'\r') {
            return Err(Malformed("bare LF"));
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let mut lenient = httparse::ParserConfig::default();
        // In a response, a recipient accepts a space before the colon and folded lines (RFC 9112
        // sections 5.1 and 5.2).
        lenient.allow_spaces_after_header_name_in_responses(true);
        lenient.allow_obsolete_multiline_headers_in_responses(true);
        match lenient.parse_response(&mut response, octets) {
            Ok(httparse::Status::Complete(length)) if length == octets.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Malformed("too many header fields"));
            }
            _ => return Err(Malformed("header")),
        }
        let code = response.code.unwrap_or(0);
        // After 101 the connection speaks another protocol.
        if (100..200).contains(&code) && code != 101 {
            return Ok(Self::Interim);
        }
        let reason = response.reason.unwrap_or("");
        let declined = (code != 200).then(|| format!("{code} {reason}").into());
        let (mut length, mut chunked, mut offset) = (None, false, None);
        let mut keep = response.version == Some(1);
        for field in response.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let members = || field.value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
            if is("Content-Length") {
                for member in members() {
                    let number = read_number(member).ok_or(Malformed("Content-Length"))?;
                    if length.replace(number).is_some_and(|other| other != number) {
                        return Err(Malformed("contradictory Content-Length fields"));
                    }
                }
            } else if is("Transfer-Encoding") {
                for member in members() {
                    if !member.eq_ignore_ascii_case(b"chunked")
                        || std::mem::replace(&mut chunked, true)
                    {
                        return Err(Malformed("unsupported encoding"));
                    }
                }
            } else if is("Content-Encoding") || is("Compression") {
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"identity") {
                    return Err(Malformed("unsupported encoding"));
                }
            } else if is("Message-Offset") {
                let number = read_number(field.value.trim_ascii());
                offset = Some(number.ok_or(Malformed("Message-Offset"))?);
            } else if is("Connection") {
                keep &= !members().any(|option| option.eq_ignore_ascii_case(b"close"));
            }
        }
        let framing = match length {
            // Chunks have priority over a length. A response with both may have been tampered with
            // (RFC 9112 section 6.3).
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Closed,
        };
        keep &= !(chunked && length.is_some());
        Ok(Self::Final(Status { declined, framing, offset, keep }))
    }
}

impl Status {
    /// Returns the body at the start of `octets`, or `None` if it is not complete.
    fn body<'a>(
        &self,
        octets: &'a [u8],
        ended: bool,
        limit: usize,
    ) -> Result<Option<Body<'a>>, HttpFault> {
        let body = match self.framing {
            Framing::Length(length) if length > limit => return Err(HttpFault::Endless),
            Framing::Length(length) => {
                octets.get(..length).map(|body| Body { octets: body.into(), length, ended: true })
            }
            Framing::Chunked => chunks::join(octets, limit)?.map(|(body, length)| Body {
                octets: body.into(),
                length,
                ended: true,
            }),
            Framing::Closed if octets.len() > limit => return Err(HttpFault::Endless),
            Framing::Closed => {
                ended.then(|| Body { octets: octets.into(), length: octets.len(), ended: false })
            }
        };
        Ok(body)
    }

    /// Returns the fault for a status other than 200, with the error text of the body if there is
    /// one.
    fn declined(&self, body: &[u8]) -> HttpFault {
        let status = self.declined.as_deref().unwrap_or_default();
        match BadReport::error(body) {
            Some(error) => HttpFault::Declined(format!("{status}: {error}").into()),
            None => HttpFault::Declined(status.into()),
        }
    }
}

/// Parses a number that consists of digits only. Returns `usize::MAX` if it is too large.
fn read_number(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value).ok().filter(|_| digits)?;
    Some(number.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
