//! Messages of 1 MiB whose signatures are verified. They have as many signatures, names in `h=` or
//! fields as the bounds allow, and a body.

use std::time::{Duration, Instant, UNIX_EPOCH};

use nobounce::Message;
use nobounce::authentication::dkim::{SignatureResult, Signatures};
use nobounce::authentication::{Content, Keys};
use ring::digest::{SHA256, digest};

use crate::signed::{keys, message};
use crate::signer::{Form, Key, base64, select};

/// Size of each message.
const OCTETS: usize = 1 << 20;
const SIGNATURES: usize = 20;
/// A signature that does not match, whatever is signed.
const FALSE: &str = "TWFu";

/// Returns a field name.
type Name = fn(usize) -> String;

/// A message with many signatures. All of them are hashed, and none passes.
pub struct Hashed {
    pub label: &'static str,
    message: Message,
    keys: Keys,
    /// The octets that are hashed: the canonical body, and what each signature signs.
    pub octets: usize,
}

/// Times of one run.
pub struct Times {
    /// Parsing, canonicalization, hashing and verification.
    pub ours: Duration,
    /// SHA-256 of the same number of octets.
    pub sha256: Duration,
}

impl Hashed {
    /// Returns all messages.
    pub fn all() -> Vec<Self> {
        let different: Name = |at| format!("X{at:03}");
        let same: Name = |_| "Xxxx".into();
        let absent: Name = |_| "zzzz".into();
        let alike: Name = |at| format!("X-Alike-{at:03}");
        let absent_alike: Name = |_| "X-Alike-zzz".into();
        let value = |length: usize| "v".repeat(length);
        let text = "One line of text, with words as they stand in a letter, and no more.\r\n";
        let spaces = "One  line of text, with\ttwo spaces, tabs \t and spaces at its end.  \r\n";
        let new = Self::new;
        vec![
            new("signatures, names and fields", 999, different, different, &value(140), text),
            new("short fields", 999, different, different, "v", text),
            new("repeated names", 999, same, same, "v", text),
            new("names without a field", 999, absent, different, "v", text),
            new("names that begin alike", 999, alike, alike, "v", text),
            new("the same, without a field", 999, absent_alike, alike, "v", text),
            new("a long field", 1, different, different, &value(250_000), text),
            new("spaces in fields", 400, different, different, &"v \t w".repeat(80), text),
            new("spaces in the body", 10, different, different, "v", spaces),
        ]
    }

    fn new(
        label: &'static str,
        count: usize,
        name: Name,
        field: Name,
        value: &str,
        line: &str,
    ) -> Self {
        let relaxed = Form::Relaxed;
        let names: String = (0..count).map(|at| format!(":{}", name(at))).collect();
        let fields = (0..count).map(|at| format!("{}: {value}\r\n", field(at)));
        let fields: Vec<String> = fields.chain(["From: a@example.org\r\n".to_owned()]).collect();
        let names = format!("from{names}");
        let selected = select(&fields, &names).into_iter();
        let selected: usize = selected.map(|field| relaxed.field(field).len()).sum();
        let header = fields.concat();
        let body = line.repeat((OCTETS - header.len()) / line.len());
        let canonical = relaxed.body(&body);
        let hash = base64(digest(&SHA256, canonical.as_bytes()).as_ref());
        let signature = format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=s; \
             h={names}; bh={hash}; b={FALSE}\r\n"
        );
        let own = signature.len() - FALSE.len() - ": \r\n".len() + ":".len();
        let text = format!("{}{header}\r\n{body}", signature.repeat(SIGNATURES));
        Self {
            label,
            message: message(&text),
            keys: keys(&Key::Ed25519.record()),
            octets: canonical.len() + SIGNATURES * (own + selected),
        }
    }

    /// Verifies the message once, and returns the times.
    pub fn measure(&self) -> Times {
        let begin = Instant::now();
        let signatures = Signatures::read(&Content::read(&self.message));
        let results = signatures.verify(&self.keys, UNIX_EPOCH);
        let ours = begin.elapsed();
        assert!(results.len() == 20 && results.iter().all(|it| it.result == SignatureResult::Fail));
        assert!(
            results.iter().all(|it| it.reason.as_deref() == Some("the signature does not match"))
        );

        let octets = vec![b'x'; self.octets];
        let begin = Instant::now();
        std::hint::black_box(digest(&SHA256, &octets));
        Times { ours, sha256: begin.elapsed() }
    }
}
