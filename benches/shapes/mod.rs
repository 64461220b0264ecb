//! Mail data of various repeated patterns: common ones, and the worst cases of various decoders.

pub(crate) const SHAPES: &[(&str, &[u8])] = &[
    (
        "76-column lines",
        b"Q29udGVudCB0aGF0IGxvb2tzIGxpa2UgYW4gYXR0YWNobWVudCwgbGluZSBieSBsaW5lLCBhcyA=\r\n",
    ),
    ("one long line", b"x"),
    ("only dots", b"."),
    ("only CRLF", b"\r\n"),
    ("only LF", b"\n"),
    ("only CR", b"\r"),
    ("LF, dot", b"\n."),
    ("CRLF, two dots", b"\r\n.."),
];

/// Returns wire-format mail data without the end of data: a header section and `length` octets of
/// the pattern.
pub(crate) fn content(pattern: &[u8], length: usize) -> Vec<u8> {
    let body = pattern.repeat(length / pattern.len());
    [b"Subject: shapes\r\n\r\n", body.as_slice()].concat()
}
