//! The name of an address, confirmed forwards (RFC 8601 section 3).

use std::net::IpAddr;

use super::{DomainName, Record, RecordKind, ResolveError, Resolver, any};

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
/// 3. The first name that is confirmed counts; the others are not waited for.
///
/// # Errors
///
/// No name is confirmed, and one of the questions failed. A failure beside a confirmed name changes
/// nothing.
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
    let leads_back = |name: &'_ DomainName| {
        let name = name.clone();
        async move {
            let answer = resolver.lookup(&name, kind).await?;
            let leads_back = answer.records.iter().any(|it| it.address() == Some(address));
            Ok(leads_back.then_some(name))
        }
    };
    let questions: Vec<_> = names.iter().map(|name| leads_back(name)).collect();
    Ok(match any(questions).await? {
        Some(name) => ReverseName::Confirmed(name),
        None => ReverseName::Unconfirmed(first.clone()),
    })
}

#[cfg(test)]
mod tests;
