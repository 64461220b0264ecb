//! Public keys in DNS (RFC 6376 section 3.6.1, RFC 8463).

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{Digest, SHA256, digest};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use super::base64;
use super::tags::{Tags, elements};
use crate::dns::{Answer, DomainName, Record, ResolveError};

/// Maximum number of key records of one name that are tried. RFC 6376 section 3.6.2.2 allows one. A
/// second one helps during a change of keys. Each record costs a verification.
pub(super) const RECORDS: usize = 2;
/// Sizes of RSA keys that are accepted, in bits. RFC 8301 section 3.2 requires support of 1,024 to
/// 4,096. Verification with 8,192 bits, the maximum of ring, costs four times as much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1_024..=4_096;

/// The public keys of a message's signatures, by the names of their TXT records.
///
/// ```
/// use std::time::Duration;
/// use nobounce::authentication::Keys;
/// use nobounce::dns::{Answer, DomainName, Record};
///
/// let name: DomainName = "2026._domainkey.example.org".parse()?;
/// let mut keys = Keys::default();
/// let record = Record::Txt(b"v=DKIM1; k=rsa; p="[..].into());
/// keys.insert(name.clone(), Ok(Answer::new([record], Duration::from_secs(60))));
/// assert!(keys.contains(&name));
/// # Ok::<(), nobounce::dns::DomainNameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<DomainName, Lookup>);

/// The keys under a name.
#[derive(Debug)]
enum Lookup {
    /// Key records. If a name has no usable record, the fault of its first record.
    Records(Arc<KeyRecords>),
    Failed(Box<str>),
}

type KeyRecords = Vec<Result<KeyRecord, KeyFault>>;

/// A key record.
#[derive(Debug)]
pub(super) struct KeyRecord {
    key: PublicKey,
    /// Whether `h=` allows SHA-256.
    sha256: bool,
    /// Whether `s=` allows mail.
    email: bool,
    /// Whether the domain is testing DKIM (`t=y`).
    pub(super) testing: bool,
    /// Whether the domain of `i=` must equal that of `d=` (`t=s`).
    pub(super) strict: bool,
}

#[derive(Debug)]
enum PublicKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    Ed25519([u8; 32]),
    /// An empty `p=`.
    Revoked,
}

/// Algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    RsaSha256,
    Ed25519Sha256,
}

/// The octets that a signature signs.
#[derive(Debug)]
pub(super) struct Signed<'s> {
    octets: &'s [u8],
    /// SHA-256 of the octets, computed once for all keys.
    hash: OnceCell<Digest>,
}

/// Reason why a signature does not verify with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    #[error("key lookup: {0}")]
    Lookup(Box<str>),
    #[error("no key")]
    NoKey,
    #[error("malformed key record")]
    Malformed,
    #[error("key record of another version")]
    Version,
    #[error("unknown key type")]
    UnknownType,
    #[error("the key was revoked")]
    Revoked,
    #[error("the key is of another type than the signature")]
    OtherType,
    #[error("the key is not for SHA-256")]
    OtherHash,
    #[error("the key is not for mail")]
    OtherService,
    #[error("an RSA key of {0} bits")]
    Size(usize),
    #[error("the signature does not match")]
    Mismatch,
}

impl<'s> Signed<'s> {
    pub(super) fn new(octets: &'s [u8]) -> Self {
        Self { octets, hash: OnceCell::new() }
    }

    /// Creates the signed octets with their SHA-256, so that they are not hashed again.
    pub(super) fn with_hash(octets: &'s [u8], hash: Digest) -> Self {
        Self { octets, hash: hash.into() }
    }
}

impl Keys {
    /// Adds the result of a lookup of TXT records. The first two key records of each name are used.
    /// Other records are ignored.
    pub fn insert(&mut self, name: DomainName, answer: Result<Answer, ResolveError>) {
        let lookup = match answer {
            // Always smaller than the records.
            Ok(answer) => Lookup::Records(answer.parsed(key_records, |_| true)),
            Err(error) => Lookup::Failed(error.to_string().into()),
        };
        self.0.insert(name, lookup);
    }

    /// Returns whether this name was looked up.
    pub fn contains(&self, name: &DomainName) -> bool {
        self.0.contains_key(name)
    }

    /// Verifies a signature of these octets with the keys under this name. Returns the key record
    /// with which it verifies.
    pub(super) fn verify(
        &self,
        name: &DomainName,
        algorithm: Algorithm,
        signed: &Signed<'_>,
        signature: &[u8],
    ) -> Result<&KeyRecord, (KeyFault, Option<&KeyRecord>)> {
        let records = match self.0.get(name) {
            Some(Lookup::Records(records)) => &**records,
            Some(Lookup::Failed(error)) => return Err((KeyFault::Lookup(error.clone()), None)),
            None => return Err((KeyFault::Lookup("not looked up".into()), None)),
        };
        let mut worst = (KeyFault::NoKey, None);
        for record in records {
            match record {
                Err(fault) => worst = (fault.clone(), None),
                Ok(record) => match record.verify(algorithm, signed, signature) {
                    Ok(()) => return Ok(record),
                    // A mismatch with a suitable key is a better reason than an unsuitable key.
                    Err(fault) if worst.0 != KeyFault::Mismatch => worst = (fault, Some(record)),
                    Err(_) => {}
                },
            }
        }
        Err(worst)
    }
}

/// Parses the key records of a name.
fn key_records(records: &[Record]) -> KeyRecords {
    let texts = records.iter().filter_map(|record| match record {
        Record::Txt(text) => Some(KeyRecord::parse(text)),
        _ => None,
    });
    // The fault of a malformed or foreign record is kept only if there is no key.
    let (mut keys, mut faults): (Vec<_>, Vec<_>) = texts.partition(Result::is_ok);
    keys.truncate(RECORDS);
    faults.truncate(usize::from(keys.is_empty()));
    if keys.is_empty() { faults } else { keys }
}

impl KeyRecord {
    /// Parses a key record. Unknown tags, flags, hashes and services are ignored.
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeyFault> {
        let tags = Tags::parse(text).map_err(|_| KeyFault::Malformed)?;
        if tags.get("v").is_some_and(|version| version != b"DKIM1") {
            return Err(KeyFault::Version);
        }
        let has = |tag: &str, element: &[u8]| {
            tags.get(tag).map(|list| elements(list).any(|it| it == element))
        };
        let kind = tags.get("k").unwrap_or(b"rsa");
        let key = base64::decode(tags.get("p").ok_or(KeyFault::Malformed)?);
        let key = key.ok_or(KeyFault::Malformed)?;
        let key = match kind {
            b"rsa" | b"ed25519" if key.is_empty() => PublicKey::Revoked,
            b"rsa" => rsa(&key).ok_or(KeyFault::Malformed)?,
            b"ed25519" => PublicKey::Ed25519(key.try_into().map_err(|_| KeyFault::Malformed)?),
            _ => return Err(KeyFault::UnknownType),
        };
        Ok(Self {
            key,
            sha256: has("h", b"sha256").unwrap_or(true),
            email: has("s", b"*").unwrap_or(true) || has("s", b"email").unwrap_or(true),
            testing: has("t", b"y").unwrap_or(false),
            strict: has("t", b"s").unwrap_or(false),
        })
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        signed: &Signed<'_>,
        signature: &[u8],
    ) -> Result<(), KeyFault> {
        if !self.email {
            return Err(KeyFault::OtherService);
        }
        let verified = match (&self.key, algorithm) {
            (PublicKey::Revoked, _) => return Err(KeyFault::Revoked),
            _ if !self.sha256 => return Err(KeyFault::OtherHash),
            (PublicKey::Rsa { modulus, exponent }, Algorithm::RsaSha256) => {
                let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
                if !RSA_BITS.contains(&bits) {
                    return Err(KeyFault::Size(bits));
                }
                let algorithm = &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(algorithm, signed.octets, signature)
            }
            // Signs the hash (RFC 8463 section 3).
            (PublicKey::Ed25519(key), Algorithm::Ed25519Sha256) => {
                let hash = signed.hash.get_or_init(|| digest(&SHA256, signed.octets));
                UnparsedPublicKey::new(&signature::ED25519, key).verify(hash.as_ref(), signature)
            }
            _ => return Err(KeyFault::OtherType),
        };
        verified.map_err(|_| KeyFault::Mismatch)
    }
}

/// Parses an RSA key in DER: a SubjectPublicKeyInfo (RFC 5280), or the RSAPublicKey in it (RFC 8017),
/// which RFC 6376 names.
fn rsa(der: &[u8]) -> Option<PublicKey> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    /// rsaEncryption.
    const OID: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

    let whole = |(value, rest): (_, &[u8])| rest.is_empty().then_some(value);
    let mut key = whole(element(SEQUENCE, der)?)?;
    if let Some((algorithm, rest)) = element(SEQUENCE, key) {
        algorithm.starts_with(OID).then_some(())?;
        let bits = whole(element(BIT_STRING, rest)?)?;
        key = whole(element(SEQUENCE, bits.strip_prefix(&[0])?)?)?;
    }
    let (modulus, rest) = element(INTEGER, key)?;
    let exponent = whole(element(INTEGER, rest)?)?;
    // Neither is negative, and ring expects no leading zeros.
    let positive = |integer: &[u8]| {
        let is_positive = integer.first()? & 0x80 == 0;
        let begin = integer.iter().position(|octet| *octet != 0)?;
        is_positive.then(|| integer[begin..].to_vec())
    };
    Some(PublicKey::Rsa { modulus: positive(modulus)?, exponent: positive(exponent)? })
}

/// Returns the value of a DER element with this tag, and the octets after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
