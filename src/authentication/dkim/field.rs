//! The `DKIM-Signature` field (RFC 6376 section 3.5).

use super::result::{SignatureResult, Verification};
use crate::authentication::canonicalization::Canonicalization;
use crate::authentication::content::HeaderFault;
use crate::authentication::key::KeyFault;
use crate::authentication::signature::{
    Coverage, Expiry, SignatureFault, Signer, domain, required,
};
use crate::authentication::tags::{Tags, trim};
use crate::dns::DomainName;

/// Maximum length of `i=`, in octets: a local part (RFC 5321 section 4.5.3.1.1) in quoted-printable,
/// and a domain name.
const IDENTITY: usize = 512;

/// A signature that is valid so far.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) signer: Signer,
    pub(super) coverage: Coverage,
    pub(super) expiry: Expiry,
    /// Whether the domain of `i=` is below that of `d=`.
    pub(super) is_subdomain: bool,
}

/// The readable properties of a signature.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    domain: Option<DomainName>,
    selector: Option<DomainName>,
    identity: Option<Box<str>>,
    algorithm: Option<Box<str>>,
    signature: Option<Box<str>>,
}

/// Reason why a signature does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DkimFault {
    #[error("more than {} signatures", super::SIGNATURES)]
    TooMany,
    #[error(transparent)]
    Header(#[from] HeaderFault),
    #[error(transparent)]
    Signature(#[from] SignatureFault),
    #[error("the body hash does not match")]
    Body,
    #[error("l= exceeds the length of the body")]
    Length,
    #[error("l= does not cover the whole body")]
    Partial,
    #[error("the signature has expired")]
    Expired,
    #[error("the key does not allow subdomains in i=")]
    StrictIdentity,
    #[error(transparent)]
    Key(#[from] KeyFault),
}

impl DkimFault {
    fn result(&self) -> SignatureResult {
        match self {
            Self::Body | Self::Key(KeyFault::Mismatch) => SignatureResult::Fail,
            Self::Partial | Self::Key(KeyFault::Size(_)) => SignatureResult::Policy,
            Self::Signature(SignatureFault::Unknown(_)) | Self::Key(KeyFault::UnknownType) => {
                SignatureResult::Neutral
            }
            Self::Key(KeyFault::Lookup(_)) => SignatureResult::TempError,
            _ => SignatureResult::PermError,
        }
    }
}

impl Field {
    pub(super) fn parse(value: &[u8]) -> (Claims, Result<Self, DkimFault>) {
        match Tags::parse(value) {
            Ok(tags) => {
                let field = Self::read(&tags);
                let signer = field.as_ref().ok().map(|field| &field.signer);
                (Claims::read(&tags, signer), field.map_err(DkimFault::from))
            }
            Err(fault) => (Claims::default(), Err(SignatureFault::from(fault).into())),
        }
    }

    fn read(tags: &Tags<'_>) -> Result<Self, SignatureFault> {
        // The meaning of the other tags depends on the version.
        if required(tags, "v")? != b"1" {
            return Err(SignatureFault::Unknown("v"));
        }
        let signer = Signer::parse(tags)?;
        let coverage = Coverage::parse(tags, Canonicalization::Simple)?;
        if !coverage.signs("from") {
            return Err(SignatureFault::NoFrom);
        }
        let expiry = Expiry::parse(tags)?;
        let is_subdomain = match tags.get("i") {
            None => false,
            Some(identity) => is_below(identity, &signer.domain)?,
        };
        Ok(Self { signer, coverage, expiry, is_subdomain })
    }
}

/// Returns whether the domain of `i=` is below this one. Otherwise, it is the same.
fn is_below(identity: &[u8], signer: &DomainName) -> Result<bool, SignatureFault> {
    let at = identity.iter().rposition(|octet| *octet == b'@');
    let at = at.filter(|_| identity.len() <= IDENTITY).ok_or(SignatureFault::Malformed("i"))?;
    let name = domain(trim(&identity[at + 1..])).ok_or(SignatureFault::Malformed("i"))?;
    if !name.is_within(signer) {
        return Err(SignatureFault::ForeignIdentity);
    }
    Ok(name != *signer)
}

impl Claims {
    /// Reads the properties. `signer` has the names of a valid signature.
    fn read(tags: &Tags<'_>, signer: Option<&Signer>) -> Self {
        let name = |tag| domain(tags.get(tag)?);
        let (domain, selector) = match signer {
            Some(signer) => (Some(signer.domain.clone()), Some(signer.selector.clone())),
            None => (name("d"), name("s")),
        };
        let text = |tag: &str, most: usize| {
            let value = tags.get(tag)?;
            if value.len() <= most && value.iter().all(u8::is_ascii_graphic) {
                return Some(String::from_utf8_lossy(value).into());
            }
            let solid = value.iter().filter(|octet| !octet.is_ascii_whitespace()).take(most);
            Some(String::from_utf8_lossy(&solid.copied().collect::<Vec<_>>()).into())
        };
        let default = domain.as_ref().map(|domain| ["@", domain].concat().into());
        Self {
            selector,
            identity: text("i", IDENTITY).or(default),
            algorithm: text("a", 32),
            signature: text("b", 8),
            domain,
        }
    }

    pub(super) fn verification(
        &self,
        testing: bool,
        outcome: Result<(), DkimFault>,
    ) -> Verification {
        let claims = self.clone();
        Verification {
            result: outcome.as_ref().err().map_or(SignatureResult::Pass, DkimFault::result),
            domain: claims.domain,
            selector: claims.selector,
            identity: claims.identity,
            algorithm: claims.algorithm,
            signature: claims.signature,
            testing,
            reason: outcome.err().map(|fault| fault.to_string().into()),
        }
    }
}
