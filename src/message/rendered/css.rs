//! URLs in style sheets, and styles that hide text.

use std::borrow::Cow;

use memchr::memchr2;

/// Maximum length of a URL in a style sheet, in octets.
const URL: usize = 8_192;

/// Returns the URLs in `url(…)`, in `@import`, and in other functions that have a string first, such
/// as `image-set("…")`.
pub(super) fn urls(css: &str) -> Vec<String> {
    let css = unescaped(css);
    let mut urls = Vec::new();
    read(&css, &mut urls);
    // What begins a comment may also be in a URL.
    if let Cow::Owned(css) = without_comments(&css) {
        read(&css, &mut urls);
    }
    urls
}

fn read(css: &str, urls: &mut Vec<String>) {
    let mut from = 0;
    while let Some(at) = memchr2(b'(', b'@', &css.as_bytes()[from..]).map(|at| from + at) {
        from = at + 1;
        let is_url = ends_with(&css[..at], "url");
        let value = match css.as_bytes()[at] {
            b'(' => &css[from..],
            _ => after(&css[from..], "import"),
        };
        let value = value.trim_start();
        let start = css.len() - value.len();
        let mut most = value.len().min(URL);
        while !value.is_char_boundary(most) {
            most -= 1;
        }
        let value = &value[..most];
        let url = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().map(|url| (1, url)),
            _ if is_url => value.split(')').next().map(|url| (0, url)),
            _ => None,
        };
        if let Some((quote, url)) = url {
            from = start + quote + url.len();
            urls.push(url.trim().to_owned());
        }
    }
}

fn without_comments(css: &str) -> Cow<'_, str> {
    let mut parts = css.split("/*");
    let first = parts.next().unwrap_or_default();
    if first.len() == css.len() {
        return css.into();
    }
    let mut plain = first.to_owned();
    // A comment may contain what begins one. It ends with the first part that has its end.
    for part in parts {
        if let Some((_, behind)) = part.split_once("*/") {
            plain.push_str(behind);
        }
    }
    plain.into()
}

/// Returns whether the text ends with the word. The case is ignored.
fn ends_with(text: &str, word: &str) -> bool {
    let end = text.len().checked_sub(word.len()).and_then(|start| text.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(word))
}

/// Returns the text after the word, or nothing if it does not begin with it.
fn after<'t>(text: &'t str, word: &str) -> &'t str {
    let begins = text.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    if begins { &text[word.len()..] } else { "" }
}

/// Resolves escapes (CSS Syntax section 4.3.7): `\68 ttp` is `http`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('\\');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take(6).take_while(u8::is_ascii_hexdigit).count();
        let (number, behind) = part.split_at(digits);
        if let Ok(number) = u32::from_str_radix(number, 16) {
            plain.push(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER));
            plain.push_str(behind.strip_prefix([' ', '\t', '\n']).unwrap_or(behind));
        } else {
            // A backslash before any other character stands for that character.
            plain.push_str(part);
        }
    }
    plain.into()
}

/// Returns whether a `style` attribute hides its element.
pub(super) fn hides(style: &str) -> bool {
    let style = unescaped(style);
    let style: String = without_comments(&style).chars().filter(|c| !c.is_whitespace()).collect();
    let style = style.to_ascii_lowercase();
    style.split(';').any(|declaration| {
        let Some((property, value)) = declaration.split_once(':') else { return false };
        let value = value.trim_end_matches("!important");
        let zero = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let zero = zero.starts_with('0') && zero.trim_matches(['0', '.']).is_empty();
        match property {
            "display" => value == "none",
            "visibility" => matches!(value, "hidden" | "collapse"),
            "mso-hide" => value == "all",
            "font-size" | "font" | "opacity" | "max-height" => zero,
            _ => false,
        }
    })
}
