//! The names of the client, for `ptr` and the macro `p` (RFC 7208 sections 5.5 and 7.3).

use std::net::IpAddr;

use crate::dns::{Answer, DomainName, Record, ResolveError};

/// Maximum number of names of the client that are used (RFC 7208 section 4.6.4).
const NAMES: usize = 10;

/// The names of the client, each with a flag. The flag tells whether the name has the client's
/// address. It is `None` until the addresses were looked up.
#[derive(Debug, Clone)]
pub(super) struct ReverseNames(Vec<(DomainName, Option<bool>)>);

/// Result of a search.
#[derive(Debug)]
pub(super) enum Search<'n> {
    /// This name has the address of the client.
    Found(&'n DomainName),
    /// The addresses of this name, which has this index, must be looked up.
    Unchecked(&'n DomainName, usize),
    /// No name has the address of the client.
    Nothing,
}

impl ReverseNames {
    /// Reads the PTR records of the client. If the lookup failed, the client has no names.
    pub(super) fn new(answer: Result<&Answer, &ResolveError>) -> Self {
        let records = answer.map_or(&[][..], |answer| &answer.records);
        let names = records.iter().filter_map(|record| match record {
            Record::Ptr(name) => Some((name.clone(), None)),
            _ => None,
        });
        Self(names.take(NAMES).collect())
    }

    /// Reads the addresses of the name with this index. If the lookup failed, the name has no
    /// addresses.
    pub(super) fn check(
        &mut self,
        place: usize,
        client: IpAddr,
        answer: Result<&Answer, &ResolveError>,
    ) {
        if let Some((_, checked)) = self.0.get_mut(place) {
            let records = answer.map_or(&[][..], |answer| &answer.records);
            *checked = Some(records.iter().any(|it| it.address() == Some(client)));
        }
    }

    /// Searches for a name in this domain.
    pub(super) fn within(&self, domain: &DomainName) -> Search<'_> {
        self.search(|name| name.is_within(domain))
    }

    /// Searches for the best name: the domain itself, then a name below it, then any other.
    pub(super) fn best(&self, domain: &DomainName) -> Search<'_> {
        let ranks: [fn(&DomainName, &DomainName) -> bool; 3] =
            [|name, domain| name == domain, |name, domain| name.is_within(domain), |_, _| true];
        for rank in ranks {
            match self.search(|name| rank(name, domain)) {
                Search::Nothing => {}
                other => return other,
            }
        }
        Search::Nothing
    }

    fn search(&self, suits: impl Fn(&DomainName) -> bool) -> Search<'_> {
        let possible = |(_, (name, checked)): &(usize, &(DomainName, Option<bool>))| {
            *checked != Some(false) && suits(name)
        };
        match self.0.iter().enumerate().find(possible) {
            None => Search::Nothing,
            Some((_, (name, Some(_)))) => Search::Found(name),
            Some((place, (name, None))) => Search::Unchecked(name, place),
        }
    }
}
