//! The tags that `DKIM-Signature` and `ARC-Message-Signature` have in common (RFC 6376 section 3.5,
//! RFC 8617 section 4.1.2). `ARC-Seal` has some of them.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use super::base64;
use super::body::BodyHash;
use super::canonicalization::Canonicalization;
use super::content::Header;
use super::key::Algorithm;
use super::tags::{TagFault, Tags, elements, number};
use crate::dns::{DomainName, a_labels};

/// Maximum number of names in `h=`.
pub(super) const NAMES: usize = 1_000;
/// Maximum length of a domain name in a signature as it is written, in octets. U-labels (RFC 8616) are
/// longer than A-labels.
const DOMAIN: usize = 1_000;

/// Time after `x=` at which a signature expires, in seconds (OpenDKIM: `ClockDrift`).
const DRIFT: u64 = 300;

/// The signer, its key and its signature.
#[derive(Debug)]
pub(super) struct Signer {
    /// Domain of the signer (`d=`), in A-labels.
    pub(super) domain: DomainName,
    /// Selector (`s=`), in A-labels.
    pub(super) selector: DomainName,
    /// Name of the TXT record with the key.
    pub(super) key: DomainName,
    pub(super) algorithm: Algorithm,
    /// Signature (`b=`).
    pub(super) signature: Vec<u8>,
    /// Place of `b=` in the value of the field.
    pub(super) place: Range<usize>,
}

/// The parts of a message that a signature covers.
#[derive(Debug)]
pub(super) struct Coverage {
    pub(super) header: Canonicalization,
    pub(super) body: Canonicalization,
    /// Number of octets of the body that are signed (`l=`).
    pub(super) length: Option<u64>,
    /// Hash of the body (`bh=`).
    hash: Vec<u8>,
    /// Names of the signed fields (`h=`).
    names: Box<[u8]>,
}

/// Expiry time of a signature (`x=`), in seconds since 1970.
#[derive(Debug)]
pub(super) struct Expiry(Option<u64>);

/// Reason why a signature field is invalid. The signer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureFault {
    #[error(transparent)]
    Tags(#[from] TagFault),
    #[error("no {0}=")]
    Missing(&'static str),
    #[error("malformed {0}=")]
    Malformed(&'static str),
    #[error("unknown {0}=")]
    Unknown(&'static str),
    #[error("rsa-sha1 is not secure")]
    Sha1,
    #[error("h= without From")]
    NoFrom,
    #[error("more than {NAMES} names in h=")]
    TooManyNames,
    #[error("i= is not in the domain of d=")]
    ForeignIdentity,
    #[error("the signature expires before it is made")]
    Times,
}

/// Returns the value of a required tag, which must not be empty.
pub(super) fn required<'v>(
    tags: &Tags<'v>,
    name: &'static str,
) -> Result<&'v [u8], SignatureFault> {
    match tags.get(name) {
        None => Err(SignatureFault::Missing(name)),
        Some(b"") => Err(SignatureFault::Malformed(name)),
        Some(value) => Ok(value),
    }
}

/// Returns the value of a tag that contains a number, such as a time in seconds since 1970.
pub(super) fn optional_number(
    tags: &Tags<'_>,
    name: &'static str,
) -> Result<Option<u64>, SignatureFault> {
    let value = tags.get(name);
    value.map(|digits| number(digits).ok_or(SignatureFault::Malformed(name))).transpose()
}

impl Signer {
    pub(super) fn parse(tags: &Tags<'_>) -> Result<Self, SignatureFault> {
        let algorithm = match required(tags, "a")? {
            b"rsa-sha256" => Algorithm::RsaSha256,
            b"ed25519-sha256" => Algorithm::Ed25519Sha256,
            // RFC 8301 section 3.1.
            b"rsa-sha1" => return Err(SignatureFault::Sha1),
            _ => return Err(SignatureFault::Unknown("a")),
        };
        let signature = base64::decode(required(tags, "b")?);
        let signature = signature.ok_or(SignatureFault::Malformed("b"))?;
        let place = tags.place("b").ok_or(SignatureFault::Missing("b"))?;
        let domain = domain(required(tags, "d")?).ok_or(SignatureFault::Malformed("d"))?;
        let selector = self::domain(required(tags, "s")?).ok_or(SignatureFault::Malformed("s"))?;
        let key = domain.below(&[&selector, "._domainkey"].concat());
        let key = key.map_err(|_| SignatureFault::Malformed("s"))?;
        Ok(Self { domain, selector, key, algorithm, signature, place })
    }
}

impl Expiry {
    /// Parses `x=`, and checks `q=` and `t=`.
    pub(super) fn parse(tags: &Tags<'_>) -> Result<Self, SignatureFault> {
        let queries = tags.get("q").unwrap_or(b"dns/txt");
        if !elements(queries).any(|query| query == b"dns/txt") {
            return Err(SignatureFault::Unknown("q"));
        }
        let (made, expires) = (optional_number(tags, "t")?, optional_number(tags, "x")?);
        if made.zip(expires).is_some_and(|(made, expires)| expires <= made) {
            return Err(SignatureFault::Times);
        }
        Ok(Self(expires))
    }

    pub(super) fn is_past(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.0.is_some_and(|at| at.saturating_add(DRIFT) < now)
    }
}

impl Coverage {
    /// Parses `bh=`, `c=`, `h=` and `l=`. `default` is the canonicalization if there is no `c=`.
    pub(super) fn parse(
        tags: &Tags<'_>,
        default: Canonicalization,
    ) -> Result<Self, SignatureFault> {
        let hash = base64::decode(required(tags, "bh")?);
        let hash = hash.ok_or(SignatureFault::Malformed("bh"))?;
        let (header, body) = match tags.get("c") {
            None => (default, default),
            Some(value) => Canonicalization::parse(value).ok_or(SignatureFault::Unknown("c"))?,
        };
        let names = tags.get("h").ok_or(SignatureFault::Missing("h"))?;
        if names.iter().filter(|octet| **octet == b':').count() >= NAMES {
            return Err(SignatureFault::TooManyNames);
        }
        let length = optional_number(tags, "l")?;
        Ok(Self { header, body, length, hash, names: names.into() })
    }

    /// Returns whether `h=` has this name. The case is ignored.
    pub(super) fn signs(&self, name: &str) -> bool {
        elements(&self.names).any(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Returns whether `h=` is empty, so that no field is signed.
    pub(super) fn has_no_names(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn matches(&self, body: &BodyHash) -> bool {
        body.hash.is_some_and(|hash| hash[..] == self.hash[..])
    }

    /// Writes the octets that were signed: the fields of `h=`, and the signature field without its
    /// signature.
    pub(super) fn signed(
        &self,
        header: &Header,
        field: usize,
        signature: Range<usize>,
        to: &mut Vec<u8>,
    ) {
        to.clear();
        // Enough for most signatures.
        to.reserve(1 << 10);
        header.append_signed(elements(&self.names), field, self.header, to);
        header.append_without(field, signature, self.header, to);
    }
}

/// Parses a domain name, and converts U-labels to A-labels (RFC 8616 section 4).
pub(super) fn domain(text: &[u8]) -> Option<DomainName> {
    if text.len() > DOMAIN || text.ends_with(b".") {
        return None;
    }
    let name = a_labels(text)?;
    let name = str::from_utf8(&name).ok()?;
    name.parse().ok().filter(|_| !name.ends_with('.'))
}
