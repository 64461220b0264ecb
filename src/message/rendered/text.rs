//! Finds the parts of plain text that mail programs make clickable: URLs with a scheme, domain
//! names and mail addresses.

use std::borrow::Cow;
use std::ops::Range;

use super::host::{LinkHost, is_dot, is_ignored};
use super::target::{is_slash, scheme};

/// Maximum length of a URL in text, in octets. The rest is searched again.
const LONGEST: usize = 8_192;
/// Maximum length of a URL that is wrapped over lines in angle brackets.
const WRAPPED: usize = 2_048;

/// A URL found in text.
#[derive(Debug)]
pub(super) struct Candidate<'t> {
    /// Its offset in the text.
    pub(super) at: usize,
    /// The URL, with a scheme.
    pub(super) url: Cow<'t, str>,
}

/// The kinds of URLs that are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// All URLs that mail programs make clickable.
    Prose,
    /// Only URLs with a scheme or two slashes, for source code.
    Code,
}

/// Calls `visit` with each URL in the text, in order. Stops when it returns false.
pub(super) fn candidates<'t>(
    text: &'t str,
    search: Search,
    visit: &mut dyn FnMut(Candidate<'t>) -> bool,
) {
    let mut scan = Scan { text, search, visit, goes_on: true };
    let mut at = 0;
    while scan.goes_on
        && let Some(start) = scan.next_atom(at)
    {
        at = scan.atom(start);
    }
}

/// Returns the host of the first URL in the text.
pub(super) fn first_host(text: &str) -> Option<LinkHost> {
    let mut first = None;
    candidates(text, Search::Prose, &mut |candidate| {
        let targets = super::target::Targets::of(&candidate.url, None);
        first = targets.found.into_iter().next().and_then(|target| target.host);
        first.as_ref().is_none_or(|host| !host.is_known())
    });
    first.filter(LinkHost::is_known)
}

/// The state of a search.
struct Scan<'t, 'v> {
    text: &'t str,
    search: Search,
    visit: &'v mut dyn FnMut(Candidate<'t>) -> bool,
    goes_on: bool,
}

/// Returns whether the character occurs in host names and mail addresses.
fn is_atom(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | '@' | '+' | '%' => true,
        _ if c.is_ascii() => false,
        _ => c.is_alphanumeric() || is_dot(c) || is_ignored(c) || is_mark(c),
    }
}

/// Returns whether the character combines with the one before it, as in decomposed letters.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200c}' | '\u{200d}')
}

/// Returns whether the character belongs to a script that is written without spaces, such as
/// Chinese. A name in Latin letters may directly follow such a character.
fn is_spaceless(c: char) -> bool {
    matches!(
        c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            | '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
            | '\u{ff61}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}'
    )
}

/// Returns whether the character always ends a URL.
fn is_end(c: char) -> bool {
    c.is_whitespace() && !is_ignored(c)
        || c.is_control()
        || matches!(
            c,
            '<' | '>' | '"' | '`' | '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}' | '\u{fffd}'
        )
        || matches!(c, '\u{2039}' | '\u{203a}' | '\u{300a}'..='\u{3011}')
}

impl<'t> Scan<'t, '_> {
    fn emit(&mut self, at: usize, url: impl Into<Cow<'t, str>>) {
        self.goes_on &= (self.visit)(Candidate { at, url: url.into() });
    }

    /// Returns the offset of the next atom. URLs in angle brackets on the way are visited.
    fn next_atom(&mut self, from: usize) -> Option<usize> {
        for (at, c) in self.text[from..].char_indices() {
            if is_atom(c) {
                return Some(from + at);
            }
            if c == '<' {
                self.wrapped(from + at + 1);
            }
        }
        None
    }

    /// Visits a URL in angle brackets that is wrapped over lines (RFC 3986 appendix C).
    fn wrapped(&mut self, start: usize) {
        let rest = &self.text.as_bytes()[start..];
        let rest = &rest[..rest.len().min(WRAPPED)];
        let Some(end) = memchr::memchr2(b'<', b'>', rest).filter(|end| rest[*end] == b'>') else {
            return;
        };
        let inner = &self.text[start..start + end];
        if !inner.contains(['\r', '\n']) {
            return;
        }
        let joined: String = inner.lines().map(str::trim).collect();
        let url = joined.strip_prefix("URL:").unwrap_or(&joined);
        let begins =
            |start: &str| url.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
        if url.contains(char::is_whitespace) {
            return;
        }
        if scheme(url).is_some_and(|(_, rest)| rest.starts_with("//")) {
            self.emit(start, url.to_owned());
        } else if begins("www.") {
            self.emit(start, format!("http://{url}"));
        }
    }

    /// Visits the URLs that begin with or in the atom at `start`. Returns where to continue.
    fn atom(&mut self, start: usize) -> usize {
        let rest = &self.text[start..];
        let end = start + rest.find(|c| !is_atom(c)).unwrap_or(rest.len());
        let behind = &self.text[end..];
        if let Some(after) = behind.strip_prefix(':')
            && let Some(begin) = self.scheme_before(start..end, after)
            && (after.starts_with(is_slash) || begins_with_address(after))
        {
            return self.url(begin, end + 1);
        }
        let before = &self.text.as_bytes()[..start];
        if let [.., b'/' | b'\\', b'/' | b'\\'] = before {
            let (host_end, _) = self.host(start);
            if self.is_known(start..host_end) {
                let url_end = self.path(host_end);
                self.emit(start, format!("http://{}", &self.text[start..url_end]));
                return url_end.max(end);
            }
        }
        if self.search == Search::Prose {
            return self.bare(start..end);
        }
        end
    }

    /// Returns where the scheme begins, if the atom ends in one. `after` follows its colon.
    fn scheme_before(&self, atom: Range<usize>, after: &str) -> Option<usize> {
        let text = &self.text[atom.clone()];
        let lower = |scheme: &str| {
            let start = text.len().checked_sub(scheme.len())?;
            text.get(start..)?.eq_ignore_ascii_case(scheme).then_some(atom.start + start)
        };
        if let Some(begin) = ["https", "http", "ftp"].iter().find_map(|scheme| lower(scheme)) {
            return Some(begin);
        }
        let slashes = after.chars().take(2).take_while(|c| is_slash(*c)).count();
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let length =
            text.bytes().rev().take(64).take_while(|it| is_scheme(char::from(*it))).count();
        let letters =
            text[text.len() - length..].trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        (slashes == 2 && !letters.is_empty()).then(|| atom.end - letters.len())
    }

    /// Visits a URL with a scheme. Its slashes begin at `slashes`. Returns its end.
    fn url(&mut self, begin: usize, slashes: usize) -> usize {
        let rest = &self.text[slashes..];
        let count = rest.chars().take(LONGEST).take_while(|c| is_slash(*c)).count();
        let host = slashes + count;
        let scheme = &self.text[begin..slashes];
        let (host_end, authority) = self.host(host);
        if host_end == host {
            return host;
        }
        let has_path = self.text[host_end..].starts_with(['/', '\\', '?', '#']);
        let end = if has_path { self.path(host_end) } else { host_end };
        match count {
            0..3 => self.emit(begin, &self.text[begin..end]),
            // Many slashes count as two.
            _ => self.emit(begin, format!("{scheme}//{}", &self.text[host..end])),
        }
        // Browsers accept more characters in a host than mail programs.
        if authority > end && self.is_known(host..authority) {
            self.emit(begin, &self.text[begin..authority]);
        }
        // A name in Latin letters may directly follow text in a script without spaces.
        let url = &self.text[host..end];
        let latin = host + url.find(is_spaceless).unwrap_or(url.len());
        if latin < end && latin > host && self.is_known(host..latin) {
            self.emit(begin, &self.text[begin..latin]);
        }
        end
    }

    /// Returns the end of the host that begins at `from`, and the end of the authority as browsers
    /// read it. Both may begin with user information.
    fn host(&self, from: usize) -> (usize, usize) {
        let rest = self.head(from);
        let end = rest.find(|c| is_end(c) || matches!(c, '/' | '\\' | '?' | '#'));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let host = authority.rfind('@').map_or(0, |at| at + 1);
        let name = &authority[host..];
        let literal = match name.strip_prefix('[') {
            Some(inner) => inner.find(']').map_or(0, |end| end + 2),
            None => 0,
        };
        let end = name[literal..].find(|c| !(is_atom(c) || c == ':'));
        let end = end.map_or(authority.len(), |end| host + literal + end);
        if end == authority.len() && rest.len() > end && !rest[end..].starts_with(is_end) {
            return (from + end, from + end);
        }
        let odd = |c: char| is_punctuation(c) || matches!(c, '-' | '_');
        let length = |text: &str| text.trim_end_matches(odd).len().max(host + literal);
        (from + length(&authority[..end]), from + length(authority))
    }

    /// Returns the end of a URL whose host ends at `from`. The URL ends before white space, before
    /// an unmatched closing bracket, and before punctuation at its end.
    fn path(&self, from: usize) -> usize {
        let rest = self.head(from);
        let mut open = [0_usize; 3];
        let end = rest.find(|c| {
            let closes = |open: &mut usize| match open.checked_sub(1) {
                Some(left) => {
                    *open = left;
                    false
                }
                None => true,
            };
            match c {
                '(' => open[0] += 1,
                '[' => open[1] += 1,
                '{' => open[2] += 1,
                ')' => return closes(&mut open[0]),
                ']' => return closes(&mut open[1]),
                '}' => return closes(&mut open[2]),
                _ => return is_end(c),
            }
            false
        });
        from + rest[..end.unwrap_or(rest.len())].trim_end_matches(is_punctuation).len()
    }

    /// Returns the text from here on, up to the maximum length of a URL.
    fn head(&self, from: usize) -> &'t str {
        let mut most = (from + LONGEST).min(self.text.len());
        while !self.text.is_char_boundary(most) {
            most -= 1;
        }
        &self.text[from..most]
    }

    /// Returns whether this authority names an address or a registered domain.
    fn is_known(&self, authority: Range<usize>) -> bool {
        let authority = &self.text[authority];
        let end = authority.find(['/', '\\', '?', '#']).unwrap_or(authority.len());
        LinkHost::lenient(&authority[..end]).is_some_and(|host| host.is_known())
    }

    /// Visits the mail addresses and domain names in an atom. Returns where to continue.
    fn bare(&mut self, atom: Range<usize>) -> usize {
        let text = &self.text[atom.clone()];
        if !text.contains(is_dot) {
            return atom.end;
        }
        let end = self.name(atom.clone());
        if !text.contains(is_spaceless) {
            return end;
        }
        // Names in Latin letters that touch other scripts.
        let mut from = atom.start;
        for part in text.split(is_spaceless) {
            if part.contains('.') && part.len() < text.len() {
                self.name(from..from + part.len());
            }
            from += part.len();
            from += self.text[from..].chars().next().map_or(0, char::len_utf8);
        }
        end
    }

    /// Visits the mail address or the domain name in this range. Returns where to continue.
    fn name(&mut self, range: Range<usize>) -> usize {
        let text = &self.text[range.clone()];
        let odd = |c: char| !c.is_alphanumeric() && !is_ignored(c) && !is_mark(c);
        let trimmed = text.trim_start_matches(odd);
        let start = range.end - trimmed.len();
        let name = trimmed.trim_end_matches(odd);
        let mut name = name;
        if let Some((_, domain)) = text.trim_end_matches(odd).rsplit_once('@') {
            if is_registered(domain) {
                let url = format!("mailto:{}", mail(name));
                self.goes_on &= (self.visit)(Candidate { at: start, url: url.into() });
                return range.end;
            }
            name = name.split('@').next().unwrap_or_default();
        }
        if !is_registered(name) {
            return range.end;
        }
        let mut end = start + name.len();
        let rest = &self.text[end..];
        let port = rest.strip_prefix(':').map_or(0, |rest| {
            let digits = rest.bytes().take(5).take_while(u8::is_ascii_digit).count();
            if digits > 0 { digits + 1 } else { 0 }
        });
        if port > 0 || rest.starts_with(['/', '?', '#', '\\']) {
            end = self.path(end + port);
        }
        self.emit(start, format!("http://{}", &self.text[start..end]));
        end.max(range.end)
    }
}

/// Returns whether the text begins with an IPv4 address.
fn begins_with_address(text: &str) -> bool {
    let is_in_address = |octet: &u8| octet.is_ascii_hexdigit() || b".xX".contains(octet);
    let length = text.bytes().take(48).take_while(is_in_address).count();
    let host = text.get(..length).filter(|host| host.contains('.'));
    host.and_then(LinkHost::lenient).is_some_and(|host| matches!(host, LinkHost::Address(_)))
}

/// Returns the end of a mail address. Its local part may be any length.
fn mail(address: &str) -> &str {
    let mut start = address.len().saturating_sub(1_024);
    while !address.is_char_boundary(start) {
        start += 1;
    }
    &address[start..]
}

/// Returns whether the text is a name below a known public suffix. The top-level domain must not
/// be a number.
fn is_registered(name: &str) -> bool {
    name.contains(is_dot) && LinkHost::lenient(name).is_some_and(|host| host.registered().is_some())
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '|' | '\u{2019}' | '\u{2026}')
        || matches!(c, ')' | ']' | '}' | '(' | '[' | '{')
}
