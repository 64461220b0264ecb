//! Character references of HTML.

use std::borrow::Cow;

/// Those names that a link may hide behind.
const NAMES: &[(&str, char)] =
    &[("amp", '&'), ("bsol", '\\'), ("colon", ':'), ("commat", '@'), ("period", '.'), ("sol", '/')];
/// Longest reference that is looked for.
const LONGEST: usize = 10;

/// The text with its numeric references resolved, and those named ones that occur in hosts. Markup
/// stays.
pub(super) fn resolve(html: &str) -> Cow<'_, str> {
    if !html.contains('&') {
        return html.into();
    }
    let mut parts = html.split('&');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match reference(part) {
            Some((c, rest)) => {
                text.push(c);
                text.push_str(rest);
            }
            None => {
                text.push('&');
                text.push_str(part);
            }
        }
    }
    text.into()
}

/// What the reference at the front means, and what stands behind it. The semicolon may be missing.
fn reference(part: &str) -> Option<(char, &str)> {
    let end = |part: &str, ends: fn(char) -> bool| {
        let end = part.char_indices().take(LONGEST).find(|(_, c)| ends(*c)).map(|(at, _)| at);
        end.or((part.len() <= LONGEST).then_some(part.len()))
    };
    let (c, rest) = if let Some(number) = part.strip_prefix('#') {
        let (number, radix, ends): (_, _, fn(char) -> bool) = match number.strip_prefix(['x', 'X'])
        {
            Some(number) => (number, 16, |c| !c.is_ascii_hexdigit()),
            None => (number, 10, |c| !c.is_ascii_digit()),
        };
        let (digits, rest) = number.split_at(end(number, ends)?);
        (char::from_u32(u32::from_str_radix(digits, radix).ok()?)?, rest)
    } else {
        let (name, rest) = part.split_at(end(part, |c| !c.is_ascii_alphanumeric())?);
        (NAMES.iter().find(|(known, _)| *known == name)?.1, rest)
    };
    Some((c, rest.strip_prefix(';').unwrap_or(rest)))
}
