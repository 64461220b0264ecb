//! Values of MIME fields with parameters (RFC 2045 section 5.1, RFC 2231): `word; name=value; …`.
//! Any input is accepted, in linear time.

use memchr::memchr;

use super::transfer::hexadecimal;
use super::{charset, words};

/// A syntax in which programs parse a value. Programs disagree about malformed values only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// The syntax of RFC 2045 and RFC 2822. Comments are removed, quotes and backslashes are
    /// processed, and white space ends a value. A missing semicolon is tolerated, and encoded words
    /// are decoded.
    Full,
    /// The syntax of simple programs, such as Python's `email`: values are split at semicolons, and
    /// outer quotes are removed.
    Plain,
}

/// A parsed value.
#[derive(Debug)]
pub(super) struct Parameters {
    /// The text before the first parameter, without comments.
    pub(super) word: Vec<u8>,
    list: Vec<Parameter>,
    /// Whether the other syntax may have a different result.
    pub(super) is_odd: bool,
}

#[derive(Debug)]
struct Parameter {
    /// The name in lower case, without the marks of RFC 2231.
    name: Vec<u8>,
    /// Number of a continuation, and whether it is percent-encoded.
    section: Option<(u32, bool)>,
    value: Vec<u8>,
}

impl Parameters {
    pub(super) fn parse(value: &[u8], syntax: Syntax) -> Self {
        let mut parameters = Self { word: Vec::new(), list: Vec::new(), is_odd: false };
        let cleaned;
        let value = match syntax {
            Syntax::Full => {
                cleaned = without_comments(value);
                parameters.is_odd = cleaned.is_some();
                cleaned.as_deref().unwrap_or(value)
            }
            Syntax::Plain => value,
        };
        let mut items = Items { rest: value, syntax, is_unclosed: false };
        let word = items.next().unwrap_or_default().trim_ascii();
        parameters.word = word.to_vec();
        if syntax == Syntax::Full
            && word.contains(&b'=')
            && let Some(at) = word.iter().position(|octet| b" \t\r\n,".contains(octet))
        {
            parameters.word.truncate(at);
            parameters.is_odd = true;
            parameters.item(&word[at..], syntax);
        }
        items.for_each(|item| parameters.item(item, syntax));
        parameters
    }

    /// Reads the parameters between two semicolons. More than one is malformed.
    fn item(&mut self, mut item: &[u8], syntax: Syntax) {
        while let Some(at) = item.iter().position(|octet| *octet == b'=') {
            let (name, behind) = (item[..at].trim_ascii(), item[at + 1..].trim_ascii());
            let (value, rest) = match syntax {
                Syntax::Full => self.full(behind),
                Syntax::Plain => (plain(behind), &b""[..]),
            };
            let name: Vec<_> = name.iter().filter(|octet| **octet != b'"').copied().collect();
            let name = match syntax {
                Syntax::Full => name.rsplit(is_separator).next().unwrap_or_default().to_vec(),
                Syntax::Plain => name,
            };
            let (name, section) = section(name.to_ascii_lowercase());
            self.list.push(Parameter { name, section, value });
            self.is_odd |= !rest.is_empty();
            item = rest;
        }
    }

    /// Reads a value. Returns it and the octets after it.
    fn full<'v>(&mut self, octets: &'v [u8]) -> (Vec<u8>, &'v [u8]) {
        let (value, rest) = match octets.split_first() {
            Some((b'"', quoted)) => {
                let mut value = Vec::with_capacity(quoted.len());
                let mut rest = quoted;
                while let Some((octet, behind)) = rest.split_first() {
                    rest = behind;
                    match (octet, behind.split_first()) {
                        (b'"', _) => break,
                        (b'\\', Some((escaped, behind))) => {
                            self.is_odd = true;
                            value.push(*escaped);
                            rest = behind;
                        }
                        _ => value.push(*octet),
                    }
                }
                self.is_odd |= rest.is_empty() && !octets.ends_with(b"\"");
                (value, rest)
            }
            first => {
                self.is_odd |= first.is_some_and(|(first, _)| *first == b'<');
                let end = octets.iter().position(u8::is_ascii_whitespace).unwrap_or(octets.len());
                let (value, rest) = octets.split_at(end);
                (value.to_vec(), rest)
            }
        };
        // Folding is not part of a value.
        let value: Vec<_> = value.into_iter().filter(|octet| !b"\r\n".contains(octet)).collect();
        let value = match value.windows(2).any(|two| two == b"=?") {
            true => {
                self.is_odd = true;
                words::decode(&value).into_bytes()
            }
            false => value,
        };
        (value, rest.trim_ascii())
    }

    /// Returns the values of a parameter that are not empty: first the plain ones in order, then
    /// the value that is encoded by RFC 2231, if any.
    pub(super) fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.list.iter().filter(|it| it.name == name.as_bytes());
        let plain = named.filter(|it| it.section.is_none()).map(|it| it.value.clone());
        let encoded = self.encoded(name).map(|(_, value)| value);
        plain.chain(encoded).filter(|value| !value.is_empty()).collect()
    }

    /// Returns the value of a parameter as text. A value that is encoded by RFC 2231 has
    /// precedence.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = match self.encoded(name) {
            Some((label, value)) => charset::decode(label.as_deref(), &value),
            None => words::decode(self.values(name).first()?),
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Returns the character set and the value of a parameter that is encoded by RFC 2231.
    fn encoded(&self, name: &str) -> Option<(Option<String>, Vec<u8>)> {
        let named = self.list.iter().filter(|it| it.name == name.as_bytes());
        let sections = named.filter_map(|it| Some((it.section?, &it.value)));
        let mut sections: Vec<_> = sections.collect();
        sections.sort_by_key(|((number, _), _)| *number);
        let ((_, is_first_encoded), first) = *sections.first()?;
        let mut label = None;
        let mut value = Vec::new();
        let mut text = &first[..];
        if is_first_encoded {
            let mut parts = first.splitn(3, |octet| *octet == b'\'');
            if let (Some(charset), Some(_), Some(rest)) = (parts.next(), parts.next(), parts.next())
            {
                label = Some(String::from_utf8_lossy(charset).into_owned());
                text = rest;
            }
        }
        append(&mut value, text, is_first_encoded);
        for ((_, is_encoded), text) in &sections[1..] {
            append(&mut value, text, *is_encoded);
        }
        Some((label, value))
    }
}

/// Appends a section, with its percent-encoding removed.
fn append(value: &mut Vec<u8>, mut text: &[u8], is_encoded: bool) {
    while let Some((octet, rest)) = text.split_first() {
        match hexadecimal(rest).filter(|_| is_encoded && *octet == b'%') {
            Some((octet, rest)) => {
                value.push(octet);
                text = rest;
            }
            None => {
                value.push(*octet);
                text = rest;
            }
        }
    }
}

/// Splits the marks of RFC 2231 from a name: `name*`, `name*0` or `name*0*`.
fn section(mut name: Vec<u8>) -> (Vec<u8>, Option<(u32, bool)>) {
    let Some(at) = name.iter().position(|octet| *octet == b'*') else { return (name, None) };
    let marks = name.split_off(at);
    let number = marks[1..].strip_suffix(b"*").unwrap_or(&marks[1..]);
    let is_encoded = marks.ends_with(b"*");
    let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok());
    (name, Some((number.unwrap_or(0), is_encoded)))
}

/// Reads a value as [`Syntax::Plain`] does.
fn plain(octets: &[u8]) -> Vec<u8> {
    let within = |begin: &[u8], end: &[u8]| octets.strip_prefix(begin)?.strip_suffix(end);
    if let Some(quoted) = within(b"\"", b"\"") {
        let mut value = Vec::with_capacity(quoted.len());
        let mut rest = quoted;
        while let Some((octet, behind)) = rest.split_first() {
            let is_escape = *octet == b'\\' && matches!(behind.first(), Some(b'"' | b'\\'));
            value.push(if is_escape { behind[0] } else { *octet });
            rest = &behind[usize::from(is_escape)..];
        }
        return value;
    }
    within(b"<", b">").unwrap_or(octets).to_vec()
}

/// Returns whether the octet is in no token. Programs that search a name do not look at what is before it.
fn is_separator(octet: &u8) -> bool {
    octet.is_ascii_whitespace() || b"()<>@,;:\\/[]?=".contains(octet)
}

/// Iterator over the octets between semicolons that are not quoted. In the plain syntax, a quote that is
/// not closed is none.
struct Items<'v> {
    rest: &'v [u8],
    syntax: Syntax,
    /// Whether the rest has a quote that is not closed.
    is_unclosed: bool,
}

impl<'v> Iterator for Items<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut is_quoted, mut is_escaped) = (false, false);
        let mut end = self.rest.iter().position(|octet| {
            let ends = *octet == b';' && (!is_quoted || self.is_unclosed);
            is_quoted ^= *octet == b'"' && !is_escaped;
            is_escaped = *octet == b'\\' && is_quoted && !is_escaped;
            ends
        });
        if end.is_none() && is_quoted && self.syntax == Syntax::Plain {
            self.is_unclosed = true;
            end = memchr(b';', self.rest);
        }
        let (item, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.get(1..).unwrap_or_default();
        Some(item)
    }
}

/// Replaces comments by a space. Returns `None` if the value has no comments. An unclosed
/// parenthesis does not begin a comment.
pub(super) fn without_comments(value: &[u8]) -> Option<Vec<u8>> {
    if !value.contains(&b'(') {
        return None;
    }
    let mut text = Vec::with_capacity(value.len());
    let (mut depth, mut is_quoted, mut outer) = (0_usize, false, 0);
    let mut octets = value.iter().copied().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' if is_quoted || depth > 0 => {
                let escaped = octets.next().map(|(_, octet)| octet);
                if depth == 0 {
                    text.push(octet);
                    text.extend(escaped);
                }
            }
            b'"' if depth == 0 => {
                is_quoted = !is_quoted;
                text.push(octet);
            }
            b'(' if !is_quoted => {
                outer = if depth == 0 { at } else { outer };
                depth += 1;
            }
            b')' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    text.push(b' ');
                }
            }
            _ if depth == 0 => text.push(octet),
            _ => {}
        }
    }
    if depth > 0 {
        text.extend_from_slice(&value[outer..]);
    }
    (text != value).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the word and the values of `b`.
    fn read(value: &str, syntax: Syntax) -> String {
        let parameters = Parameters::parse(value.as_bytes(), syntax);
        let values =
            parameters.values("b").into_iter().map(|value| String::from_utf8(value).unwrap());
        let word = String::from_utf8_lossy(&parameters.word).into_owned();
        [word].into_iter().chain(values).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn parameters_are_read_in_both_syntaxes() {
        for (value, full, plain, is_odd) in [
            ("", "", "", false),
            (" a/b", "a/b", "a/b", false),
            (" a/b ; B = c ; d", "a/b|c", "a/b|c", false),
            ("a/b;b=\r\n c", "a/b|c", "a/b|c", false),
            ("a/b; b=\"c;d\"; e", "a/b|c;d", "a/b|c;d", false),
            ("a/b; b=c; b=d", "a/b|c|d", "a/b|c|d", false),
            ("a/b; b=; b=\"\"; b=d", "a/b|d", "a/b|d", false),
            ("a/b; b=c/d=e?f:'", "a/b|c/d=e?f:'", "a/b|c/d=e?f:'", false),
            ("a/b; b=c d", "a/b|c", "a/b|c d", true),
            ("a/b; b=\"c\" d", "a/b|c", "a/b|\"c\" d", true),
            ("a/b; b=\"c\\d\\\"\"", "a/b|cd\"", "a/b|c\\d\"", true),
            ("a/b; b=\"c", "a/b|c", "a/b|\"c", true),
            ("a/b; b=<c>", "a/b|<c>", "a/b|c", true),
            ("a/b (x;y) ; (z)b=c (\\)(w))", "a/b|c", "a/b (x", true),
            ("a/b; b=\"(c)\"", "a/b|(c)", "a/b|(c)", false),
            ("a/b; b=(c", "a/b|(c", "a/b|(c", false),
            ("a/b b=c", "a/b|c", "a/b b=c", true),
            ("a/b, b=c", "a/b|c", "a/b, b=c", true),
            ("a/b; x=y b=c", "a/b|c", "a/b", true),
            ("a/b; x=\"y\" b=\"c\"", "a/b|c", "a/b", true),
            ("a/b; \"b\"=c", "a/b|c", "a/b|c", false),
            ("a/b;,b=c", "a/b|c", "a/b", false),
            ("a/b; x=\"y; b=c", "a/b", "a/b|c", true),
            ("a/b; x=\"y\"; b=\"c;d; b=e", "a/b|c;d; b=e", "a/b|\"c|e", true),
            ("a/b; b==?utf-8?q?=41?=", "a/b|A", "a/b|=?utf-8?q?=41?=", true),
            // RFC 2231.
            ("a/b; b*=utf-8'en'%41b", "a/b|Ab", "a/b|Ab", false),
            ("a/b; b*=%41b", "a/b|Ab", "a/b|Ab", false),
            ("a/b; b*1=d; b*0=c", "a/b|cd", "a/b|cd", false),
            ("a/b; b*1*=%64; b*0*=utf-8''%63; b*2=%65", "a/b|cd%65", "a/b|cd%65", false),
            ("a/b; b*0=c; b=d", "a/b|d|c", "a/b|d|c", false),
            ("a/b; b*x=c; b**=%", "a/b|c%", "a/b|c%", false),
        ] {
            assert_eq!(read(value, Syntax::Full), full, "{value}");
            assert_eq!(read(value, Syntax::Plain), plain, "{value}");
            let parameters = Parameters::parse(value.as_bytes(), Syntax::Full);
            assert_eq!(parameters.is_odd, is_odd, "{value}");
        }
    }

    #[test]
    fn values_are_decoded_to_text() {
        for (value, text) in [
            ("a; b*=iso-8859-1''%e9", Some("\u{e9}")),
            ("a; b=x; b*=utf-8''%c3%a9", Some("\u{e9}")),
            ("a; b=\"=?utf-8?q?=C3=A9?=\"", Some("\u{e9}")),
            ("a; b*0*=utf-8''%c3; b*1*=%a9; b*2=.txt", Some("\u{e9}.txt")),
            ("a; b=\" \"", None),
            ("a", None),
        ] {
            let parameters = Parameters::parse(value.as_bytes(), Syntax::Full);
            assert_eq!(parameters.text("b").as_deref(), text, "{value}");
        }
    }

    #[test]
    fn parameters_are_read_in_linear_time() {
        for part in
            ["(", "\"", "\\", "b=c ", "; b*0=c", "=", ";", "(\"", "b=\"", "\";\\", "=?q?", "b=(x) "]
        {
            let value = "a; ".to_owned() + &part.repeat(100_000);
            for syntax in [Syntax::Full, Syntax::Plain] {
                Parameters::parse(value.as_bytes(), syntax).values("b");
            }
        }
    }
}
