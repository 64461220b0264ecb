//! The chunked transfer coding (RFC 9112 section 7.1).

use memchr::memmem;

use super::{HEADER, HttpFault};

/// Maximum octets of a line with a chunk size and its extensions.
const LINE: usize = 1024;

/// Returns the body in these chunks and their length on the wire, or `None` if they are not
/// complete. A body of more than `limit` octets is a fault. Extensions and trailer fields are
/// ignored.
pub(super) fn join(octets: &[u8], limit: usize) -> Result<Option<(Vec<u8>, usize)>, HttpFault> {
    // The last chunk ends in an empty line, which never occurs in a JSON report.
    if memmem::find(octets, b"\r\n\r\n").is_none() {
        return Ok(None);
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&octets[at..], LINE)? else {
            return Ok(None);
        };
        let size = read_size(line)?;
        at += line.len() + 2;
        if size == 0 {
            return Ok(trailer(&octets[at..])?.map(|length| (body, at + length)));
        }
        if size > limit - body.len() {
            return Err(HttpFault::Endless);
        }
        let Some(chunk) = octets.get(at..at + size + 2) else {
            return Ok(None);
        };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Err(HttpFault::Malformed("chunk"));
        };
        body.extend_from_slice(chunk);
        at += size + 2;
    }
}

/// Returns the length of the trailer at the start, including the empty line that ends it.
fn trailer(octets: &[u8]) -> Result<Option<usize>, HttpFault> {
    let mut length = 0;
    loop {
        let Some(line) = line(&octets[length..], HEADER.saturating_sub(length))? else {
            return Ok(None);
        };
        length += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(length));
        }
    }
}

/// Returns the first line without its line end.
fn line(octets: &[u8], limit: usize) -> Result<Option<&[u8]>, HttpFault> {
    match memmem::find(octets, b"\r\n") {
        Some(end) if end <= limit => Ok(Some(&octets[..end])),
        None if octets.len() <= limit => Ok(None),
        _ => Err(HttpFault::Endless),
    }
}

fn read_size(line: &[u8]) -> Result<usize, HttpFault> {
    let size = line.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii_end();
    let digits = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
    let size = str::from_utf8(size).ok().filter(|_| digits);
    let size = size.ok_or(HttpFault::Malformed("chunk size"))?;
    usize::from_str_radix(size, 16).map_err(|_| HttpFault::Endless)
}
