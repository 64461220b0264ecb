//! A signer for tests, and the canonical forms in their simplest implementation. It shares no code with
//! the crate.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};

/// A canonicalization algorithm (RFC 6376 section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Simple,
    Relaxed,
}

use Form::{Relaxed, Simple};

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Simple => "simple",
            Relaxed => "relaxed",
        }
    }

    /// Returns a field, which ends with CRLF.
    pub fn field(self, field: &str) -> String {
        let (name, value) = field.split_once(':').unwrap();
        let spaces = [' ', '\t', '\r', '\n'];
        let words: Vec<_> = value.split(spaces).filter(|word| !word.is_empty()).collect();
        match self {
            Simple => field.to_owned(),
            Relaxed => {
                format!("{}:{}\r\n", name.trim_end_matches(spaces).to_lowercase(), words.join(" "))
            }
        }
    }

    /// Returns a body, whose lines end with CRLF.
    pub fn body(self, body: &str) -> String {
        let mut lines: Vec<_> = body.split("\r\n").map(str::to_owned).collect();
        if self == Relaxed {
            for line in &mut lines {
                let begins = line.starts_with([' ', '\t']);
                let words: Vec<_> = line.split([' ', '\t']).filter(|it| !it.is_empty()).collect();
                let words = words.join(" ");
                *line = if begins && !words.is_empty() { format!(" {words}") } else { words };
            }
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        match (self, lines.is_empty()) {
            (Relaxed, true) => String::new(),
            _ => lines.join("\r\n") + "\r\n",
        }
    }
}

/// A key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Rsa512,
    Rsa1024,
    Rsa2048,
    Rsa4096,
    Ed25519,
}

impl Key {
    /// Returns the algorithm of its signatures, for `a=`.
    pub fn algorithm(self) -> &'static str {
        if self == Self::Ed25519 { "ed25519-sha256" } else { "rsa-sha256" }
    }

    /// Returns the public key, for `p=`.
    pub fn public(self) -> String {
        match self {
            Self::Ed25519 => base64(self.ed25519().public_key().as_ref()),
            _ => {
                let [modulus, exponent, _] = self.integers();
                let key = [der(0x02, modulus), der(0x02, exponent)].concat();
                let bits = [&[0][..], &der(0x30, &key)].concat();
                let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
                base64(&der(0x30, &[der(0x30, oid), der(0x03, &bits)].concat()))
            }
        }
    }

    /// Returns a key record.
    pub fn record(self) -> String {
        let kind = if self == Self::Ed25519 { "ed25519" } else { "rsa" };
        format!("v=DKIM1; k={kind}; p={}", self.public())
    }

    pub fn sign(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519 => {
                self.ed25519().sign(digest(&SHA256, octets).as_ref()).as_ref().to_vec()
            }
            Self::Rsa2048 | Self::Rsa4096 => {
                let pair = RsaKeyPair::from_der(self.private()).unwrap();
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, octets, &mut signature).unwrap();
                signature
            }
            // ring does not sign with keys as small as these.
            _ => {
                let [modulus, _, exponent] = self.integers();
                let length = modulus.len() - 1;
                let info =
                    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
                let hash = digest(&SHA256, octets);
                let mut padded = vec![0xff; length - info.len() - 32];
                padded[..2].copy_from_slice(&[0, 1]);
                *padded.last_mut().unwrap() = 0;
                padded.extend_from_slice(info);
                padded.extend_from_slice(hash.as_ref());
                power(&padded, exponent, modulus)
            }
        }
    }

    fn ed25519(self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    /// Returns an RSAPrivateKey in DER.
    fn private(self) -> &'static [u8] {
        match self {
            Self::Rsa512 => include_bytes!("keys/rsa-512.der"),
            Self::Rsa1024 => include_bytes!("keys/rsa-1024.der"),
            Self::Rsa4096 => include_bytes!("keys/rsa-4096.der"),
            _ => include_bytes!("keys/rsa-2048.der"),
        }
    }

    /// Returns modulus, public exponent and private exponent.
    fn integers(self) -> [&'static [u8]; 3] {
        let (mut rest, _) = element(self.private());
        [(); 4].map(|()| {
            let (integer, more) = element(rest);
            rest = more;
            integer
        })[1..]
            .try_into()
            .unwrap()
    }
}

/// A signature to make.
#[derive(Debug, Clone)]
pub struct Sign<'s> {
    /// Name of the field.
    pub name: &'s str,
    pub key: Key,
    pub header: Form,
    pub body: Form,
    /// Octets of the canonical body that are signed.
    pub length: Option<usize>,
    /// The names that are signed, as in `h=`.
    pub names: &'s str,
    /// The value of the field, with `{bh}` and `{b}` for the hash and the signature.
    pub tags: &'s str,
}

impl Sign<'_> {
    /// Returns the signature field for a message.
    pub fn field(&self, message: &str) -> String {
        let (fields, body) = split(message);
        let field = format!("{}: {}", self.name, self.tags.replace("{bh}", &self.hash(body)));
        // The signature is deleted with the white space around it (RFC 6376 section 3.7).
        let without = match field.split_once("{b}") {
            Some((before, after)) => before.trim_end().to_owned() + after.trim_start(),
            None => field.clone(),
        };
        let selected = select(&fields, self.names);
        let mut signed: String = selected.iter().map(|field| self.header.field(field)).collect();
        let own = self.header.field(&(without + "\r\n"));
        signed += own.strip_suffix("\r\n").unwrap();
        field.replace("{b}", &base64(&self.key.sign(signed.as_bytes()))) + "\r\n"
    }

    fn hash(&self, body: &str) -> String {
        let body = self.body.body(body);
        let end = self.length.unwrap_or(body.len());
        base64(digest(&SHA256, &body.as_bytes()[..end]).as_ref())
    }
}

/// Adds an ARC set to a message. It is signed with Ed25519 as `s._domainkey.example.org`. `results` is
/// the end of `ARC-Authentication-Results`, and `tags` are those of `ARC-Message-Signature` that say
/// what it covers, `{bh}` among them.
pub fn seal(message: &str, instance: usize, results: &str, tags: &str) -> String {
    let tag = |name: &str| {
        let mut tags = tags.split(';').filter_map(|tag| tag.split_once('='));
        tags.find(|(it, _)| it.trim() == name).map(|(_, value)| value.trim())
    };
    let sign = |name: &str, names: &str, tags: &str, below: &str| {
        let tags = format!("i={instance}; a=ed25519-sha256; d=example.org; s=s; {tags} b={{b}}");
        let length = tag("l").map(|length| length.parse().unwrap());
        let (header, body) = (Relaxed, Relaxed);
        Sign { name, key: Key::Ed25519, header, body, length, names, tags: &tags }.field(below)
            + below
    };
    let text = format!("ARC-Authentication-Results: i={instance}; {results}\r\n{message}");
    let text = sign("ARC-Message-Signature", tag("h").unwrap_or_default(), tags, &text);
    let one = "arc-authentication-results:arc-message-signature:arc-seal:";
    let names = &one.repeat(instance)[..one.len() * instance - "arc-seal:".len()];
    let status = if instance == 1 { "cv=none;" } else { "cv=pass;" };
    sign("ARC-Seal", names, status, &text)
}

/// Returns the fields of a message, each with its CRLF, and its body.
pub fn split(message: &str) -> (Vec<String>, &str) {
    let (header, body) = match message.split_once("\r\n\r\n") {
        Some((header, body)) => (header.to_owned() + "\r\n", body),
        None => (message.to_owned(), ""),
    };
    let mut fields: Vec<String> = Vec::new();
    for line in header.split_inclusive("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => field.push_str(line),
            _ => fields.push(line.to_owned()),
        }
    }
    (fields, body)
}

/// Returns the fields that `h=` selects (RFC 6376 section 5.4.2).
pub fn select<'f>(fields: &'f [String], names: &str) -> Vec<&'f str> {
    let mut left: Vec<_> = fields.iter().map(String::as_str).collect();
    let is = |field: &&str, name: &str| {
        field.split(':').next().is_some_and(|it| it.trim_end().eq_ignore_ascii_case(name))
    };
    let names = names.split(':').map(str::trim);
    names
        .filter_map(|name| left.iter().rposition(|field| is(field, name)).map(|at| left.remove(at)))
        .collect()
}

pub fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        let bits = bits << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            let _ = text.write_char(if at <= three.len() { digit } else { '=' });
        }
    }
    text
}

fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = (value.len() as u16).to_be_bytes();
    [&[tag, 0x82, high, low], value].concat()
}

/// Returns the value of a DER element and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (begin, length) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        short => (2, usize::from(short)),
    };
    der[begin..].split_at(length)
}

/// Returns a power modulo a number. All numbers are big-endian.
fn power(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let words = |octets: &[u8]| -> Vec<u32> {
        let octets = &octets[octets.len() % 4..];
        octets.rchunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect()
    };
    let (base, modulus) = (words(base), words(modulus));
    let mut result = vec![0; modulus.len()];
    result[0] = 1;
    for octet in exponent {
        for bit in (0..8).rev() {
            result = product(&result, &result, &modulus);
            if octet >> bit & 1 == 1 {
                result = product(&result, &base, &modulus);
            }
        }
    }
    result.iter().rev().flat_map(|word| word.to_be_bytes()).collect()
}

/// Returns a product modulo a number, by doubling and adding.
fn product(one: &[u32], other: &[u32], modulus: &[u32]) -> Vec<u32> {
    let mut sum = vec![0; modulus.len()];
    let add = |to: &mut Vec<u32>, number: &[u32]| {
        let mut carry = 0;
        for (word, more) in to.iter_mut().zip(number) {
            carry += u64::from(*word) + u64::from(*more);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 || to.iter().rev().ge(modulus.iter().rev()) {
            let mut borrow = 0_i64;
            for (word, less) in to.iter_mut().zip(modulus) {
                borrow += i64::from(*word) - i64::from(*less);
                *word = borrow as u32;
                borrow >>= 32;
            }
        }
    };
    for word in one.iter().rev() {
        for bit in (0..32).rev() {
            let twice = sum.clone();
            add(&mut sum, &twice);
            if word >> bit & 1 == 1 {
                add(&mut sum, other);
            }
        }
    }
    sum
}
