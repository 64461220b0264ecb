//! The outcome of an SPF evaluation.

use std::borrow::Cow;
use std::fmt;

use crate::dns::{DomainName, RecordKind};

/// Maximum length of a name in the text of a problem. With escapes, a name may have 1,012 octets.
const NAME: usize = 255;

/// Result of SPF (RFC 7208 section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// There is no domain to check, or it has no policy.
    None,
    /// The policy says nothing about the client.
    Neutral,
    /// The client may send mail for the domain.
    Pass,
    /// The client must not send mail for the domain.
    Fail,
    /// The client probably must not send mail for the domain.
    SoftFail,
    /// A lookup failed. A later attempt may succeed.
    TempError,
    /// The policy is faulty.
    PermError,
}

impl SpfResult {
    /// Returns the word for header fields (RFC 8601 section 2.7.2).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The identity whose domain is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfIdentity {
    /// The name in HELO or EHLO (RFC 7208 section 2.3).
    Helo,
    /// The domain of the reverse-path (RFC 7208 section 2.4).
    MailFrom,
}

/// Result of an evaluation, with its reasons. Its texts may be published, but contain text that the
/// domain's owner chose.
///
/// ```
/// use nobounce::authentication::{Spf, SpfProblem, SpfStep};
///
/// let spf = Spf::new("192.0.2.1".parse()?, "mx.example.org", "alice@[192.0.2.1]");
/// let SpfStep::Done(outcome) = spf.poll() else { panic!("there is nothing to look up") };
/// assert_eq!((outcome.domain.as_ref(), &outcome.problem), (None, &Some(SpfProblem::NoDomain)));
/// assert_eq!(outcome.to_string(), "none (the sender has no domain that can be checked)");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// The identity whose domain was checked.
    pub identity: SpfIdentity,
    /// The domain that was checked, with A-labels. `None` if no domain could be looked up.
    pub domain: Option<DomainName>,
    /// The mechanism that matched, in the policy of the domain or in the policy that it redirects
    /// to: printable ASCII without blanks, at most 255 octets. `None` if none matched.
    ///
    /// It may contain `(`, `)`, `"` and `\`. In a comment of a header field, precede each of them with
    /// a backslash (RFC 5322 section 3.2.2).
    pub mechanism: Option<Box<str>>,
    /// The reason for the result none, temperror or permerror.
    pub problem: Option<SpfProblem>,
}

impl fmt::Display for SpfOutcome {
    /// Writes the result, and the mechanism or the problem in parentheses. This is not a valid
    /// comment of a header field, because the text in parentheses is not quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.result)?;
        match (&self.mechanism, &self.problem) {
            (_, Some(problem)) => write!(f, " ({problem})"),
            (Some(mechanism), None) => write!(f, " ({mechanism})"),
            (None, None) => Ok(()),
        }
    }
}

/// The reason for a result of none, temperror or permerror. Its text may be published. Names in it
/// have at most 255 octets. Longer names are truncated and end in `...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpfProblem {
    /// The identity has no domain, an address literal, a name of one label, or a malformed name (RFC
    /// 7208 section 4.3).
    #[error("the sender has no domain that can be checked")]
    NoDomain,
    /// The domain publishes no policy (RFC 7208 section 4.5).
    #[error("{} has no SPF record", shown(.0))]
    NoPolicy(DomainName),
    /// A lookup failed (RFC 7208 section 4.4).
    #[error("{kind} lookup of {} failed", shown(.name), kind = kind_name(*.kind))]
    Lookup {
        /// The name.
        name: DomainName,
        /// The record type.
        kind: RecordKind,
    },
    /// The domain publishes several policies (RFC 7208 section 4.5).
    #[error("{} has more than one SPF record", shown(.0))]
    SeveralPolicies(DomainName),
    /// A term of the policy is malformed (RFC 7208 section 4.6).
    #[error("{} has a malformed SPF record: {term}", shown(.domain))]
    Syntax {
        /// The domain.
        domain: DomainName,
        /// The beginning of the term, in printable ASCII.
        term: Box<str>,
    },
    /// More than 10 terms need lookups (RFC 7208 section 4.6.4).
    #[error("more than 10 terms need DNS lookups")]
    Terms,
    /// The lookups of more than 2 terms found nothing (RFC 7208 section 4.6.4).
    #[error("the lookups of more than 2 terms find nothing")]
    VoidLookups,
    /// The domain has more than 10 mail servers (RFC 7208 section 4.6.4).
    #[error("{} has more than 10 mail servers", shown(.0))]
    MailServers(DomainName),
    /// An `include` or `redirect` leads to a domain without a policy (RFC 7208 sections 5.2 and
    /// 6.1). `None` if the name cannot be looked up.
    #[error(
        "the SPF record refers to {}, which has no SPF record",
        .0.as_ref().map_or("a malformed name".into(), shown)
    )]
    Reference(Option<DomainName>),
}

impl SpfProblem {
    /// Returns the result that this problem causes.
    pub(super) fn result(&self) -> SpfResult {
        match self {
            Self::NoDomain | Self::NoPolicy(_) => SpfResult::None,
            Self::Lookup { .. } => SpfResult::TempError,
            Self::SeveralPolicies(_)
            | Self::Syntax { .. }
            | Self::Terms
            | Self::VoidLookups
            | Self::MailServers(_)
            | Self::Reference(_) => SpfResult::PermError,
        }
    }
}

/// Returns a text of ASCII characters with at most this many octets. A longer text is truncated and
/// ends in `...`.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.len() > most {
        true => format!("{}...", &text[..most - 3]).into(),
        false => text.into(),
    }
}

fn shown(name: &DomainName) -> Cow<'_, str> {
    shortened(name, NAME)
}

fn kind_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::A => "A",
        RecordKind::Aaaa => "AAAA",
        RecordKind::Mx => "MX",
        RecordKind::Ptr => "PTR",
        RecordKind::Txt => "TXT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_text_of_a_problem_are_truncated() {
        let name = |labels: &[&[u8]]| DomainName::from_labels(labels.iter().copied()).unwrap();
        // A control character has four octets of text.
        let exact = name(&[&[0; 60], &[b'x'; 14]]);
        assert_eq!(exact.len(), 255);
        assert_eq!(
            SpfProblem::NoPolicy(exact.clone()).to_string(),
            format!("{exact} has no SPF record")
        );
        for octet in [b'x', 0] {
            let name = name(&[&[octet; 63][..]; 3]);
            let text: String = match name.len() > 255 {
                true => name[..252].to_owned() + "...",
                false => name.to_string(),
            };
            for problem in [
                SpfProblem::NoPolicy(name.clone()),
                SpfProblem::Lookup { name: name.clone(), kind: RecordKind::A },
                SpfProblem::SeveralPolicies(name.clone()),
                SpfProblem::Syntax { domain: name.clone(), term: "moo".into() },
                SpfProblem::MailServers(name.clone()),
                SpfProblem::Reference(Some(name.clone())),
            ] {
                let shown = problem.to_string();
                assert!(shown.contains(&text) && shown.len() < 255 + 64, "{shown}");
            }
        }
    }
}
