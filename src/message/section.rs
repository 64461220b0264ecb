//! The header section of a message: lines and fields.

use memchr::memchr;

/// Number of octets at the start of a line that are examined. A colon after them does not end a
/// field name (Postfix: `line_length_limit`). Longer MIME boundary delimiters are truncated.
pub(super) const HEAD: usize = 4_096;

/// Maximum number of leading mbox lines that are converted to fields. Real mail has at most one.
pub(crate) const MBOX_LINES: usize = 16;

/// Returns the end of the line that begins at `from`, after its line end.
pub(crate) fn line_end(octets: &[u8], from: usize) -> usize {
    let rest = octets.get(from..).unwrap_or_default();
    memchr(b'\n', rest).map_or(octets.len(), |at| from + at + 1)
}

/// Returns the line without its CRLF or LF.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns whether the line continues the previous field.
pub(crate) fn continues(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Returns the name of a header field and the octets after the colon (RFC 5322 section 2.2). White
/// space before the colon is accepted (section 4.5).
pub(crate) fn split_field(line: &[u8]) -> Option<(&str, &[u8])> {
    // Searching for a colon is much faster than reading a name, and most long lines have none.
    let (name, value) = line.split_at(colon(line)?);
    Some((str::from_utf8(field_name(name)?).ok()?, &value[1..]))
}

/// Returns whether the line begins a header field.
pub(super) fn is_field(line: &[u8]) -> bool {
    colon(line).is_some_and(|colon| field_name(&line[..colon]).is_some())
}

/// Returns whether the line begins a header field in readers that accept no white space before the
/// colon.
pub(super) fn is_strict_field(line: &[u8]) -> bool {
    let name = colon(line).map_or(&b""[..], |colon| &line[..colon]);
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Returns the position of the colon that may end a field name.
fn colon(line: &[u8]) -> Option<usize> {
    memchr(b':', &line[..line.len().min(HEAD)])
}

/// Returns the field name from the octets before a colon. A name is printable ASCII.
fn field_name(before: &[u8]) -> Option<&[u8]> {
    let end = before.iter().take_while(|octet| octet.is_ascii_graphic()).count();
    let (name, space) = before.split_at(end);
    let is_name = !name.is_empty() && space.iter().all(|octet| matches!(octet, b' ' | b'\t'));
    is_name.then_some(name)
}

/// Returns whether the line is an mbox separator (`From `), quoted with `>` or not. Only the first
/// [`HEAD`] octets are examined, so that all callers agree, however much of the line they have.
pub(crate) fn is_mbox(line: &[u8]) -> bool {
    let line = &line[..line.len().min(HEAD)];
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    line[quotes..].starts_with(b"From ")
}
