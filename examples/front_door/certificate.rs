//! Reads the TLS certificate and its key, checks that they match, and warns of problems to come,
//! such as expiry.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nobounce::onward::TlsPolicy;
use nobounce::tls::{TlsClient, TlsServer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::options::Options;
use crate::user;

/// Days before expiry from which on front_door warns. certbot renews 30 days before expiry.
const SOON: u64 = 14;
const DAY: u64 = 86_400;

/// Reads the certificate and its key. Returns `None` if none is configured.
pub(crate) fn read(options: &Options) -> Result<Option<TlsServer>, String> {
    let (Some(chain), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let (chain_text, key_text) = (file("--tls-cert", chain)?, file("--tls-key", key)?);
    let read = TlsServer::from_pem(&chain_text, &key_text);
    read.map(Some).map_err(|error| {
        format!(
            "--tls-cert {}, --tls-key {}: {error}; expected PEM files with the certificate chain and with its \
             private key",
            chain.display(),
            key.display()
        )
    })
}

/// Returns the TLS settings for the onward server. `None` if TLS is off.
pub(crate) fn onward(options: &Options) -> Result<Option<TlsClient>, String> {
    match (options.onward_tls, &options.onward_name, &options.onward_roots) {
        (TlsPolicy::Never, Some(_), _) => {
            Err("--onward-name requires TLS; expected --onward-tls must or may".to_owned())
        }
        (TlsPolicy::Never, ..) => Ok(None),
        (_, Some(name), Some(path)) => {
            let tls = TlsClient::verified(name, &file("--onward-roots", path)?);
            tls.map(Some).map_err(|error| {
                let path = path.display();
                format!("--onward-roots {path}: {error}; expected CA certificates, PEM")
            })
        }
        _ => TlsClient::unverified().map(Some).map_err(|error| format!("--onward-tls: {error}")),
    }
}

/// Returns warnings about a usable certificate: current problems, and problems that will soon occur.
pub(crate) fn doubts(options: &Options) -> Vec<String> {
    let Some(path) = &options.tls_cert else { return Vec::new() };
    let Ok(text) = fs::read(path) else { return Vec::new() };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    let facts: Vec<_> = chain.iter().filter_map(|der| Facts::read(der)).collect();
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut doubts = Vec::new();
    for (n, facts) in (1..).zip(&facts) {
        let which = format!("--tls-cert {}: certificate {n}", path.display());
        if now >= facts.not_after {
            let days = (now - facts.not_after) / DAY;
            doubts.push(format!("{which} expired {days} days ago; renew it, then send SIGHUP"));
        } else if now < facts.not_before {
            doubts.push(format!("{which} is not valid yet; check the clock"));
        } else if facts.not_after - now < SOON * DAY {
            let days = (facts.not_after - now) / DAY;
            doubts.push(format!("{which} expires in {days} days; renew it, then send SIGHUP"));
        }
    }
    let gap = facts.windows(2).position(|pair| pair[0].issuer != pair[1].subject);
    let alone = facts.len() == 1 && facts[0].issuer != facts[0].subject;
    if let Some(n) = gap.map(|n| n + 1).or(alone.then_some(1)) {
        doubts.push(format!(
            "--tls-cert {}: certificate {n} is not followed by the certificate of its issuer; clients that verify \
             certificates need the whole chain, such as certbot's fullchain.pem",
            path.display()
        ));
    }
    doubts
}

/// Returns the end of the validity of the certificate in this file, in Unix seconds.
pub(crate) fn expiry(path: &Path) -> Option<u64> {
    let text = fs::read(path).ok()?;
    let first = CertificateDer::pem_slice_iter(&text).next()?.ok()?;
    Facts::read(&first).map(|facts| facts.not_after)
}

/// Reads a file that was named by an option.
pub(crate) fn file(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    fs::read(path).map_err(|error| {
        let who = user::reader(&error);
        format!("{option} {name}: {error}; expected a PEM file that {who} may read")
    })
}

/// The validity period of an X.509 certificate and its position in a chain (RFC 5280 section 4.1).
#[derive(PartialEq, Eq)]
struct Facts<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    /// Unix time in seconds.
    not_before: u64,
    not_after: u64,
}

impl<'a> Facts<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const VERSION: u8 = 0xa0;
        let (_, certificate, _) = element(der).filter(|it| it.0 == SEQUENCE)?;
        let (_, signed, _) = element(certificate).filter(|it| it.0 == SEQUENCE)?;
        let mut rest = signed;
        let mut next = || {
            let (tag, value, remaining) = element(rest)?;
            rest = remaining;
            Some((tag, value))
        };
        // Version 1 certificates omit the version field.
        let first = next()?;
        if first.0 == VERSION {
            next()?; // serial number
        }
        next()?; // signature algorithm
        let issuer = next()?.1;
        let validity = next()?.1;
        let subject = next()?.1;
        let (tag, not_before, remaining) = element(validity)?;
        let not_before = seconds(tag, not_before)?;
        let (tag, not_after, _) = element(remaining)?;
        Some(Self { issuer, subject, not_before, not_after: seconds(tag, not_after)? })
    }
}

/// Splits off the first DER element. Returns its tag, its value, and the remaining octets.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (octets, remaining) = rest.split_at_checked(count)?;
        length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        rest = remaining;
    }
    let (value, remaining) = rest.split_at_checked(length)?;
    Some((tag, value, remaining))
}

/// Converts a DER time, `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, to Unix seconds.
fn seconds(tag: u8, time: &[u8]) -> Option<u64> {
    const UTC_TIME: u8 = 0x17;
    let text = str::from_utf8(time).ok()?;
    let full = match tag {
        // Years from 50 on are in the 20th century (RFC 5280 section 4.1.2.5.1).
        UTC_TIME if *text >= *"5" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        _ => text.to_owned(),
    };
    let number = |from: usize, to: usize| full.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Count years from March, so that the leap day is the last day of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days.checked_sub(719_468)? * DAY + hour * 3_600 + minute * 60 + second)
}
