//! Forward-confirmed reverse DNS (RFC 8601 section 3).

use std::net::IpAddr;

use super::{DomainName, Record, RecordKind, ResolveError, Resolver, any};

/// Maximum number of names of one address that are checked. RFC 8601 section 3 leaves this limit to
/// the implementation. The limit of SPF's `ptr` is ten (RFC 7208 section 4.6.4).
const NAMES: usize = 10;

/// Result of a reverse lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReverseName {
    /// The address has this name, and the name resolves to the address.
    Confirmed(DomainName),
    /// The address has this name and perhaps others, but none of its names resolves to the address.
    Unconfirmed(DomainName),
    /// The address has no name.
    Nameless,
}

/// Looks up the names of an address, and checks whether one of them resolves to the address
/// (`iprev` of RFC 8601 section 3). Returns the first confirmed name without waiting for the
/// others.
///
/// ```
/// use nobounce::dns::{ReverseName, reverse_name};
/// use nobounce::testing::Zone;
///
/// let zone = Zone::new(
///     "1.2.0.192.in-addr.arpa PTR client.example
///      client.example A 192.0.2.1
///      2.2.0.192.in-addr.arpa PTR forged.example",
/// );
/// # pollster::block_on(async {
/// let name = reverse_name(&zone, [192, 0, 2, 1].into()).await?;
/// assert_eq!(name, ReverseName::Confirmed("client.example".parse()?));
/// let name = reverse_name(&zone, [192, 0, 2, 2].into()).await?;
/// assert_eq!(name, ReverseName::Unconfirmed("forged.example".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// # Errors
///
/// Returns an error if no name is confirmed and a lookup failed. If a name is confirmed, failures
/// of other lookups are ignored.
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
            // A name with other characters is not a host name, and would be written into header
            // fields.
            Record::Ptr(name) if name.is_plain() => Some(name),
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
