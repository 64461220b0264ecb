//! The outcome of a DMARC evaluation.

use std::fmt;

use crate::authentication::dkim::{SignatureResult, Verification};
use crate::authentication::spf::{SpfOutcome, SpfResult};
use crate::dns::DomainName;

/// Result of DMARC (RFC 7489 section 11.2, registered by RFC 8601 section 2.7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DmarcResult {
    /// There is no author domain, or it has no policy.
    None,
    /// SPF or DKIM has verified an identifier that is aligned with the author domain.
    Pass,
    /// None of the verified identifiers is aligned with the author domain.
    Fail,
    /// A lookup failed. A later attempt may succeed.
    TempError,
}

impl DmarcResult {
    /// Returns the word for header fields (RFC 8601 section 2.7.4).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
        }
    }
}

impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The treatment that the owner of a domain wants for mail that fails, the mildest one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DmarcPolicy {
    /// No special treatment.
    None,
    /// Treatment as suspicious mail.
    Quarantine,
    /// Refusal.
    Reject,
}

impl DmarcPolicy {
    /// Returns the word in records and header fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for DmarcPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The mechanism that verifies an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DmarcMechanism {
    /// SPF of the MAIL FROM identity.
    Spf,
    /// A DKIM signature.
    Dkim,
}

/// A domain that SPF or DKIM has verified for this message, or may verify at a later attempt (RFC 9989
/// section 3.2.1).
///
/// ```
/// use nobounce::authentication::{DmarcIdentifier, Spf, SpfStep};
/// use nobounce::dns::ResolveError;
///
/// let mut spf = Spf::new("192.0.2.1".parse()?, "mx.example.org", "alice@example.org");
/// spf.answer(Err(ResolveError::Late));
/// let SpfStep::Done(outcome) = spf.poll() else { panic!("the policy is unknown") };
/// let identifier = DmarcIdentifier::spf(outcome).expect("it may pass later");
/// assert_eq!((&*identifier.domain, identifier.is_verified), ("example.org", false));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcIdentifier {
    /// The mechanism.
    pub mechanism: DmarcMechanism,
    /// The domain, with A-labels.
    pub domain: DomainName,
    /// Whether it is verified. Otherwise, a lookup failed.
    pub is_verified: bool,
}

impl DmarcIdentifier {
    /// Returns the identifier of an SPF outcome: the domain of the sender. If the sender is `<>`, this is
    /// the HELO name (RFC 7208 section 2.4). Returns `None` if SPF neither passed nor may pass later.
    pub fn spf(outcome: &SpfOutcome) -> Option<Self> {
        let is_verified = match outcome.result {
            SpfResult::Pass => true,
            SpfResult::TempError => false,
            _ => return None,
        };
        let domain = outcome.domain.clone()?;
        Some(Self { mechanism: DmarcMechanism::Spf, domain, is_verified })
    }

    /// Returns the identifier of a signature: the domain of the signer. Returns `None` if the signature
    /// neither passed nor may pass later.
    pub fn dkim(verification: &Verification) -> Option<Self> {
        let is_verified = match verification.result {
            SignatureResult::Pass => true,
            SignatureResult::TempError => false,
            _ => return None,
        };
        let domain = verification.domain.clone()?;
        Some(Self { mechanism: DmarcMechanism::Dkim, domain, is_verified })
    }
}

/// Result of an evaluation, with its reasons. If there are several author domains, this is the
/// worst of their outcomes.
///
/// ```
/// use nobounce::authentication::{Dmarc, DmarcResult, DmarcStep};
///
/// let dmarc = Dmarc::new([], []);
/// let DmarcStep::Done(outcome) = dmarc.poll() else { panic!("there is no author domain") };
/// assert_eq!(outcome.result, DmarcResult::None);
/// assert_eq!(outcome.to_string(), "none (the message has no author domain)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DmarcOutcome {
    /// The result.
    pub result: DmarcResult,
    /// The author domain. `None` if the message has none.
    pub author: Option<DomainName>,
    /// The policy for mail of the author domain that fails DMARC. While the owner is testing
    /// (`t=y`), it is one level below the published policy. `None` if the domain has no policy, or
    /// if the policy is unknown.
    pub policy: Option<DmarcPolicy>,
    /// The domain that publishes this policy: the author domain, or one above it.
    pub policy_domain: Option<DomainName>,
    /// The identifier that decided the result. For pass, it is aligned. For temperror, its result
    /// or its alignment is unknown. `None` if no identifier decided.
    pub identifier: Option<DmarcIdentifier>,
    /// The reason for the result none or temperror.
    pub problem: Option<DmarcProblem>,
}

impl DmarcOutcome {
    pub(super) fn without_policy(
        author: Option<&DomainName>,
        result: DmarcResult,
        problem: DmarcProblem,
    ) -> Self {
        Self {
            result,
            author: author.cloned(),
            policy: None,
            policy_domain: None,
            identifier: None,
            problem: Some(problem),
        }
    }

    /// Returns whether the owner of the author domain wants this message refused.
    pub fn is_rejected(&self) -> bool {
        self.result == DmarcResult::Fail && self.policy == Some(DmarcPolicy::Reject)
    }

    /// Returns the severity of the outcome. A failed lookup is more severe than any known outcome
    /// except a rejection.
    pub(super) fn severity(&self) -> u8 {
        match (self.result, self.policy) {
            (DmarcResult::Pass, _) => 0,
            (DmarcResult::None, _) => 1,
            (DmarcResult::Fail, None | Some(DmarcPolicy::None)) => 2,
            (DmarcResult::Fail, Some(DmarcPolicy::Quarantine)) => 3,
            (DmarcResult::TempError, _) => 4,
            (DmarcResult::Fail, Some(DmarcPolicy::Reject)) => 5,
        }
    }
}

impl fmt::Display for DmarcOutcome {
    /// Writes the result, and the problem or the policy in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.result)?;
        match (&self.problem, self.policy, &self.policy_domain) {
            (Some(problem), _, _) => write!(f, " ({problem})"),
            (None, Some(policy), Some(domain)) => write!(f, " ({policy} by {domain})"),
            _ => Ok(()),
        }
    }
}

/// The reason for a result of none or temperror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DmarcProblem {
    /// The message has no author domain.
    #[error("the message has no author domain")]
    NoAuthor,
    /// Neither the domain nor a domain above it publishes a policy.
    #[error("no DMARC record for {0}")]
    NoRecord(DomainName),
    /// The record of this domain has no valid policy (RFC 9989 section 4.10.1).
    #[error("the DMARC record of {0} has no valid policy")]
    NoPolicy(DomainName),
    /// The lookup of this name failed.
    #[error("lookup of {0} failed")]
    Lookup(DomainName),
    /// This domain may be aligned, and its SPF or DKIM result or its alignment is unknown.
    #[error("it is not known whether {0} is verified and aligned")]
    Identifier(DomainName),
}
