//! Texts that quote what others said: replies, and details of findings.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::{Pseudonyms, RecorderSettings};
use crate::wire::canonical::canonical_domain;

/// The names that occur in a session, with their pseudonyms. Keys are in lower case.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Local parts, names of clients and whole addresses.
    words: HashMap<String, String>,
    domains: HashMap<String, String>,
}

impl Known {
    pub(super) fn word(&mut self, word: &str, pseudonym: &str) {
        if !word.is_empty() {
            self.words.insert(word.to_lowercase(), pseudonym.to_owned());
        }
    }

    pub(super) fn domain(&mut self, domain: &str, pseudonym: &str) {
        if !domain.is_empty() {
            self.domains.insert(canonical_domain(domain), pseudonym.to_owned());
        }
    }
}

/// Whether a text was written by the gate, or may quote names as single words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Gate,
    Other,
}

/// The replacement of names in texts.
pub(super) struct Texts<'s> {
    pub(super) names: &'s Pseudonyms,
    pub(super) settings: &'s RecorderSettings,
    pub(super) known: &'s Known,
    /// The name of the gate, which stays.
    pub(super) host: &'s str,
}

impl Texts<'_> {
    /// Returns the text with every address, IP address and known name replaced.
    pub(super) fn conceal(&self, text: &str, author: Author) -> String {
        let mut concealed = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((length, address)) = leading_ipv6(rest, &concealed) {
                concealed += &self.ip(address.into());
                rest = &rest[length..];
                continue;
            }
            if let Some((length, local_part)) = leading_quoted(rest)
                && self.settings.hides_addresses()
            {
                concealed += &self.names.local_part(&local_part);
                rest = &rest[length..];
            }
            let length = rest.find(ends_token).unwrap_or(rest.len());
            if length > 0 {
                concealed += &self.token(&rest[..length], author);
                rest = &rest[length..];
            }
            let mark = rest.chars().next().map_or(0, char::len_utf8);
            concealed += &rest[..mark];
            rest = &rest[mark..];
        }
        concealed
    }

    fn token(&self, token: &str, author: Author) -> String {
        if self.settings.hides_addresses() {
            for sign in ["@", "%40"] {
                if let Some((local_part, domain)) = token.rsplit_once(sign) {
                    return self.address(local_part, domain, sign);
                }
            }
        }
        let bare = token.trim_end_matches('.');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.ip(address) + &token[bare.len()..];
        }
        if bare.eq_ignore_ascii_case(self.host) || !self.settings.hides_names() {
            return token.to_owned();
        }
        if let Some(pseudonym) = self.known_domain(bare) {
            return pseudonym + &token[bare.len()..];
        }
        match author {
            Author::Gate => token.to_owned(),
            Author::Other => self.words(token),
        }
    }

    fn address(&self, local_part: &str, domain: &str, sign: &str) -> String {
        let bare = domain.trim_end_matches(|c: char| !c.is_alphanumeric());
        let concealed = match bare {
            "" => String::new(),
            _ => self.names.domain(bare),
        };
        let local_part = match local_part {
            "" => String::new(),
            _ => self.names.local_part(local_part),
        };
        local_part + sign + &concealed + &domain[bare.len()..]
    }

    fn ip(&self, address: IpAddr) -> String {
        self.names.address(address, self.settings.clients).to_string()
    }

    /// Returns the pseudonym of a known domain, or of a name below one.
    fn known_domain(&self, name: &str) -> Option<String> {
        if !name.contains('.') && !self.known.domains.contains_key(&name.to_lowercase()) {
            return None;
        }
        let canonical = canonical_domain(name);
        if let Some(pseudonym) = self.known.domains.get(&canonical) {
            return Some(pseudonym.clone());
        }
        let dots = canonical.match_indices('.').map(|(at, _)| &canonical[at + 1..]);
        let is_below = dots
            .into_iter()
            .any(|parent| parent.contains('.') && self.known.domains.contains_key(parent));
        is_below.then(|| self.names.domain(&canonical))
    }

    /// Replaces known words in a token: the token itself, or its parts between marks.
    fn words(&self, token: &str) -> String {
        if let Some(pseudonym) = self.known.words.get(&token.to_lowercase()) {
            return pseudonym.clone();
        }
        let is_mark = |c: char| !c.is_alphanumeric() && !"._-+".contains(c);
        let is_part = |c: char| !c.is_alphanumeric();
        let replaced = self.parts(token, is_mark);
        if replaced == token { self.parts(token, is_part) } else { replaced }
    }

    fn parts(&self, token: &str, is_mark: impl Fn(char) -> bool) -> String {
        let parts = token.split_inclusive(&is_mark).map(|part| {
            let word = part.strip_suffix(&is_mark).unwrap_or(part);
            match self.known.words.get(&word.to_lowercase()) {
                Some(pseudonym) => pseudonym.clone() + &part[word.len()..],
                None => part.to_owned(),
            }
        });
        parts.collect()
    }
}

/// Returns whether a character ends a word that may be an address.
fn ends_token(c: char) -> bool {
    c.is_whitespace() || "<>()[]{},;:\"'`|\\".contains(c)
}

/// Returns the quoted local part at the start of a text, and its length with the quotes. An `@`
/// follows it.
fn leading_quoted(text: &str) -> Option<(usize, String)> {
    let mut local_part = String::new();
    let mut octets = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = octets.next() {
        match c {
            '\\' => local_part.push(octets.next()?.1),
            '"' => {
                let length = at + 2;
                return text[length..].starts_with('@').then_some((length, local_part));
            }
            c => local_part.push(c),
        }
    }
    None
}

/// Returns the IPv6 address at the start of a text, and its length. It begins a word.
fn leading_ipv6(text: &str, before: &str) -> Option<(usize, Ipv6Addr)> {
    if before.chars().next_back().is_some_and(char::is_alphanumeric) {
        return None;
    }
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let run = text[..length].trim_end_matches('.');
    if run.matches(':').count() < 2 {
        return None;
    }
    let bare = if run.ends_with("::") { run } else { run.trim_end_matches(':') };
    Some((bare.len(), bare.parse().ok()?))
}
