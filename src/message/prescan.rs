//! The character set that an HTML page declares itself.

/// Number of octets in which a declaration is searched (WHATWG HTML "prescan a byte stream").
const HEAD: usize = 1_024;

/// Returns the label of the character set that a `<meta>` element declares. A page that declares
/// UTF-16 in ASCII is UTF-8.
pub(super) fn charset(html: &[u8]) -> Option<&str> {
    let head = &html[..html.len().min(HEAD)];
    let mut from = 0;
    while let Some(at) = find(&head[from..], b"<meta") {
        let tag = &head[from + at..];
        let tag = &tag[..memchr::memchr(b'>', tag).unwrap_or(tag.len())];
        if let Some(label) = find(tag, b"charset").and_then(|at| label(&tag[at + 7..])) {
            let is_utf_16 = label.to_ascii_lowercase().starts_with("utf-16");
            return Some(if is_utf_16 { "utf-8" } else { label });
        }
        from += at + tag.len();
    }
    None
}

/// Returns the offset of a word. The case is ignored.
fn find(octets: &[u8], word: &[u8]) -> Option<usize> {
    octets.windows(word.len()).position(|it| it.eq_ignore_ascii_case(word))
}

/// Returns the value after `charset`, which ends at a quote, a semicolon or white space.
fn label(rest: &[u8]) -> Option<&str> {
    let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let end = value.iter().position(|it| b"\"'; \t\r\n/".contains(it)).unwrap_or(value.len());
    str::from_utf8(&value[..end]).ok().filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::charset;

    #[test]
    fn declared_character_set_is_found() {
        for (html, expected) in [
            ("<meta charset=koi8-r>", Some("koi8-r")),
            ("<p><META CharSet = \"GBK\" />", Some("GBK")),
            ("<meta http-equiv=Content-Type content='text/html; charset=big5'>", Some("big5")),
            ("<meta content=\"text/html;charset=shift_jis;x\">", Some("shift_jis")),
            ("<meta name=x><meta charset='iso-8859-2'>", Some("iso-8859-2")),
            ("<meta charset=UTF-16>", Some("utf-8")),
            ("<meta name=charset><p charset=x>", None),
            ("<meta charset=>", None),
            ("<metacharset", None),
            ("<meta charset", None),
            ("", None),
        ] {
            assert_eq!(charset(html.as_bytes()), expected, "{html}");
        }
        let far = format!("{}<meta charset=gbk>", " ".repeat(1_024));
        assert_eq!(charset(far.as_bytes()), None);
    }
}
