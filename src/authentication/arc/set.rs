//! The three fields of an ARC set (RFC 8617 section 4.1).

use super::{ChainFault, OCTETS, SETS};
use crate::authentication::canonicalization::Canonicalization;
use crate::authentication::content::Header;
use crate::authentication::signature::{
    Coverage, Expiry, SignatureFault, Signer, optional_number, required,
};
use crate::authentication::tags::{Tags, number, trim};

/// A set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) fields: SetFields,
    /// Of the message signature.
    pub(super) signer: Signer,
    pub(super) coverage: Coverage,
    pub(super) expiry: Expiry,
    /// Of the seal.
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

/// The fields of sets, by instance.
type Places = [Option<usize>; SETS];

/// Reads all sets, the first one first.
pub(super) fn read(header: &Header) -> Result<Vec<Set>, ChainFault> {
    let names = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];
    let fields = names.map(|name| header.named(&name.to_ascii_lowercase()));
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
    let mut places: [Places; 3] = [[None; SETS]; 3];
    for ((name, fields), places) in names.into_iter().zip(fields).zip(&mut places) {
        for field in fields {
            let instance = match name {
                "ARC-Authentication-Results" => results_instance(header.value(*field)),
                _ => Tags::parse(header.value(*field)).ok().and_then(|it| instance(it.get("i")?)),
            };
            let instance = instance.ok_or(ChainFault::Instance(name))?;
            if places[instance - 1].replace(*field).is_some() {
                return Err(ChainFault::Duplicate(instance, name));
            }
        }
    }
    let [results, signatures, seals] = places;
    let set = |at: usize| {
        let incomplete = ChainFault::Incomplete(at + 1);
        let (Some(results), Some(signature), Some(seal)) = (results[at], signatures[at], seals[at])
        else {
            return Err(incomplete);
        };
        Set::parse(header, at + 1, SetFields { results, signature, seal })
    };
    (0..count).map(set).collect()
}

impl Set {
    fn parse(header: &Header, instance: usize, fields: SetFields) -> Result<Self, ChainFault> {
        let seal = seal(header.value(fields.seal));
        let (sealer, says, has_names) = seal.map_err(|fault| ChainFault::Seal(instance, fault))?;
        let signature = signature(header.value(fields.signature));
        let (signer, coverage, expiry) =
            signature.map_err(|fault| ChainFault::Signature(instance, fault))?;
        // RFC 8617 section 4.1.3.
        if has_names {
            return Err(ChainFault::SealNamesFields(instance));
        }
        // RFC 8617 section 4.1.2.
        if coverage.signs("arc-seal") {
            return Err(ChainFault::SignsSeal(instance));
        }
        // A failure ends a chain, and only the first set has no chain before it.
        match (says, instance) {
            (Validation::None, 1) | (Validation::Pass, 2..) => {}
            (Validation::Fail, _) => return Err(ChainFault::SaysFail(instance)),
            _ => return Err(ChainFault::Status(instance)),
        }
        Ok(Self { fields, signer, coverage, expiry, sealer })
    }
}

/// Parses `ARC-Seal`. Also returns whether it has `h=`.
fn seal(value: &[u8]) -> Result<(Signer, Validation, bool), SignatureFault> {
    let tags = Tags::parse(value)?;
    let says = match required(&tags, "cv")? {
        b"none" => Validation::None,
        b"pass" => Validation::Pass,
        b"fail" => Validation::Fail,
        _ => return Err(SignatureFault::Malformed("cv")),
    };
    optional_number(&tags, "t")?;
    Ok((Signer::parse(&tags)?, says, tags.get("h").is_some()))
}

/// Parses `ARC-Message-Signature`.
fn signature(value: &[u8]) -> Result<(Signer, Coverage, Expiry), SignatureFault> {
    let tags = Tags::parse(value)?;
    let signer = Signer::parse(&tags)?;
    let coverage = Coverage::parse(&tags, Canonicalization::Relaxed)?;
    if !coverage.has_no_names() && !coverage.signs("from") {
        return Err(SignatureFault::NoFrom);
    }
    Ok((signer, coverage, Expiry::parse(&tags)?))
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
