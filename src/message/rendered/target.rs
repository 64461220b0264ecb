//! Targets of links: URLs as browsers read them (WHATWG URL), and the hosts of URLs that the
//! standard rejects.

use std::borrow::Cow;

use url::Url;

use super::host::{LinkHost, is_costly};
use super::{percent, redirect};

/// Maximum length of a URL, in octets. The host and the beginning of a longer URL are kept.
pub(super) const URL: usize = 4_096;
/// Maximum number of redirectors in front of a target.
pub(super) const REDIRECTORS: usize = 5;

/// The target of a link.
#[derive(Debug)]
pub(super) struct Target {
    /// The serialised URL, or the text if the standard rejects it.
    pub(super) url: String,
    pub(super) host: Option<LinkHost>,
    /// Number of redirectors in front of it.
    pub(super) redirectors: usize,
}

/// The targets of a URL: the URL itself, and the targets in the parameters of redirectors.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) found: Vec<Target>,
    /// Whether something was omitted because of a limit.
    pub(super) truncated: bool,
}

impl Targets {
    /// Reads a URL as the value of `href`, relative to `base`.
    pub(super) fn of(text: &str, base: Option<&Url>) -> Self {
        let mut targets = Self::default();
        targets.add(text, base, 0);
        targets
    }

    fn add(&mut self, text: &str, base: Option<&Url>, redirectors: usize) {
        let text = cleaned(text);
        let short = shortened(&text);
        self.truncated |= short.len() < text.len();
        let Some((url, host)) = read(&short, base) else { return };
        let embedded = redirect::embedded(&url, host.as_ref());
        self.found.push(Target { url, host, redirectors });
        if redirectors == REDIRECTORS {
            self.truncated |= !embedded.is_empty();
            return;
        }
        for url in embedded {
            self.add(&url, None, redirectors + 1);
        }
    }
}

/// Returns the scheme in lower case, and the text after its colon.
pub(super) fn scheme(text: &str) -> Option<(String, &str)> {
    let end = text.bytes().position(|it| !(it.is_ascii_alphanumeric() || b"+-.".contains(&it)))?;
    let (scheme, rest) = text.split_at(end);
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    Some((scheme.to_ascii_lowercase(), rest.strip_prefix(':').filter(|_| begins)?))
}

/// Removes what the URL standard ignores: control characters and spaces at both ends, and TAB, LF
/// and CR everywhere.
pub(super) fn cleaned(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let ignored = |c: char| matches!(c, '\t' | '\n' | '\r');
    match text.contains(ignored) {
        true => text.replace(ignored, "").into(),
        false => text.into(),
    }
}

pub(super) fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Returns the offsets at which the authority of a URL begins and ends. The URL may lack a scheme.
fn authority(text: &str) -> (usize, usize) {
    let rest = scheme(text).map_or(text, |(_, rest)| rest).trim_start_matches(is_slash);
    let start = text.len() - rest.len();
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    (start, start + end)
}

/// Shortens a URL beyond the limit to its scheme, its host and the beginning of the rest.
fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= URL {
        return text.into();
    }
    let (start, end) = authority(text);
    let authority = &text[start..end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut host_start = host.len().saturating_sub(URL / 4);
    while !host.is_char_boundary(host_start) {
        host_start += 1;
    }
    let mut rest_end = (end + URL / 2).min(text.len());
    while !text.is_char_boundary(rest_end) {
        rest_end -= 1;
    }
    let scheme = scheme(text).map_or(String::new(), |(scheme, _)| scheme + ":");
    let scheme = if scheme.len() > 64 { "http:" } else { &scheme };
    let before_host = if scheme == "mailto:" { "@" } else { "//" };
    format!("{scheme}{before_host}{}{}", &host[host_start..], &text[end..rest_end]).into()
}

/// Reads a URL. Returns its serialised form and its host. `None` if it leads nowhere.
fn read(text: &str, base: Option<&Url>) -> Option<(String, Option<LinkHost>)> {
    let lenient = || {
        let (start, end) = authority(text);
        let host = LinkHost::lenient(&text[start..end])?;
        Some((text.to_owned(), Some(host)))
    };
    if let Some((scheme, rest)) = scheme(text)
        && scheme == "mailto"
    {
        return Some((text.to_owned(), mail_host(rest)));
    }
    let (start, end) = authority(text);
    if is_costly(&text[start..end]) {
        return lenient();
    }
    match Url::parse(text) {
        Ok(url) => {
            // In `example.com:80/x`, the name looks like a scheme.
            let named = || bare(text).filter(|_| url.scheme().contains('.'));
            if url.has_authority() {
                Some(parsed(url))
            } else {
                named().or_else(|| Some(parsed(url.clone())))
            }
        }
        Err(url::ParseError::RelativeUrlWithoutBase) if text.starts_with(is_slash) => {
            let slashes = text.chars().take_while(|c| is_slash(*c)).count();
            let parsed = match base {
                // `join` rejects more than two slashes.
                Some(base) if slashes > 2 => Url::parse(&format!("{}:{text}", base.scheme())),
                Some(base) => base.join(text),
                None if slashes < 2 => return None,
                None => Url::parse(&format!("http:{text}")),
            };
            parsed.ok().map(self::parsed).or_else(lenient)
        }
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            let is_web = text.get(..4).is_some_and(|www| www.eq_ignore_ascii_case("www."));
            let Some(base) = base.filter(|_| !is_web) else { return bare(text) };
            base.join(text).ok().map(parsed).or_else(lenient)
        }
        Err(_) => lenient(),
    }
}

/// Reads a URL without a scheme, as mail programs do, if it begins with a domain name.
fn bare(text: &str) -> Option<(String, Option<LinkHost>)> {
    let (url, host) = read(&format!("http://{text}"), None)?;
    let known = host.as_ref().is_some_and(|host| host.registered().is_some());
    known.then_some((url, host))
}

/// Returns the serialised form of a URL, and its host.
fn parsed(url: Url) -> (String, Option<LinkHost>) {
    let host = host(&url);
    (url.into(), host)
}

/// Returns the host of a parsed URL. The standard does not parse hosts of schemes that it does not
/// know.
fn host(url: &Url) -> Option<LinkHost> {
    match url.scheme() {
        "http" | "https" | "ftp" | "file" | "ws" | "wss" => url.host().and_then(LinkHost::of),
        _ if url.has_authority() => LinkHost::lenient(url.authority()),
        _ => None,
    }
}

/// Returns the domain of the first mail address after `mailto:`.
fn mail_host(addresses: &str) -> Option<LinkHost> {
    let address = addresses.split(['?', ',']).next()?;
    let address = percent::decoded(address);
    LinkHost::lenient(address.rsplit_once('@')?.1)
}
