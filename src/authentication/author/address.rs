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
    let reading = Reading { escapes: true, delimiters: true, names: true };
    let first = Reader::read(value, reading, authors);
    let fault = authors.fault;
    let reading = Reading { names: false, ..reading };
    let (mut without_escapes, mut decoded) = (false, false);
    // Some programs do not support quoted pairs, so a comment or string ends elsewhere.
    if first.has_escape {
        let reading = Reading { escapes: false, ..reading };
        without_escapes = Reader::read(value, reading, authors).is_new;
    }
    // Some programs decode encoded words first.
    if memchr::memmem::find(value, b"=?").is_some() {
        decoded = Reader::read(words::decode(value).as_bytes(), reading, authors).is_new;
    }
    // In these readings, other faults do not matter.
    authors.fault = fault;
    if without_escapes {
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
    /// Whether there are comments and quoted strings.
    delimiters: bool,
    /// Whether an address in a display name counts in addition to the one in angle brackets.
    names: bool,
}

/// The result of a reading.
#[derive(Debug, Default)]
struct Outcome {
    /// Whether it has found a new domain.
    is_new: bool,
    /// Whether a comment or quoted string has an escape.
    has_escape: bool,
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
            b'(' if self.reading.delimiters => self.skip(Delimited::Comment),
            b'"' if self.reading.delimiters => self.skip(Delimited::QuotedString),
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
            b'\\' => self.authors.note(AuthorFault::Character),
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
        let mut text = Vec::new();
        loop {
            let rest = &self.octets[self.at..];
            let length = rest.iter().take_while(|octet| is_in_domain(**octet)).count();
            text.extend_from_slice(&rest[..length]);
            self.at += length;
            let end = self.at;
            self.skip_blanks();
            let next = self.peek();
            let goes_on =
                next == Some(b'.') || text.ends_with(b".") && next.is_some_and(is_in_domain);
            if end == self.at || !goes_on {
                break;
            }
            // Obsolete syntax. Other programs may take the part before the blank for the domain.
            let before = text.strip_suffix(b".").unwrap_or(&text);
            if before.contains(&b'.') {
                self.found(before.to_vec());
            }
        }
        if self.peek() == Some(b'@') || text.is_empty() {
            self.authors.note(AuthorFault::Address);
        }
        if !text.is_empty() {
            self.found(text);
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
        match self.in_angle || self.reading.names {
            true => self.outcome.is_new |= domain::add(&domain, self.authors),
            false => self.names.push(domain),
        }
    }

    /// Ends an element of the list.
    fn end_element(&mut self) {
        let names = std::mem::take(&mut self.names);
        if !self.has_angle {
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
                (b'(', Delimited::Comment) => depth += 1,
                (b')', Delimited::Comment) | (b'"', Delimited::QuotedString) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
        self.authors.note(match delimited {
            Delimited::Comment => AuthorFault::Comment,
            Delimited::QuotedString => AuthorFault::QuotedString,
        });
        self.reading.delimiters = false;
        self.at = begin;
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b'(' if self.reading.delimiters => {
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
