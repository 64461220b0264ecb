//! The declarations in the header of a part: media type, boundary, character set, encoding and names.

use super::field::Fields;
use super::parameters::{Parameters, Syntax, without_comments};
use super::reading::Choice;
use super::transfer::Encoding;

/// The MIME declarations of a header, in one reading of the message.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// Media type in lower case. `None` if it is missing or invalid.
    pub(super) content_type: Option<Box<str>>,
    pub(super) charset: Option<Box<str>>,
    /// Boundary of a multipart, without white space at its end.
    pub(super) boundary: Option<Box<[u8]>>,
    pub(super) disposition: Option<Box<str>>,
    pub(super) file_name: Option<Box<str>>,
    /// Location of the body of `message/external-body` (RFC 2017).
    pub(super) url: Option<Box<str>>,
    pub(super) encoding: Encoding,
    /// Whether a value was longer than the limit.
    pub(super) truncated: bool,
}

impl Declared {
    /// Reads the fields of a header. At most `limit` octets of each value are read. `takes` answers
    /// a question on which mail programs disagree. It is called only if the answer makes a
    /// difference.
    pub(super) fn read(header: &[u8], limit: usize, takes: &mut dyn FnMut(Choice) -> bool) -> Self {
        let (mut kinds, mut dispositions, mut encodings) =
            <(Named<'_>, Named<'_>, Named<'_>)>::default();
        for field in Fields(header) {
            let named = match field.name() {
                name if name.eq_ignore_ascii_case("Content-Type") => &mut kinds,
                name if name.eq_ignore_ascii_case("Content-Disposition") => &mut dispositions,
                name if name.eq_ignore_ascii_case("Content-Transfer-Encoding") => &mut encodings,
                _ => continue,
            };
            if field.is_strict || !takes(Choice::StrictName) {
                named.add(field.value());
            }
        }
        let fields = [kinds, dispositions, encodings];
        let last = fields.iter().any(Named::differ) && takes(Choice::LastField);
        let other = fields.iter().any(|named| named.other.is_some()) && takes(Choice::OtherField);
        let mut declared = Self::default();
        let values = fields.map(|named| named.value(last, other));
        declared.truncated = values.iter().flatten().any(|value| value.len() > limit);
        let [kind, disposition, encoding] =
            values.map(|value| value.map(|value| &value[..value.len().min(limit)]));
        if let Some(encoding) = encoding {
            declared.encoding = transfer_encoding(encoding, takes);
        }
        if let Some(disposition) = disposition {
            let parameters = Parameters::parse(disposition, Syntax::Full);
            let word = String::from_utf8_lossy(&parameters.word).to_ascii_lowercase();
            declared.disposition = (!word.is_empty()).then(|| word.into());
            declared.file_name = parameters.text("filename").map(Into::into);
        }
        if let Some(kind) = kind {
            declared.read_content_type(kind, takes);
        }
        declared
    }

    fn read_content_type(&mut self, value: &[u8], takes: &mut dyn FnMut(Choice) -> bool) {
        let full = Parameters::parse(value, Syntax::Full);
        let (named, is_clean) = media_type(&full.word);
        let is_strict = named.is_some() && !is_clean && takes(Choice::StrictType);
        self.content_type = named.filter(|_| !is_strict);
        // The parameters of an invalid type count for some programs.
        let named = self.content_type.as_deref().unwrap_or_default();
        if self.file_name.is_none() {
            self.file_name = full.text("name").map(Into::into);
        }
        if named == "message/external-body" {
            // White space is not part of it (RFC 2017 section 3.1).
            let url = full.text("url").map(|url| url.split_whitespace().collect::<String>());
            self.url = url.map(Into::into);
        }
        let relevant = if named.starts_with("multipart/") { "boundary" } else { "charset" };
        let mut values = full.values(relevant);
        if full.is_odd {
            let plain = Parameters::parse(value, Syntax::Plain).values(relevant);
            if plain != values && takes(Choice::PlainParameters) {
                values = plain;
            }
        }
        // Some programs remove apostrophes, too.
        let unquoted =
            values.first().and_then(|value| value.strip_prefix(b"'")?.strip_suffix(b"'"));
        values.extend(unquoted.map(<[u8]>::to_vec).filter(|_| relevant == "boundary"));
        let differ = values.windows(2).any(|two| two[0] != two[1]);
        let value = match differ && takes(Choice::LastParameter) {
            true => values.pop(),
            false => values.into_iter().next(),
        };
        if relevant == "boundary" {
            let value = value.map(|value| value.trim_ascii_end().to_vec());
            self.boundary = value.filter(|value| !value.is_empty()).map(Into::into);
        } else {
            self.charset = value.map(|value| String::from_utf8_lossy(value.trim_ascii()).into());
        }
    }
}

/// The values of a field that count for some program.
#[derive(Default, Clone, Copy)]
struct Named<'h> {
    first: Option<&'h [u8]>,
    last: Option<&'h [u8]>,
    /// The first value that differs from the first one and is not the last one.
    other: Option<&'h [u8]>,
}

impl<'h> Named<'h> {
    fn add(&mut self, value: &'h [u8]) {
        let before = self.last.replace(value).filter(|before| !is_same(self.first, Some(before)));
        self.other = self.other.or(before);
        self.first.get_or_insert(value);
    }

    fn differ(&self) -> bool {
        !is_same(self.first, self.last)
    }

    fn value(&self, last: bool, other: bool) -> Option<&'h [u8]> {
        let other = self.other.filter(|_| other);
        other.or(if last { self.last } else { self.first })
    }
}

fn is_same(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    one.map(<[u8]>::trim_ascii) == other.map(<[u8]>::trim_ascii)
}

/// Parses a media type: returns it in lower case, and whether nothing else is in the text.
fn media_type(word: &[u8]) -> (Option<Box<str>>, bool) {
    let is_token = |octet: &u8| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(octet);
    let unquoted = word.strip_prefix(b"\"").unwrap_or(word).trim_ascii_start();
    let token = |octets: &[u8]| octets.iter().take_while(|octet| is_token(octet)).count();
    let (first, rest) = unquoted.split_at(token(unquoted));
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"/") else { return (None, false) };
    let rest = rest.trim_ascii_start();
    let (second, junk) = rest.split_at(token(rest));
    if first.is_empty() || second.is_empty() {
        return (None, false);
    }
    let named = [first, b"/", second].concat().to_ascii_lowercase();
    let is_clean = junk.is_empty() && named.len() == word.len();
    (String::from_utf8(named).ok().map(Into::into), is_clean)
}

/// Parses the value of Content-Transfer-Encoding.
fn transfer_encoding(value: &[u8], takes: &mut dyn FnMut(Choice) -> bool) -> Encoding {
    let strict = Encoding::named(value.trim_ascii());
    if strict != Encoding::Identity {
        return strict;
    }
    let cleaned = without_comments(value);
    let text = cleaned.as_deref().unwrap_or(value);
    let is_word = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let mut words = text.split(|octet| !is_word(octet)).filter(|word| !word.is_empty());
    let lenient = words.next().map_or(Encoding::Identity, Encoding::named);
    if lenient != strict && takes(Choice::StrictEncoding) { strict } else { lenient }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the declarations if every question is answered with `answer`, and the number of
    /// questions.
    fn read(header: &str, answer: bool) -> (String, usize) {
        let mut asked = 0;
        let mut takes = |_| {
            asked += 1;
            answer
        };
        let header = header.replace('\n', "\r\n");
        let declared = Declared::read(header.as_bytes(), 100, &mut takes);
        let boundary = declared.boundary.as_deref().map(String::from_utf8_lossy);
        let optional =
            [declared.content_type.as_deref(), declared.charset.as_deref(), boundary.as_deref()];
        let text = optional.into_iter().flatten().collect::<Vec<_>>().join(" ");
        (format!("{text} {:?}", declared.encoding), asked)
    }

    #[test]
    fn fields_are_read_as_lenient_and_strict_programs_do() {
        for (header, lenient, strict) in [
            ("", " Identity", None),
            ("Content-Type: TEXT/Html; charset=x\n", "text/html x Identity", None),
            ("Content-Type: text/html junk\n", "text/html Identity", Some(" Identity")),
            ("Content-Type: text/html/x\n", "text/html Identity", Some(" Identity")),
            ("Content-Type: text / html\n", "text/html Identity", Some(" Identity")),
            ("Content-Type: \"text/html\"\n", "text/html Identity", Some(" Identity")),
            ("Content-Type: (a) text/html (b)\n", "text/html Identity", None),
            ("Content-Type: text\n", " Identity", None),
            ("Content-Type: text/\n", " Identity", None),
            ("Content-Type: /html\n", " Identity", None),
            ("Content-Type: a/b\nContent-Type: c/d\n", "a/b Identity", Some("c/d Identity")),
            ("Content-Type: a/b\ncontent-type:  a/b\n", "a/b Identity", None),
            (
                "Content-Type: multipart/x; boundary='b'\n",
                "multipart/x 'b' Identity",
                Some("multipart/x b Identity"),
            ),
            (
                "Content-Type: a/b\nContent-Type: c/d\nContent-Type: a/b\n",
                "a/b Identity",
                Some("c/d Identity"),
            ),
            (
                "Content-Type: multipart/x; boundary=a (b)\n",
                "multipart/x a Identity",
                Some("multipart/x a (b) Identity"),
            ),
            (
                "Content-Type: multipart/x; boundary=a; boundary=b\n",
                "multipart/x a Identity",
                Some("multipart/x b Identity"),
            ),
            ("Content-Type: multipart/x; boundary=\" \"\n", "multipart/x Identity", None),
            ("Content-Type: a/b; name=\"x (y)\\z\"; charset=c\n", "a/b c Identity", None),
            ("Content-Transfer-Encoding: BASE64\n", " Base64", None),
            ("Content-Transfer-Encoding:\n quoted-printable \n", " QuotedPrintable", None),
            ("Content-Transfer-Encoding: x-uue\n", " Uuencode", None),
            ("Content-Transfer-Encoding: base64 (x)\n", " Base64", Some(" Identity")),
            ("Content-Transfer-Encoding: (x(y)) \"base64\"\n", " Base64", Some(" Identity")),
            ("Content-Transfer-Encoding: base64;\n", " Base64", Some(" Identity")),
            ("Content-Transfer-Encoding: base65\n", " Identity", None),
            (
                "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: base64\n",
                " Identity",
                Some(" Base64"),
            ),
        ] {
            let (text, asked) = read(header, false);
            assert_eq!(
                (text.trim(), asked),
                (lenient.trim(), usize::from(strict.is_some())),
                "{header}"
            );
            let strict = strict.unwrap_or(lenient);
            assert_eq!(read(header, true).0.trim(), strict.trim(), "{header}");
        }
    }

    #[test]
    fn names_are_read_from_both_fields() {
        let name = |header: &str| {
            let declared = Declared::read(header.as_bytes(), 100, &mut |_| false);
            declared.file_name.map(String::from)
        };
        let disposition = "Content-Disposition: Attachment; filename*=utf-8''%41\r\n";
        assert_eq!(name(disposition).as_deref(), Some("A"));
        assert_eq!(name("Content-Type: a/b; name=\"=?utf-8?q?=41?=\"\r\n").as_deref(), Some("A"));
        let both = format!("Content-Type: a/b; name=B\r\n{disposition}");
        assert_eq!(name(&both).as_deref(), Some("A"));
        assert_eq!(name("Content-Disposition: inline\r\n"), None);
    }

    #[test]
    fn values_are_read_as_far_as_the_limit() {
        let header = format!("Content-Type: text/html; a={}; charset=x\r\n", "b".repeat(100));
        let declared = Declared::read(header.as_bytes(), 50, &mut |_| false);
        assert!(declared.truncated && declared.charset.is_none());
        assert_eq!(declared.content_type.as_deref(), Some("text/html"));
    }
}
