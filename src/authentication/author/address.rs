//! The addresses in the value of a `From` field.
//!
//! The domain of an address follows an `@` that is in no comment and no quoted string. Each such
//! domain is found, regardless of the text around it, because mail programs accept more than RFC
//! 5322 allows, in different ways.

use super::{AuthorFault, Authors, domain};
use crate::message::words;

/// Reads the value of a field.
pub(super) fn read(value: &[u8], authors: &mut Authors) {
    if value.contains(&0) {
        authors.note(AuthorFault::Character);
    }
    let first = Reader::read(value, Reading::FIRST, authors);
    let fault = authors.fault;
    let reading = Reading { names: false, ..Reading::FIRST };
    let mut is_new = |is_met: bool, value: &[u8], reading| {
        is_met && Reader::read(value, reading, authors).is_new
    };
    // Some programs do not support quoted pairs, or do not unfold first, so a comment or string ends
    // elsewhere. For others, an unmatched delimiter is an ordinary character.
    let differ = is_new(first.has_escape, value, Reading { escapes: false, ..reading })
        | is_new(first.has_fold, value, Reading { folds: false, ..reading })
        | is_new(first.has_odd_string, value, Reading { strings: false, ..reading })
        | is_new(first.has_odd_comment, value, Reading { comments: false, ..reading });
    // Some programs decode encoded words first.
    let has_word = memchr::memmem::find(value, b"=?").is_some();
    let decoded = has_word && is_new(true, words::decode(value).as_bytes(), reading);
    // Programs show a name without address in its place.
    let bare = Reading { strings: false, comments: false, ..reading };
    let is_bare = authors.domains.is_empty() && Reader::read(value, bare, authors).is_new;
    // In these readings, other faults do not matter.
    authors.fault = fault;
    if is_bare {
        authors.note(AuthorFault::NoDomain);
    }
    if differ {
        authors.note(AuthorFault::Character);
    }
    if decoded {
        authors.note(AuthorFault::Encoded);
    }
}

/// A way of reading addresses.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Whether `\` in comments and quoted strings escapes the next character.
    escapes: bool,
    /// Whether comments and quoted strings go on after a line end.
    folds: bool,
    strings: bool,
    comments: bool,
    /// Whether an address in a display name counts, beside one in angle brackets.
    names: bool,
}

impl Reading {
    const FIRST: Self =
        Self { escapes: true, folds: true, strings: true, comments: true, names: true };
}

/// The result of a reading.
#[derive(Debug, Default)]
struct Outcome {
    /// Whether it has found a new domain.
    is_new: bool,
    /// Whether a comment or quoted string has an escape.
    has_escape: bool,
    /// Whether a comment or quoted string is folded.
    has_fold: bool,
    /// Whether a quoted string has no end, or there is an escape outside.
    has_odd_string: bool,
    /// Whether a comment has no end.
    has_odd_comment: bool,
}

struct Reader<'v, 'a> {
    octets: &'v [u8],
    at: usize,
    reading: Reading,
    authors: &'a mut Authors,
    outcome: Outcome,
    /// Whether an angle bracket is open, and whether a source route may follow it.
    in_angle: bool,
    in_route: bool,
    /// Whether this element of the list has had angle brackets.
    has_angle: bool,
    /// Domains of this element that count if it has no angle brackets.
    names: Vec<Vec<u8>>,
}

impl<'v, 'a> Reader<'v, 'a> {
    fn read(octets: &'v [u8], reading: Reading, authors: &'a mut Authors) -> Outcome {
        let mut reader = Self {
            octets,
            at: 0,
            reading,
            authors,
            outcome: Outcome::default(),
            in_angle: false,
            in_route: false,
            has_angle: false,
            names: Vec::new(),
        };
        while let Some(octet) = reader.next() {
            reader.take(octet);
        }
        if reader.in_angle {
            reader.authors.note(AuthorFault::Angle);
        }
        reader.end_element();
        reader.outcome
    }

    fn take(&mut self, octet: u8) {
        match octet {
            b'(' if self.reading.comments => self.skip(Delimited::Comment),
            b'"' if self.reading.strings => self.string(),
            b'=' => self.skip_encoded_word(),
            b'@' => self.domain(),
            b'<' => {
                if self.in_angle {
                    self.authors.note(AuthorFault::Brackets);
                }
                self.skip_blanks();
                (self.in_angle, self.has_angle) = (true, true);
                self.in_route = self.peek() == Some(b'@');
            }
            b'>' => {
                if !self.in_angle {
                    self.authors.note(AuthorFault::Brackets);
                }
                self.in_angle = false;
            }
            b',' | b';' | b':' if !self.in_angle => self.end_element(),
            b',' | b';' if !self.in_route => self.authors.note(AuthorFault::Angle),
            b'\\' => {
                self.outcome.has_odd_string = true;
                self.authors.note(AuthorFault::Character);
            }
            _ => {}
        }
    }

    /// Reads the domain after an `@`.
    fn domain(&mut self) {
        self.skip_blanks();
        if self.peek() == Some(b'[') {
            self.skip_literal();
            return;
        }
        let is_quoted = self.peek() == Some(b'"');
        self.at += usize::from(is_quoted);
        let mut text = Vec::new();
        let mut is_split = false;
        loop {
            let length = self.atom();
            text.extend_from_slice(&self.octets[self.at..self.at + length]);
            self.at += length;
            let end = self.at;
            self.skip_blanks();
            if end == self.at {
                break;
            }
            let is_obsolete = self.peek() == Some(b'.') || text.ends_with(b".");
            let next = self.atom();
            let is_other = matches!(self.octets.get(self.at + next), Some(b'@' | b':'));
            if next == 0 || !is_obsolete && is_other {
                break;
            }
            if !is_obsolete {
                self.authors.note(AuthorFault::Address);
            }
            // Other programs may take the part before the blank for the domain.
            let before = text.strip_suffix(b".").unwrap_or(&text);
            if before.contains(&b'.') && !std::mem::replace(&mut is_split, true) {
                self.found(before.to_vec());
            }
        }
        self.at += usize::from(is_quoted && self.peek() == Some(b'"'));
        if self.peek() == Some(b'@') || text.is_empty() || is_quoted {
            self.authors.note(AuthorFault::Address);
        }
        if !text.is_empty() {
            self.found(text);
        }
    }

    /// Returns the number of octets here that may belong to a domain.
    fn atom(&self) -> usize {
        self.octets[self.at..].iter().take_while(|octet| is_in_domain(**octet)).count()
    }

    /// Skips a quoted string. If it is a local part, some programs find an address in it.
    fn string(&mut self) {
        let begin = self.at;
        self.skip(Delimited::QuotedString);
        let octets = self.octets;
        let content = &octets[begin..self.at];
        let is_local = || {
            let rest = self.octets[self.at..].iter();
            rest.copied().find(|octet| !is_space(*octet)) == Some(b'@')
        };
        if self.reading.names && content.contains(&b'@') && is_local() {
            self.authors.note(AuthorFault::Address);
            let reading = Reading { strings: false, ..self.reading };
            self.outcome.is_new |= Reader::read(content, reading, self.authors).is_new;
        }
    }

    /// Skips an address literal, which is not a domain. It always ends before the next address.
    fn skip_literal(&mut self) {
        while let Some(octet) = self.peek().filter(|octet| !b"<>@,;".contains(octet)) {
            self.at += 1;
            if octet == b']' {
                return;
            }
        }
        self.authors.note(AuthorFault::Address);
    }

    fn found(&mut self, domain: Vec<u8>) {
        // Some programs quote a display name with apostrophes.
        let quoted = domain.strip_suffix(b"'").filter(|_| !self.in_angle);
        let domain = quoted.map_or_else(|| domain.clone(), <[u8]>::to_vec);
        match self.in_angle || self.reading.names {
            true => self.outcome.is_new |= domain::add(&domain, self.authors),
            false => self.names.push(domain),
        }
    }

    /// Ends an element of the list.
    fn end_element(&mut self) {
        let names = std::mem::take(&mut self.names);
        // If strings end at a line end, angle brackets may be in one.
        if !self.has_angle && self.reading.folds {
            for domain in names {
                self.outcome.is_new |= domain::add(&domain, self.authors);
            }
        }
        self.has_angle = false;
    }

    /// Skips a comment or quoted string. Some programs treat an unclosed one as ordinary text, so
    /// the rest is then read as ordinary text.
    fn skip(&mut self, delimited: Delimited) {
        let begin = self.at;
        let mut depth = 1_usize;
        while let Some(octet) = self.next() {
            match (octet, delimited) {
                (b'\\', _) => {
                    self.outcome.has_escape = true;
                    if self.reading.escapes {
                        self.at += 1;
                    }
                }
                (b'\r' | b'\n', _) => {
                    self.outcome.has_fold = true;
                    if !self.reading.folds {
                        return;
                    }
                }
                (b'(', Delimited::Comment) => depth += 1,
                (b')', Delimited::Comment) | (b'"', Delimited::QuotedString) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
        match delimited {
            Delimited::Comment => {
                self.authors.note(AuthorFault::Comment);
                (self.outcome.has_odd_comment, self.reading.comments) = (true, false);
            }
            Delimited::QuotedString => {
                self.authors.note(AuthorFault::QuotedString);
                (self.outcome.has_odd_string, self.reading.strings) = (true, false);
            }
        }
        self.at = begin;
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b'(' if self.reading.comments => {
                    self.at += 1;
                    self.skip(Delimited::Comment);
                }
                _ if is_space(octet) => self.at += 1,
                _ => return,
            }
        }
    }

    /// Skips the rest of an encoded word in quoted-printable, if it contains no delimiters of
    /// addresses. Its `=` has been read. Some programs leave `@` unencoded in such words.
    fn skip_encoded_word(&mut self) {
        let is_end =
            |octet: &u8| *octet == b'?' || is_space(*octet) || b"<>(),;:\"".contains(octet);
        let mut at = self.at;
        let mut part = || {
            let rest = self.octets.get(at..)?;
            let length = rest.iter().position(is_end).filter(|end| rest[*end] == b'?')?;
            at += length + 1;
            Some(&rest[..length])
        };
        let parts = (part(), part(), part(), part());
        if let (Some(b""), Some(_), Some(b"q" | b"Q"), Some(_)) = parts
            && self.octets.get(at) == Some(&b'=')
        {
            self.at = at + 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let octet = self.peek()?;
        self.at += 1;
        Some(octet)
    }

    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }
}

#[derive(Debug, Clone, Copy)]
enum Delimited {
    Comment,
    QuotedString,
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

fn is_in_domain(octet: u8) -> bool {
    !is_space(octet) && !b"()<>[],;:\\\"@".contains(&octet)
}
