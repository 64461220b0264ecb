//! ARC chain validation (RFC 8617).
//!
//! A chain passes if it is complete, its newest `ARC-Message-Signature` and all its `ARC-Seal` fields
//! verify, and each seal says that the chain before it was valid. Older message signatures are not
//! verified: forwarders change messages (section 5.2).
//!
//! As in the test suite of ValiMail, `ARC-Message-Signature` is in relaxed form if it has no `c=`, and
//! its `h=` may be empty. The newest signature then signs the body, but no field except its own. The
//! seals sign the ARC fields only, so nothing protects `From` in such a chain. An `h=` with names must
//! have `from` (RFC 6376 section 5.4).
//!
//! As in DKIM, the newest message signature expires 5 minutes after `x=`. `t=` in the future is
//! ignored.
//!
//! RFC 8617 may be reclassified as historic. Nothing else depends on this module.

mod set;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use ring::digest;

use super::body::BodyHash;
use super::canonicalization::Canonicalization;
use super::content::{Content, Header, HeaderFault};
use super::key::{KeyFault, Keys, Signed};
use super::signature::SignatureFault;
use super::tags::TagFault;
use crate::dns::DomainName;
use set::Set;

/// Maximum number of sets (RFC 8617 section 4.2.1).
const SETS: usize = 50;
/// Maximum length of the values of all ARC fields, in octets. Each seal signs all sets before it, so
/// the octets to hash grow with the product of length and sets.
const OCTETS: usize = 64 << 10;

/// The ARC chain of a message.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::UNIX_EPOCH;
/// # use nobounce::{Envelope, Message, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::message::MailData;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(Peer::local()), ReversePath::parse("<>")?);
/// # let data = MailData::normalise(b"ARC-Seal: i=1; cv=none\r\nFrom: a@example.org\r\n\r\nHello!\r\n");
/// # let message = Message::new("mx.example.net", &envelope, UNIX_EPOCH, data);
/// use nobounce::authentication::arc::{Chain, ChainResult};
/// use nobounce::authentication::{Content, Keys};
///
/// // `ARC-Seal: i=1; cv=none` without the other two fields of a set.
/// let chain = Chain::read(&Content::read(&message));
/// assert_eq!(chain.key_names().count(), 0);
/// let validation = chain.verify(&Keys::default(), UNIX_EPOCH);
/// assert_eq!(validation.result, ChainResult::Fail);
/// assert_eq!(validation.reason.as_deref(), Some("set 1 is incomplete"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    header: Arc<Header>,
    /// The sets of the chain. Empty if they could not be read.
    sets: Arc<[Set]>,
    /// Reason why the chain cannot pass with any keys.
    fault: Option<ChainFault>,
}

/// Outcome of the validation of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainValidation {
    /// The result.
    pub result: ChainResult,
    /// Number of sets. 0 if a set is malformed or missing.
    pub instance: usize,
    /// Domains of the seals (`d=`), the first one first, in A-labels. Empty if `instance` is 0.
    /// They are verified only if the chain passed. Trust the recorded results only if you trust all
    /// sealers.
    pub sealers: Vec<DomainName>,
    /// Reason why the chain did not pass.
    pub reason: Option<Box<str>>,
}

/// Validation result of a chain. Displayed as in an `Authentication-Results` field.
///
/// ```
/// use nobounce::authentication::arc::ChainResult;
///
/// assert_eq!(ChainResult::Pass.to_string(), "pass");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChainResult {
    /// The message has no chain.
    None,
    /// The chain is valid.
    Pass,
    /// The chain is invalid, or its newest seal says so. Treat the message as one without a chain.
    Fail,
    /// A key could not be looked up. A retry may succeed.
    TempError,
}

/// Reason why a chain does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ChainFault {
    #[error(transparent)]
    Header(#[from] HeaderFault),
    #[error("more than {SETS} sets")]
    TooMany,
    #[error("the ARC fields have more than {OCTETS} octets")]
    TooLong,
    #[error("an {0} field: {1}")]
    Tags(&'static str, TagFault),
    #[error("an {0} field without a valid i=")]
    Instance(&'static str),
    #[error("set {0} has two {1} fields")]
    Duplicate(usize, &'static str),
    #[error("set {0} is incomplete")]
    Incomplete(usize),
    #[error("ARC-Seal of set {0}: {1}")]
    Seal(usize, SignatureFault),
    #[error("ARC-Message-Signature of set {0}: {1}")]
    Signature(usize, SignatureFault),
    #[error("ARC-Message-Signature of set {0} signs ARC-Seal")]
    SignsSeal(usize),
    #[error("ARC-Seal of set {0} has h=")]
    SealNamesFields(usize),
    #[error("ARC-Seal of set {0} has the wrong cv=")]
    Status(usize),
    #[error("ARC-Seal of set {0} says that the chain is invalid")]
    SaysFail(usize),
    #[error("ARC-Message-Signature of set {0}: the body hash does not match")]
    Body(usize),
    #[error("ARC-Message-Signature of set {0}: l= does not cover the whole body")]
    Partial(usize),
    #[error("ARC-Message-Signature of set {0}: the signature has expired")]
    Expired(usize),
    #[error("ARC-Message-Signature of set {0}: {1}")]
    SignatureKey(usize, KeyFault),
    #[error("ARC-Seal of set {0}: {1}")]
    SealKey(usize, KeyFault),
}

impl Chain {
    /// Parses the chain, and hashes the body. The body is not read again if
    /// [`dkim::Signatures`](super::dkim::Signatures) has hashed it in the same canonical form.
    pub fn read(content: &Content) -> Self {
        let header = content.header();
        let (sets, fault) = match set::read(header) {
            Ok(sets) => {
                let fault = sets.last().and_then(|newest| {
                    let coverage = &newest.coverage;
                    let hashes = content.hash_body(&[(coverage.body, coverage.length)]);
                    let body = hashes.into_iter().next().unwrap_or_default();
                    newest_covers(sets.len(), newest, &body).err()
                });
                (sets, fault)
            }
            Err(fault) => (Vec::new(), Some(fault)),
        };
        Self { header: header.clone(), sets: sets.into(), fault }
    }

    /// Returns the names whose TXT records are needed, at most 51. A chain that cannot pass needs none.
    /// The same name may occur several times.
    pub fn key_names(&self) -> impl Iterator<Item = &DomainName> {
        let sets = if self.fault.is_none() { &*self.sets } else { &[] };
        let newest = sets.last().map(|set| &set.signer.key);
        newest.into_iter().chain(sets.iter().map(|set| &set.sealer.key))
    }

    /// Validates the chain. `now` decides whether its newest message signature has expired.
    pub fn verify(&self, keys: &Keys, now: SystemTime) -> ChainValidation {
        let sets = &*self.sets;
        let outcome = match &self.fault {
            None => self.validate(sets, keys, now),
            Some(fault) => Err(fault.clone()),
        };
        let result = match &outcome {
            Ok(()) if sets.is_empty() => ChainResult::None,
            Ok(()) => ChainResult::Pass,
            Err(
                ChainFault::SealKey(_, KeyFault::Lookup(_))
                | ChainFault::SignatureKey(_, KeyFault::Lookup(_)),
            ) => ChainResult::TempError,
            Err(_) => ChainResult::Fail,
        };
        ChainValidation {
            result,
            instance: sets.len(),
            sealers: sets.iter().map(|set| set.sealer.domain.clone()).collect(),
            reason: outcome.err().map(|fault| fault.to_string().into()),
        }
    }

    fn validate(&self, sets: &[Set], keys: &Keys, now: SystemTime) -> Result<(), ChainFault> {
        let Some(newest) = sets.last() else { return Ok(()) };
        if newest.expiry.is_past(now) {
            return Err(ChainFault::Expired(sets.len()));
        }
        // A failure is final, so a key that could not be looked up only matters if all others verify.
        let mut unknown = Ok(());
        let mut note = |fault| match fault {
            ChainFault::SealKey(_, KeyFault::Lookup(_))
            | ChainFault::SignatureKey(_, KeyFault::Lookup(_)) => {
                unknown = Err(fault);
                Ok(())
            }
            fault => Err(fault),
        };
        let mut signed = Vec::new();
        let (signer, fields) = (&newest.signer, &newest.fields);
        newest.coverage.signed(&self.header, fields.signature, signer.place.clone(), &mut signed);
        let all = Signed::new(&signed);
        if let Err((fault, _)) = keys.verify(&signer.key, signer.algorithm, &all, &signer.signature)
        {
            note(ChainFault::SignatureKey(sets.len(), fault))?;
        }
        // A seal signs all sets before it and its own (RFC 8617 section 5.1.1).
        signed.clear();
        // Hash of the octets that all further seals sign, and the number of hashed octets.
        let (mut prefix, mut hashed) = (digest::Context::new(&digest::SHA256), 0);
        for (at, Set { fields, sealer, .. }) in sets.iter().enumerate() {
            for field in [fields.results, fields.signature] {
                self.header.append(field, Canonicalization::Relaxed, &mut signed);
            }
            let end = signed.len();
            prefix.update(&signed[hashed..]);
            hashed = end;
            self.header.append_without(
                fields.seal,
                sealer.place.clone(),
                Canonicalization::Relaxed,
                &mut signed,
            );
            let mut hash = prefix.clone();
            hash.update(&signed[end..]);
            let all = Signed::with_hash(&signed, hash.finish());
            if let Err((fault, _)) =
                keys.verify(&sealer.key, sealer.algorithm, &all, &sealer.signature)
            {
                note(ChainFault::SealKey(at + 1, fault))?;
            }
            signed.truncate(end);
            self.header.append(fields.seal, Canonicalization::Relaxed, &mut signed);
        }
        unknown
    }
}

/// Checks what the newest message signature says about the body.
fn newest_covers(instance: usize, newest: &Set, body: &BodyHash) -> Result<(), ChainFault> {
    if !newest.coverage.matches(body) {
        return Err(ChainFault::Body(instance));
    }
    if !body.whole {
        return Err(ChainFault::Partial(instance));
    }
    Ok(())
}

impl fmt::Display for ChainResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
        })
    }
}
