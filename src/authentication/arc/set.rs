//! The three fields of an ARC set (RFC 8617 section 4.1).

use super::{ChainFault, OCTETS, SETS};
use crate::authentication::canonicalization::Canonicalization;
use crate::authentication::content::Header;
use crate::authentication::signature::{
    Coverage, Expiry, SignatureFault, Signer, optional_number, required,
};
use crate::authentication::tags::{TagFault, Tags, number, trim};

/// An ARC set: three header fields with the same instance number.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) fields: SetFields,
    /// Signer of the message signature.
    pub(super) signer: Signer,
    pub(super) coverage: Coverage,
    pub(super) expiry: Expiry,
    /// Signer of the seal.
    pub(super) sealer: Signer,
}

/// Places of the fields in the header.
#[derive(Debug)]
pub(super) struct SetFields {
    pub(super) results: usize,
    pub(super) signature: usize,
    pub(super) seal: usize,
}

/// The status of the earlier chain as the seal states it (`cv=`).
enum Validation {
    None,
    Pass,
    Fail,
}

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// A field, and its tags if it is a tag list.
type Placed<T> = (usize, T);

/// Reads all sets, the first one first.
pub(super) fn read(header: &Header) -> Result<Vec<Set>, ChainFault> {
    let fields = [RESULTS, SIGNATURE, SEAL].map(|name| header.named(name));
    if fields.iter().all(|fields| fields.is_empty()) {
        return Ok(Vec::new());
    }
    if let Some(fault) = header.fault() {
        return Err(fault.into());
    }
    let count = fields.iter().map(|fields| fields.len()).max().unwrap_or_default();
    if count > SETS {
        return Err(ChainFault::TooMany);
    }
    let octets = fields.iter().copied().flatten().map(|field| header.value(*field).len());
    if octets.sum::<usize>() > OCTETS {
        return Err(ChainFault::TooLong);
    }
    let [results, signatures, seals] = fields;
    let results = by_instance(header, RESULTS, results, |value| Ok((results_instance(value), ())))?;
    let tagged = |value| {
        let tags = Tags::parse(value)?;
        Ok((tags.get("i").and_then(instance), tags))
    };
    let signatures = by_instance(header, SIGNATURE, signatures, tagged)?;
    let seals = by_instance(header, SEAL, seals, tagged)?;
    let set = |(at, ((results, signature), seal))| match (results, signature, seal) {
        (Some((results, ())), Some(signature), Some(seal)) => {
            Set::parse(at + 1, results, signature, seal)
        }
        _ => Err(ChainFault::Incomplete(at + 1)),
    };
    results.into_iter().zip(signatures).zip(seals).take(count).enumerate().map(set).collect()
}

/// Arranges fields of one name by instance. `parse` returns the instance in a value, and its tags.
fn by_instance<'h, T>(
    header: &'h Header,
    name: &'static str,
    fields: &[usize],
    parse: impl Fn(&'h [u8]) -> Result<(Option<usize>, T), TagFault>,
) -> Result<Vec<Option<Placed<T>>>, ChainFault> {
    let mut places: Vec<_> = (0..SETS).map(|_| None).collect();
    for field in fields {
        let (instance, tags) =
            parse(header.value(*field)).map_err(|fault| ChainFault::Tags(name, fault))?;
        let instance = instance.ok_or(ChainFault::Instance(name))?;
        if places[instance - 1].replace((*field, tags)).is_some() {
            return Err(ChainFault::Duplicate(instance, name));
        }
    }
    Ok(places)
}

impl Set {
    fn parse(
        instance: usize,
        results: usize,
        (signature, signature_tags): Placed<Tags<'_>>,
        (seal, seal_tags): Placed<Tags<'_>>,
    ) -> Result<Self, ChainFault> {
        let fields = SetFields { results, signature, seal };
        let (sealer, says) =
            parse_seal(&seal_tags).map_err(|fault| ChainFault::Seal(instance, fault))?;
        let (signer, coverage, expiry) = parse_signature(&signature_tags)
            .map_err(|fault| ChainFault::Signature(instance, fault))?;
        // RFC 8617 section 4.1.3.
        if seal_tags.get("h").is_some() {
            return Err(ChainFault::SealNamesFields(instance));
        }
        // RFC 8617 section 4.1.2.
        if coverage.signs("arc-seal") {
            return Err(ChainFault::SignsSeal(instance));
        }
        // No set may follow a set with `cv=fail`, and only the first set has `cv=none`.
        match (says, instance) {
            (Validation::None, 1) | (Validation::Pass, 2..) => {}
            (Validation::Fail, _) => return Err(ChainFault::SaysFail(instance)),
            _ => return Err(ChainFault::Status(instance)),
        }
        Ok(Self { fields, signer, coverage, expiry, sealer })
    }
}

/// Parses `ARC-Seal`.
fn parse_seal(tags: &Tags<'_>) -> Result<(Signer, Validation), SignatureFault> {
    let says = match required(tags, "cv")? {
        b"none" => Validation::None,
        b"pass" => Validation::Pass,
        b"fail" => Validation::Fail,
        _ => return Err(SignatureFault::Malformed("cv")),
    };
    optional_number(tags, "t")?;
    Ok((Signer::parse(tags)?, says))
}

/// Parses `ARC-Message-Signature`.
fn parse_signature(tags: &Tags<'_>) -> Result<(Signer, Coverage, Expiry), SignatureFault> {
    let signer = Signer::parse(tags)?;
    let coverage = Coverage::parse(tags, Canonicalization::Relaxed)?;
    if !coverage.has_no_names() && !coverage.signs("from") {
        return Err(SignatureFault::NoFrom);
    }
    Ok((signer, coverage, Expiry::parse(tags)?))
}

/// Returns the instance in `ARC-Authentication-Results`, which begins with `i=…;`.
fn results_instance(value: &[u8]) -> Option<usize> {
    let end = value.iter().position(|octet| *octet == b';')?;
    let equals = value[..end].iter().position(|octet| *octet == b'=')?;
    (trim(&value[..equals]) == b"i").then(|| instance(trim(&value[equals + 1..end])))?
}

/// Parses an instance: a number from 1 to 50.
fn instance(digits: &[u8]) -> Option<usize> {
    let instance = usize::try_from(number(digits)?).ok()?;
    (1..=SETS).contains(&instance).then_some(instance)
}
