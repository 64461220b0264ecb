//! DKIM verification (RFC 6376, RFC 8301, RFC 8463, RFC 8616).
//!
//! Decisions where the RFCs leave a choice:
//!
//! - A signature whose `l=` does not cover the whole body is `policy`, because anybody can append to
//!   the body (RFC 6376 section 8.2).
//! - A signature with an RSA key of fewer than 1,024 or more than 4,096 bits is `policy`. One with
//!   `rsa-sha1` is `permerror` (RFC 8301 section 3.1).
//! - Malformed and expired signatures, and those without a usable key, are `permerror`, as RFC 6376
//!   section 6.1 says (`PERMFAIL`). A signature with an unknown version, algorithm,
//!   canonicalization, query method or key type is `neutral`.
//! - A signature expires 5 minutes after `x=` (OpenDKIM: `ClockDrift`). `t=` in the future is ignored.
//! - If a name has several key records, the first two are tried (RFC 6376 section 6.1.2).
//! - `t=y` changes no result. See [`Verification::testing`].
//!
//! The first 20 signatures are evaluated, each with up to 1,000 names in `h=` and 100 tags. Signatures
//! beyond these bounds are `permerror`.

mod field;
mod result;

use std::sync::Arc;
use std::time::SystemTime;

use super::content::{Content, Header};
use super::key::{KeyRecord, Keys, Signed};
use crate::dns::DomainName;
use field::{Claims, DkimFault, Field};
pub use result::{SignatureResult, Verification};

/// Maximum number of signatures that are evaluated (OpenDKIM: `MaximumSignaturesToVerify`).
const SIGNATURES: usize = 20;

/// The DKIM signatures of a message.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::{Duration, UNIX_EPOCH};
/// # use nobounce::{Envelope, Message, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::message::MailData;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(Peer::local()), ReversePath::parse("<>")?);
/// # let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/authentication/rfc8463.eml")).replace('\n', "\r\n");
/// # let message = Message::new("mx.example.net", &envelope, UNIX_EPOCH, MailData::normalise(text.as_bytes()));
/// use nobounce::authentication::dkim::{SignatureResult, Signatures};
/// use nobounce::authentication::{Content, Keys};
/// use nobounce::dns::{Answer, Record};
///
/// // The message of RFC 8463 appendix A, signed with Ed25519 and RSA.
/// let signatures = Signatures::read(&Content::read(&message));
/// let names: Vec<_> = signatures.key_names().map(|name| name.to_string()).collect();
/// let football = "_domainkey.football.example.com";
/// assert_eq!(names, [format!("brisbane.{football}"), format!("test.{football}")]);
///
/// let record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
/// let record = Record::Txt(record.as_bytes().into());
/// let mut keys = Keys::default();
/// keys.insert(names[0].parse()?, Ok(Answer::new([record], Duration::from_secs(60))));
/// let results = signatures.verify(&keys, UNIX_EPOCH);
/// assert_eq!(results[0].result, SignatureResult::Pass);
/// assert_eq!(results[0].domain.as_deref(), Some("football.example.com"));
/// // Its key was not looked up.
/// assert_eq!(results[1].result, SignatureResult::TempError);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Signatures {
    header: Arc<Header>,
    signatures: Vec<Signature>,
}

/// A signature whose body hash was checked.
#[derive(Debug, Clone)]
struct Signature {
    claims: Claims,
    checked: Result<Arc<Checked>, DkimFault>,
}

/// A signature that may pass, if it verifies.
#[derive(Debug)]
struct Checked {
    place: usize,
    field: Field,
    /// Whether the whole body was hashed.
    whole: bool,
}

impl Signatures {
    /// Parses the `DKIM-Signature` fields, and hashes the body for all of them in one pass.
    pub fn read(content: &Content) -> Self {
        let header = content.header();
        let places = header.named("dkim-signature");
        let mut requests = Vec::new();
        let parse = |(nth, place): (usize, &usize)| {
            let (claims, parsed) = match header.fault() {
                _ if nth >= SIGNATURES => (Claims::default(), Err(DkimFault::TooMany)),
                Some(fault) => (Claims::default(), Err(fault.into())),
                None => Field::parse(header.value(*place)),
            };
            if let Ok(field) = &parsed {
                requests.push((field.coverage.body, field.coverage.length));
            }
            (claims, parsed.map(|field| (*place, field)))
        };
        let parsed: Vec<_> = places.iter().enumerate().map(parse).collect();
        let mut hashes = content.hash_body(&requests).into_iter();
        let check = |(claims, parsed): (Claims, Result<(usize, Field), DkimFault>)| {
            let checked = parsed.and_then(|(place, field)| {
                let body = hashes.next().unwrap_or_default();
                if body.hash.is_none() {
                    return Err(DkimFault::Length);
                }
                if !field.coverage.matches(&body) {
                    return Err(DkimFault::Body);
                }
                Ok(Arc::new(Checked { place, field, whole: body.whole }))
            });
            Signature { claims, checked }
        };
        let signatures = parsed.into_iter().map(check).collect();
        Self { header: header.clone(), signatures }
    }

    /// Returns the number of signatures.
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Returns whether the message has no signature.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// Returns the names whose TXT records are needed, at most 20. Signatures that cannot pass need
    /// none. The same name may occur several times.
    pub fn key_names(&self) -> impl Iterator<Item = &DomainName> {
        let checked = self.signatures.iter().filter_map(|it| it.checked.as_ref().ok());
        checked.map(|checked| &checked.field.signer.key)
    }

    /// Verifies all signatures. Returns a result for each, in the order of the fields. `now` decides
    /// which signatures have expired.
    pub fn verify(&self, keys: &Keys, now: SystemTime) -> Vec<Verification> {
        let mut signed = Vec::new();
        let verify = |signature: &Signature| {
            let (record, outcome) = match &signature.checked {
                Ok(checked) => checked.verify(&self.header, keys, now, &mut signed),
                Err(fault) => (None, Err(fault.clone())),
            };
            signature.claims.verification(record.is_some_and(|it| it.testing), outcome)
        };
        self.signatures.iter().map(verify).collect()
    }
}

impl Checked {
    /// Verifies the signature. Also returns the key record that was used.
    fn verify<'k>(
        &self,
        header: &Header,
        keys: &'k Keys,
        now: SystemTime,
        signed: &mut Vec<u8>,
    ) -> (Option<&'k KeyRecord>, Result<(), DkimFault>) {
        let Field { signer, coverage, expiry, is_subdomain } = &self.field;
        if expiry.is_past(now) {
            return (None, Err(DkimFault::Expired));
        }
        coverage.signed(header, self.place, signer.place.clone(), signed);
        let signed = Signed::new(signed);
        match keys.verify(&signer.key, signer.algorithm, &signed, &signer.signature) {
            Err((fault, record)) => (record, Err(fault.into())),
            Ok(record) if record.strict && *is_subdomain => {
                (Some(record), Err(DkimFault::StrictIdentity))
            }
            Ok(record) if !self.whole => (Some(record), Err(DkimFault::Partial)),
            Ok(record) => (Some(record), Ok(())),
        }
    }
}
