//! The name of an address, confirmed forwards (RFC 8601 section 3).

use std::net::IpAddr;

use futures::future::join_all;

use super::{DomainName, Record, RecordKind, ResolveError, Resolver};

/// Most names of one address that are looked at: RFC 8601 section 3 leaves the limit to us, that of
/// SPF's `ptr` is ten (RFC 7208 section 4.6.4).
const NAMES: usize = 10;

/// What DNS calls an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReverseName {
    /// The address has this name, and the name has this address.
    Confirmed(DomainName),
    /// The address has this name, and others perhaps, but no name of it has this address.
    Unconfirmed(DomainName),
    /// It has no name.
    Nameless,
}

/// Looks up the name of an address, and whether the name has the address: `iprev` of RFC 8601 section
/// 3. The first name that is confirmed counts, in the order of the answer.
///
/// That no name is confirmed is said only if nothing failed on the way.
pub async fn reverse_name(
    resolver: &dyn Resolver,
    address: IpAddr,
) -> Result<ReverseName, ResolveError> {
    let address = address.to_canonical();
    let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
    let pointers = resolver.lookup(&DomainName::reverse(address), RecordKind::Ptr).await?;
    let names: Vec<&DomainName> = pointers
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Ptr(name) => Some(name),
            _ => None,
        })
        .take(NAMES)
        .collect();
    let Some(first) = names.first().copied() else {
        return Ok(ReverseName::Nameless);
    };
    let answers = join_all(names.iter().map(|name| resolver.lookup(name, kind))).await;
    let mut failure = None;
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(answer) if answer.records.iter().any(|it| it.address() == Some(address)) => {
                return Ok(ReverseName::Confirmed((*name).clone()));
            }
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or_else(|| Ok(ReverseName::Unconfirmed(first.clone())), Err)
}

#[cfg(test)]
mod tests;
