//! The grammar of policies (RFC 7208 section 12). A [`Policy`] has no invalid terms.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::macros::{DomainSpec, is_macro_string};
use super::outcome::{SpfResult, shortened};
use crate::dns::Record;

/// A parsed policy: the `v=spf1` record of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(super) directives: Vec<Directive>,
    /// The modifier `redirect`.
    pub(super) redirect: Option<DomainSpec>,
}

/// The policy that a name publishes (RFC 7208 section 4.5).
#[derive(Debug)]
pub(crate) enum Published {
    Nothing,
    /// Several policies, so that none applies.
    Several,
    /// A policy with this malformed term, of which the beginning is kept.
    Malformed(Box<str>),
    Policy(Arc<Policy>),
}

/// A mechanism and the result if it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A mechanism (RFC 7208 section 5). Without a [`DomainSpec`], it applies to the domain of the
/// policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Option<DomainSpec>, Prefixes),
    Mx(Option<DomainSpec>, Prefixes),
    Ptr(Option<DomainSpec>),
    Ip4(Ipv4Addr, Prefix<32>),
    Ip6(Ipv6Addr, Prefix<128>),
    Exists(DomainSpec),
}

/// The length of a network prefix, at most `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix<const MOST: u8>(u8);

/// Prefix lengths for IPv4 and IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefixes {
    ip4: Prefix<32>,
    ip6: Prefix<128>,
}

/// The first malformed term of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed<'t>(pub(super) &'t [u8]);

/// Maximum length of a malformed term in an outcome, in octets.
const TERM: usize = 64;
/// Maximum number of directives of a policy that is kept with its record. A directive takes up to 30
/// times the memory of its text.
const KEPT: usize = 40;
const VERSION: &[u8] = b"v=spf1";
/// The longest name of a mechanism.
const LONGEST: &[u8] = b"include";

/// Returns whether the text of a TXT record is a policy (RFC 7208 section 4.5).
pub(crate) fn is_policy(text: &[u8]) -> bool {
    text.split_at_checked(VERSION.len()).is_some_and(|(version, rest)| {
        version.eq_ignore_ascii_case(VERSION) && rest.first().is_none_or(|next| *next == b' ')
    })
}

impl Published {
    /// Reads the policy of a name from its TXT records.
    pub(super) fn read(records: &[Record]) -> Self {
        let texts = records.iter().filter_map(|record| match record {
            Record::Txt(text) => Some(&**text),
            _ => None,
        });
        let mut policies = texts.filter(|text| is_policy(text));
        match (policies.next(), policies.next()) {
            (None, _) => Self::Nothing,
            (Some(_), Some(_)) => Self::Several,
            (Some(text), None) => match Policy::parse(text) {
                Ok(policy) => Self::Policy(Arc::new(policy)),
                Err(Malformed(term)) => {
                    Self::Malformed(shortened(&term.escape_ascii().to_string(), TERM).into())
                }
            },
        }
    }

    /// Returns whether it may be kept with its record.
    pub(super) fn is_small(&self) -> bool {
        !matches!(self, Self::Policy(policy) if policy.directives.len() > KEPT)
    }
}

impl Policy {
    /// Parses the text of a policy. Non-ASCII octets are not allowed.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Malformed<'_>> {
        if !is_policy(text) {
            return Err(Malformed(text));
        }
        // Enough for most policies: few terms are shorter.
        let directives = Vec::with_capacity((text.len() / 16).min(32));
        let mut policy = Self { directives, redirect: None };
        let mut has_explanation = false;
        let terms = text[VERSION.len()..].split(|octet| *octet == b' ');
        for term in terms.filter(|term| !term.is_empty()) {
            let malformed = || Malformed(term);
            let Some((name, value)) = modifier(term) else {
                policy.directives.push(Directive::parse(term).ok_or_else(malformed)?);
                continue;
            };
            if name.eq_ignore_ascii_case(b"redirect") {
                let target = DomainSpec::parse(value).ok_or_else(malformed)?;
                if policy.redirect.replace(target).is_some() {
                    return Err(malformed());
                }
            } else if name.eq_ignore_ascii_case(b"exp") {
                // Checked but not used, because a stranger chooses the text.
                DomainSpec::parse(value).ok_or_else(malformed)?;
                if std::mem::replace(&mut has_explanation, true) {
                    return Err(malformed());
                }
            } else if !is_macro_string(value) {
                return Err(malformed());
            }
        }
        Ok(policy)
    }
}

/// Splits a modifier into its name and its value. Returns `None` for a directive.
fn modifier(term: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let length = term.iter().take_while(|octet| is_name(octet)).count();
    let value = term[length..].strip_prefix(b"=")?;
    term.first().is_some_and(u8::is_ascii_alphabetic).then_some((&term[..length], value))
}

impl Directive {
    fn parse(term: &[u8]) -> Option<Self> {
        let (qualifier, rest) = match term.split_first()? {
            (b'+', rest) => (Qualifier::Pass, rest),
            (b'-', rest) => (Qualifier::Fail, rest),
            (b'~', rest) => (Qualifier::SoftFail, rest),
            (b'?', rest) => (Qualifier::Neutral, rest),
            _ => (Qualifier::Pass, term),
        };
        Mechanism::parse(rest).map(|mechanism| Self { qualifier, mechanism })
    }
}

impl Qualifier {
    pub(super) fn result(self) -> SpfResult {
        match self {
            Self::Pass => SpfResult::Pass,
            Self::Fail => SpfResult::Fail,
            Self::SoftFail => SpfResult::SoftFail,
            Self::Neutral => SpfResult::Neutral,
        }
    }
}

impl Mechanism {
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|octet| matches!(octet, b':' | b'/'));
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        let argument = rest.strip_prefix(b":");
        let mut buffer = [0; LONGEST.len()];
        let lower_case = buffer.get_mut(..name.len())?;
        lower_case.copy_from_slice(name);
        lower_case.make_ascii_lowercase();
        Some(match &*lower_case {
            b"all" if rest.is_empty() => Self::All,
            b"include" => Self::Include(DomainSpec::parse(argument?)?),
            b"a" => {
                let (domain, prefixes) = with_prefixes(rest)?;
                Self::A(domain, prefixes)
            }
            b"mx" => {
                let (domain, prefixes) = with_prefixes(rest)?;
                Self::Mx(domain, prefixes)
            }
            b"ptr" => Self::Ptr(optional(rest)?),
            b"ip4" => {
                let (address, prefix) = with_prefix(argument?)?;
                Self::Ip4(address.parse().ok()?, prefix)
            }
            b"ip6" => {
                let (address, prefix) = with_prefix(argument?)?;
                Self::Ip6(address.parse().ok()?, prefix)
            }
            b"exists" => Self::Exists(DomainSpec::parse(argument?)?),
            _ => return None,
        })
    }
}

/// Parses `[ ":" domain-spec ]`.
fn optional(text: &[u8]) -> Option<Option<DomainSpec>> {
    match text.is_empty() {
        true => Some(None),
        false => DomainSpec::parse(text.strip_prefix(b":")?).map(Some),
    }
}

/// Parses `[ ":" domain-spec ] [ dual-cidr-length ]`. A domain may contain slashes, so the lengths
/// are read from the end.
fn with_prefixes(text: &[u8]) -> Option<(Option<DomainSpec>, Prefixes)> {
    let (text, ip6) = match without_number(text) {
        Some((before, number)) if before.ends_with(b"/") => (&before[..before.len() - 1], number),
        _ => (text, Prefix::<128>::WHOLE.0.into()),
    };
    let (text, ip4) = without_number(text).unwrap_or((text, Prefix::<32>::WHOLE.0.into()));
    let prefixes = Prefixes { ip4: Prefix::new(ip4)?, ip6: Prefix::new(ip6)? };
    Some((optional(text)?, prefixes))
}

/// Parses an address and `[ "/" number ]`.
fn with_prefix<const MOST: u8>(text: &[u8]) -> Option<(&str, Prefix<MOST>)> {
    let (address, number) = without_number(text).unwrap_or((text, MOST.into()));
    Some((str::from_utf8(address).ok()?, Prefix::new(number)?))
}

/// Removes a slash and a number without leading zeros from the end.
fn without_number(text: &[u8]) -> Option<(&[u8], u32)> {
    let slash = text.iter().rposition(|octet| *octet == b'/')?;
    let digits = &text[slash + 1..];
    let is_number = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 3;
    if !is_number || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some((&text[..slash], number))
}

impl<const MOST: u8> Prefix<MOST> {
    /// The length of a whole address.
    const WHOLE: Self = Self(MOST);

    fn new(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number <= MOST).map(Self)
    }

    /// Returns whether two addresses agree in the prefix. Both are in the lower `MOST` bits.
    fn is_shared(self, one: u128, other: u128) -> bool {
        let differing = u128::BITS - (one ^ other).leading_zeros();
        differing <= u32::from(MOST - self.0)
    }
}

impl Prefixes {
    /// Returns whether the client is in the network of this address. An IPv4 address is never in an
    /// IPv6 network, nor the reverse.
    pub(super) fn contain(self, client: IpAddr, address: IpAddr) -> bool {
        match (client, address) {
            (IpAddr::V4(client), IpAddr::V4(address)) => in_ip4(client, address, self.ip4),
            (IpAddr::V6(client), IpAddr::V6(address)) => in_ip6(client, address, self.ip6),
            _ => false,
        }
    }
}

pub(super) fn in_ip4(client: Ipv4Addr, network: Ipv4Addr, prefix: Prefix<32>) -> bool {
    prefix.is_shared(client.to_bits().into(), network.to_bits().into())
}

pub(super) fn in_ip6(client: Ipv6Addr, network: Ipv6Addr, prefix: Prefix<128>) -> bool {
    prefix.is_shared(client.to_bits(), network.to_bits())
}

impl fmt::Display for Policy {
    /// Writes an equivalent policy, without modifiers other than `redirect`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v=spf1")?;
        self.directives.iter().try_for_each(|directive| write!(f, " {directive}"))?;
        self.redirect.as_ref().map_or(Ok(()), |target| write!(f, " redirect={target}"))
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.qualifier {
            Qualifier::Pass => "",
            Qualifier::Fail => "-",
            Qualifier::SoftFail => "~",
            Qualifier::Neutral => "?",
        })?;
        let named = |f: &mut fmt::Formatter<'_>, name, domain: &Option<DomainSpec>| {
            f.write_str(name)?;
            domain.as_ref().map_or(Ok(()), |domain| write!(f, ":{domain}"))
        };
        match &self.mechanism {
            Mechanism::All => f.write_str("all"),
            Mechanism::Include(domain) => write!(f, "include:{domain}"),
            Mechanism::A(domain, prefixes) => {
                named(f, "a", domain)?;
                prefixes.fmt(f)
            }
            Mechanism::Mx(domain, prefixes) => {
                named(f, "mx", domain)?;
                prefixes.fmt(f)
            }
            Mechanism::Ptr(domain) => named(f, "ptr", domain),
            Mechanism::Ip4(address, prefix) => write!(f, "ip4:{address}{prefix}"),
            Mechanism::Ip6(address, prefix) => write!(f, "ip6:{address}{prefix}"),
            Mechanism::Exists(domain) => write!(f, "exists:{domain}"),
        }
    }
}

impl<const MOST: u8> fmt::Display for Prefix<MOST> {
    /// Writes nothing for a whole address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == MOST { Ok(()) } else { write!(f, "/{}", self.0) }
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip4.fmt(f)?;
        if self.ip6 == Prefix::WHOLE { Ok(()) } else { write!(f, "/{}", self.ip6) }
    }
}

#[cfg(test)]
mod tests;
