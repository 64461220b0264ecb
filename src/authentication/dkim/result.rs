//! Results of DKIM (RFC 8601 section 2.7.1).

use std::fmt;

use crate::dns::DomainName;

/// Result of one signature. Only a signature that passed proves that its domain signed the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The result.
    pub result: SignatureResult,
    /// Domain of the signer (`d=`), in A-labels. `None` if it is missing or malformed.
    pub domain: Option<DomainName>,
    /// Selector of the key (`s=`), in A-labels. `None` if it is missing or malformed.
    pub selector: Option<DomainName>,
    /// Identity of the user or agent (`i=`), as it is written. By default `@` and the domain. Check
    /// the result before use: the identity of a malformed signature may be in a foreign domain.
    pub identity: Option<Box<str>>,
    /// Algorithm of the signature (`a=`), as it is written.
    pub algorithm: Option<Box<str>>,
    /// First eight characters of the signature (`b=`), to tell signatures apart (RFC 6008).
    pub signature: Option<Box<str>>,
    /// Whether the key record says that the domain is testing DKIM (`t=y`). Such a message must not be
    /// treated worse than an unsigned one (RFC 6376 section 3.6.1). `false` if no key record was used:
    /// the signature is malformed, the body hash does not match, or the key lookup failed.
    pub testing: bool,
    /// Reason why the signature did not pass.
    pub reason: Option<Box<str>>,
}

/// Result of a signature. Displayed as in an `Authentication-Results` field.
///
/// ```
/// use nobounce::authentication::dkim::SignatureResult;
///
/// assert_eq!(SignatureResult::PermError.to_string(), "permerror");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureResult {
    /// The signature is valid and covers the whole body.
    Pass,
    /// The body or a signed field was changed, or the signature is forged.
    Fail,
    /// The signature is not acceptable: part of the body is not signed, or the key is too small or too
    /// large.
    Policy,
    /// The version, algorithm, canonicalization, query method or key type is unknown.
    Neutral,
    /// The key could not be looked up. A retry may succeed.
    TempError,
    /// The signature cannot be verified: it is malformed, it has expired, or it has no usable key.
    PermError,
}

impl fmt::Display for SignatureResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}
