//! The DNS Tree Walk (RFC 9989 section 4.10).

use super::record::{Psd, Record};
use crate::dns::DomainName;

/// Maximum number of names of a walk (RFC 9989 section 4.10).
pub(super) const NAMES: usize = 8;

/// The records for a domain and the domains above it, from the longest name to the shortest.
#[derive(Debug)]
pub(super) struct Walk<'r> {
    start: DomainName,
    found: Vec<(DomainName, &'r Record)>,
    /// Domains whose records could not be looked up.
    failed: Vec<DomainName>,
}

/// The record of a domain, as far as it is known.
#[derive(Debug)]
pub(super) enum Lookup {
    Found(Record),
    /// The domain has no record, or several.
    Nothing,
    Failed,
}

impl<'r> Walk<'r> {
    /// Walks from this domain to its top-level domain. `lookup` returns the record of a domain, or
    /// fails if the record is not known yet. A failed lookup for a top-level domain counts as no
    /// record, because few top-level domains publish one, and the owner of the mail domain does not
    /// control their name servers.
    pub(super) fn from<E>(
        start: &DomainName,
        lookup: impl Fn(&DomainName) -> Result<&'r Lookup, E>,
    ) -> Result<Self, E> {
        let mut walk = Self { start: start.clone(), found: Vec::new(), failed: Vec::new() };
        for domain in names(start) {
            match lookup(&domain)? {
                Lookup::Found(record) => {
                    walk.found.push((domain, record));
                    if record.psd != Psd::Unknown {
                        break;
                    }
                }
                Lookup::Failed if domain.has_dot() => walk.failed.push(domain),
                Lookup::Failed | Lookup::Nothing => {}
            }
        }
        Ok(walk)
    }

    /// Returns the organizational domain (RFC 9989 section 4.10.2).
    pub(super) fn organizational_domain(&self) -> DomainName {
        match self.found.last() {
            Some((suffix, record)) if record.psd == Psd::Yes && *suffix != self.start => {
                // One label below. This name may not have been looked up.
                let below = ancestors(&self.start).take_while(|domain| domain != suffix);
                below.last().unwrap_or_else(|| self.start.clone())
            }
            Some((top, _)) => top.clone(),
            None => self.start.clone(),
        }
    }

    /// Returns the record that applies to the first domain of the walk if that domain has no
    /// record, and the domain of this record. It is the record of the organizational domain, or of
    /// the public suffix domain (RFC 9989 section 4.10.1).
    pub(super) fn policy(&self) -> Option<(&DomainName, &'r Record)> {
        let organizational = self.organizational_domain();
        let own = self.found.iter().find(|(domain, _)| *domain == organizational);
        own.or(self.found.last()).map(|(domain, record)| (domain, *record))
    }

    /// Returns the first domain whose record could not be looked up.
    pub(super) fn failure(&self) -> Option<&DomainName> {
        self.failed.first()
    }

    /// Returns whether the lookup failed for a domain above both of these domains.
    pub(super) fn has_failed_above(&self, domain: &DomainName) -> bool {
        self.failed.iter().any(|failed| domain.is_within(failed))
    }
}

/// Returns the names of a walk. If a domain has more labels than [`NAMES`], some names are skipped.
fn names(start: &DomainName) -> impl Iterator<Item = DomainName> {
    let labels = ancestors(start).count();
    let above = ancestors(start).skip(labels.saturating_sub(NAMES - 1).max(1));
    std::iter::once(start.clone()).chain(above)
}

/// Returns the domain and all domains above it.
fn ancestors(domain: &DomainName) -> impl Iterator<Item = DomainName> {
    std::iter::successors(Some(domain.clone()), DomainName::parent)
}
