//! As much of HTTP/1.1 (RFC 9112) as it takes to ask a server that one trusts in all but its
//! health: requests with a length, responses with a length.

use bytes::Bytes;
use memchr::{memchr_iter, memmem};

use crate::runtime::Address;

use super::report::{BadReport, Report};
use crate::scorers::daemon::{Answer, Reader};

/// Longest response header.
const HEADER: usize = 16 * 1024;
/// Most fields of a response header.
const FIELDS: usize = 64;

/// A request whose header is being written.
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

    /// Adds a field. What no field value can hold becomes a space (RFC 9110 section 5.5).
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

/// Why a response is no report. The fault is the server's.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpFault {
    #[error("not a response that can be read: {0}")]
    Malformed(&'static str),
    #[error("endless reply")]
    Endless,
    #[error("rspamd says {0:?}")]
    Declined(Box<str>),
    #[error("not a report of rspamd: {0}")]
    Report(#[from] BadReport),
}

/// Responses to `/checkv2`.
pub(super) struct Responses {
    /// Octets of a body.
    pub(super) limit: usize,
}

impl Reader for Responses {
    type Reply = Answer<Report>;
    type Fault = HttpFault;

    fn limit(&self) -> usize {
        HEADER.saturating_add(self.limit)
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Answer<Report>>, HttpFault> {
        let Some(end) = memmem::find(octets, b"\r\n\r\n") else {
            let endless = octets.len() > HEADER;
            return if endless { Err(HttpFault::Endless) } else { Ok(None) };
        };
        let (header, rest) = octets.split_at(end + 4);
        let Header { length, keep } = Header::read(header, self.limit)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        Ok(Some(Answer { reply: Report::parse(body)?, keep: keep && rest.len() == length }))
    }
}

/// What matters of the header of a response that is 200.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Octets of the body.
    length: usize,
    /// Whether the server will read another request on this connection.
    keep: bool,
}

impl Header {
    fn read(octets: &[u8], limit: usize) -> Result<Self, HttpFault> {
        use HttpFault::Malformed;

        if octets.len() > HEADER {
            return Err(HttpFault::Endless);
        }
        if memchr_iter(b'\n', octets).any(|at| at == 0 || octets[at - 1] != b'\r') {
            return Err(Malformed("bare LF"));
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(octets) {
            Ok(httparse::Status::Complete(length)) if length == octets.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many fields")),
            _ => return Err(Malformed("header")),
        }
        if response.code != Some(200) {
            let (code, reason) = (response.code.unwrap_or(0), response.reason.unwrap_or(""));
            return Err(HttpFault::Declined(format!("{code} {reason}").into()));
        }
        let (mut length, mut keep) = (None, response.version == Some(1));
        for field in response.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("Content-Length") {
                if length.replace(read_length(field.value, limit)?).is_some() {
                    return Err(Malformed("Content-Length given twice"));
                }
            } else if is("Transfer-Encoding") || is("Content-Encoding") {
                return Err(Malformed("encoding that was not asked for"));
            } else if is("Connection") {
                let mut options = field.value.split(|octet| *octet == b',');
                keep &= !options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
        }
        Ok(Self { length: length.ok_or(Malformed("no Content-Length"))?, keep })
    }
}

fn read_length(value: &[u8], limit: usize) -> Result<usize, HttpFault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpFault::Malformed("Content-Length"));
    }
    let length = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    length.filter(|length| *length <= limit).ok_or(HttpFault::Endless)
}

#[cfg(test)]
mod tests;
