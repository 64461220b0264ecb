//! DMARC records (RFC 9989 sections 4.7, 4.8 and 4.10.1).

use super::outcome::{DmarcMechanism, DmarcPolicy};

/// A DMARC record. Faulty tags have their default values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Policies of the domain. `None` if DMARC is not applied to its mail.
    pub(super) policies: Option<Policies>,
    pub(super) psd: Psd,
    strict_dkim: bool,
    strict_spf: bool,
    /// Whether the domain is testing DMARC (`t=y`).
    testing: bool,
}

/// The policies of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policies {
    /// Policy of the domain itself (`p=`).
    pub(super) domain: DmarcPolicy,
    /// Policy of its subdomains (`sp=`, by default `p=`).
    pub(super) subdomains: DmarcPolicy,
    /// Policy of subdomains that do not exist (`np=`, by default `sp=`).
    pub(super) nonexistent: DmarcPolicy,
}

/// Whether the domain is a public suffix domain (`psd=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Psd {
    Yes,
    No,
    Unknown,
}

/// The tags that matter here, as they are written.
#[derive(Default)]
struct Tags<'r> {
    p: Option<&'r [u8]>,
    sp: Option<&'r [u8]>,
    np: Option<&'r [u8]>,
    psd: Option<&'r [u8]>,
    t: Option<&'r [u8]>,
    pct: Option<&'r [u8]>,
    adkim: Option<&'r [u8]>,
    aspf: Option<&'r [u8]>,
    rua: Option<&'r [u8]>,
}

impl Record {
    /// Parses a TXT record. Returns `None` for text that is not a DMARC record.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let tags = Tags::read(text)?;
        let is = |value: Option<&[u8]>, expected: &str| {
            value.is_some_and(|value| value.eq_ignore_ascii_case(expected.as_bytes()))
        };
        let psd = match tags.psd {
            psd if is(psd, "y") => Psd::Yes,
            psd if is(psd, "n") => Psd::No,
            _ => Psd::Unknown,
        };
        let has_t = is(tags.t, "y") || is(tags.t, "n");
        Some(Self {
            policies: tags.policies(),
            psd,
            strict_dkim: is(tags.adkim, "s"),
            strict_spf: is(tags.aspf, "s"),
            testing: is(tags.t, "y") || !has_t && is_zero(tags.pct),
        })
    }

    /// Returns whether an identifier of this mechanism must be the author domain itself.
    pub(super) fn is_strict(&self, mechanism: DmarcMechanism) -> bool {
        match mechanism {
            DmarcMechanism::Spf => self.strict_spf,
            DmarcMechanism::Dkim => self.strict_dkim,
        }
    }

    /// Returns the policy that applies to mail if this one is published. While the domain is
    /// testing, it is one level lower.
    pub(super) fn applied(&self, policy: DmarcPolicy) -> DmarcPolicy {
        match policy {
            DmarcPolicy::Reject if self.testing => DmarcPolicy::Quarantine,
            DmarcPolicy::Quarantine if self.testing => DmarcPolicy::None,
            policy => policy,
        }
    }
}

impl<'r> Tags<'r> {
    /// Reads the tags. If a tag occurs several times, the first one counts. Returns `None` if the first
    /// tag is not `v=DMARC1`.
    fn read(text: &'r [u8]) -> Option<Self> {
        let mut specs = text.split(|octet| *octet == b';').map(|spec| {
            let equals = spec.iter().position(|octet| *octet == b'=')?;
            Some((trim(&spec[..equals]), trim(&spec[equals + 1..])))
        });
        let (name, value) = specs.next()??;
        let begins = text.first().is_some_and(u8::is_ascii_graphic);
        if !begins || !name.eq_ignore_ascii_case(b"v") || value != b"DMARC1" {
            return None;
        }
        let mut tags = Self::default();
        for (name, value) in specs.flatten() {
            let place = match &*name.to_ascii_lowercase() {
                b"p" => &mut tags.p,
                b"sp" => &mut tags.sp,
                b"np" => &mut tags.np,
                b"psd" => &mut tags.psd,
                b"t" => &mut tags.t,
                b"pct" => &mut tags.pct,
                b"adkim" => &mut tags.adkim,
                b"aspf" => &mut tags.aspf,
                b"rua" => &mut tags.rua,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        Some(tags)
    }

    /// Returns the policies. If one of them is faulty, a record that requests reports counts as
    /// `p=none`, and any other record has no policies (RFC 9989 section 4.10.1).
    fn policies(&self) -> Option<Policies> {
        let parse = |value: Option<&[u8]>| value.map(policy);
        match (parse(self.p), parse(self.sp), parse(self.np)) {
            (Some(Some(domain)), None | Some(Some(_)), None | Some(Some(_))) => {
                let subdomains = self.sp.and_then(policy).unwrap_or(domain);
                let nonexistent = self.np.and_then(policy).unwrap_or(subdomains);
                Some(Policies { domain, subdomains, nonexistent })
            }
            _ if self.rua.is_some_and(has_address) => {
                let none = DmarcPolicy::None;
                Some(Policies { domain: none, subdomains: none, nonexistent: none })
            }
            _ => None,
        }
    }
}

fn policy(value: &[u8]) -> Option<DmarcPolicy> {
    let all = [DmarcPolicy::None, DmarcPolicy::Quarantine, DmarcPolicy::Reject];
    all.into_iter().find(|policy| value.eq_ignore_ascii_case(policy.as_str().as_bytes()))
}

/// Returns whether this is a number that is zero.
fn is_zero(value: Option<&[u8]>) -> bool {
    value.is_some_and(|digits| !digits.is_empty() && digits.iter().all(|digit| *digit == b'0'))
}

/// Returns whether a list of report addresses has one that is a valid URI. A size limit after `!` is
/// ignored (`obs-dmarc-report-size`).
fn has_address(list: &[u8]) -> bool {
    list.split(|octet| *octet == b',').any(|address| {
        let uri = address.split(|octet| *octet == b'!').next().unwrap_or_default();
        is_uri(trim(uri))
    })
}

/// Returns whether this is a URI (RFC 3986 section 3) with more than a scheme. A `mailto:` URI must have
/// an address (RFC 6068 section 2).
fn is_uri(uri: &[u8]) -> bool {
    let Some(colon) = uri.iter().position(|octet| *octet == b':') else { return false };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet));
    let is_allowed =
        |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(octet);
    let is_encoded = |part: &[u8]| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit);
    is_scheme
        && !rest.is_empty()
        && rest.iter().all(is_allowed)
        && rest.split(|octet| *octet == b'%').skip(1).all(is_encoded)
        && (!scheme.eq_ignore_ascii_case(b"mailto") || is_mailbox(rest))
}

fn is_mailbox(address: &[u8]) -> bool {
    let at = address.iter().position(|octet| *octet == b'@');
    at.is_some_and(|at| at > 0 && at + 1 < address.len())
}

/// Removes blanks and tabs at both ends.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let begin = text.iter().position(|octet| !is_blank(octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_blank(octet)).map_or(begin, |at| at + 1);
    &text[begin..end]
}
