//! Results as findings and as `Authentication-Results`.

use super::Sender;
use crate::authentication::arc::{ChainResult, ChainValidation};
use crate::authentication::dkim::{SignatureResult, Verification};
use crate::authentication::{
    Authors, DmarcOutcome, DmarcPolicy, DmarcResult, SpfIdentity, SpfOutcome, SpfResult,
};

/// Maximum number of signatures in `Authentication-Results`. Signatures that pass come first.
const SIGNATURES: usize = 10;

/// A symbol and its detail.
pub(super) type Found = (&'static str, String);

/// The results of the checks of the content.
pub(super) struct Checked {
    pub(super) dkim: Vec<Verification>,
    pub(super) arc: ChainValidation,
    pub(super) authors: Authors,
    pub(super) dmarc: DmarcOutcome,
}

impl Checked {
    pub(super) fn found(&self) -> Vec<Found> {
        let found = [self.dkim_found()].into_iter();
        found
            .chain(self.arc_found())
            .chain([self.dmarc_found()])
            .chain(self.author_found())
            .collect()
    }

    /// Returns the author domain whose policy refuses the message.
    pub(super) fn rejected(&self) -> Option<&str> {
        self.dmarc.author.as_deref().filter(|_| self.dmarc.is_rejected())
    }

    /// Returns the finding for the best of all signatures.
    fn dkim_found(&self) -> Found {
        let rank = |verification: &&Verification| match verification.result {
            SignatureResult::Pass => 0,
            SignatureResult::TempError => 1,
            SignatureResult::Fail => 2,
            _ => 3,
        };
        let Some(best) = self.dkim.iter().min_by_key(rank) else {
            return ("DKIM_NONE", String::new());
        };
        let symbol = match best.result {
            SignatureResult::Pass => "DKIM_PASS",
            SignatureResult::TempError => "DKIM_TEMPERROR",
            SignatureResult::Fail => "DKIM_FAIL",
            _ => "DKIM_PERMERROR",
        };
        let domain = best.domain.as_deref().unwrap_or_default();
        let reason = best.reason.as_deref().unwrap_or_default();
        let testing = if best.testing { "(testing)" } else { "" };
        (symbol, words([domain, reason, testing]))
    }

    fn arc_found(&self) -> Option<Found> {
        let symbol = match self.arc.result {
            ChainResult::None => return None,
            ChainResult::Pass => "ARC_PASS",
            ChainResult::TempError => "ARC_TEMPERROR",
            _ => "ARC_FAIL",
        };
        let sealers =
            self.arc.sealers.iter().map(|domain| &**domain).collect::<Vec<_>>().join(", ");
        let sealers = if sealers.is_empty() { sealers } else { format!("sealed by {sealers}") };
        Some((symbol, words([self.arc.reason.as_deref().unwrap_or_default(), &sealers])))
    }

    fn dmarc_found(&self) -> Found {
        let symbol = match (self.dmarc.result, self.dmarc.policy) {
            (DmarcResult::Pass, _) => "DMARC_PASS",
            (DmarcResult::Fail, Some(DmarcPolicy::Reject)) => "DMARC_FAIL_REJECT",
            (DmarcResult::Fail, Some(DmarcPolicy::Quarantine)) => "DMARC_FAIL_QUARANTINE",
            (DmarcResult::Fail, _) => "DMARC_FAIL_NONE",
            (DmarcResult::TempError, _) => "DMARC_TEMPERROR",
            (DmarcResult::None, _) => "DMARC_NONE",
        };
        let DmarcOutcome { author, identifier, policy_domain, problem, .. } = &self.dmarc;
        let author = author.as_deref().unwrap_or_default();
        let why = match (problem, identifier, policy_domain) {
            (Some(problem), _, _) => format!("({problem})"),
            (None, Some(identifier), _) => format!("(aligned: {})", identifier.domain),
            (None, None, Some(domain)) if **domain != *author => format!("(policy of {domain})"),
            _ => String::new(),
        };
        (symbol, words([author, &why]))
    }

    fn author_found(&self) -> Option<Found> {
        let fault = self.authors.malformation();
        if !self.authors.are_several() {
            return fault.map(|fault| ("FROM_MALFORMED", fault.to_owned()));
        }
        let domains: Vec<_> = self.authors.domains().iter().map(|domain| &**domain).collect();
        let more = if self.authors.are_truncated() { "and more" } else { "" };
        let fault = fault.map_or(String::new(), |fault| format!("({fault})"));
        Some(("FROM_SEVERAL", words([&*domains.join(", "), more, &fault])))
    }
}

pub(super) fn spf(spf: &SpfOutcome, sender: &Sender) -> Found {
    let symbol = match spf.result {
        SpfResult::Pass => "SPF_PASS",
        SpfResult::Fail => "SPF_FAIL",
        SpfResult::SoftFail => "SPF_SOFTFAIL",
        SpfResult::Neutral => "SPF_NEUTRAL",
        SpfResult::TempError => "SPF_TEMPERROR",
        SpfResult::PermError => "SPF_PERMERROR",
        SpfResult::None => "SPF_NONE",
    };
    let domain = spf.domain.as_deref().unwrap_or_default();
    let of = if domain.is_empty() { "" } else { "for" };
    (symbol, words([&sender.client, of, domain, &reason(spf)]))
}

/// Returns the failed lookups in one line, which is empty if no lookup failed.
pub(super) fn failures<'f>(found: impl IntoIterator<Item = &'f Found>) -> String {
    let failed = found.into_iter().filter(|(symbol, _)| symbol.ends_with("_TEMPERROR"));
    let failed: Vec<_> = failed.map(|(symbol, detail)| format!("{symbol}: {detail}")).collect();
    failed.join("; ")
}

/// Writes the value of `Authentication-Results` (RFC 8601 section 2.2), without line ends.
pub(super) fn field(
    authserv_id: &str,
    spf: &SpfOutcome,
    sender: &Sender,
    checked: &Checked,
) -> String {
    let mut results = Results(String::with_capacity(512));
    results.0.push_str(authserv_id);
    results.method("spf", spf.result.as_str(), &reason(spf));
    match spf.identity {
        SpfIdentity::Helo => results.property("smtp.helo", &sender.helo),
        SpfIdentity::MailFrom => results.property("smtp.mailfrom", &sender.path),
    }
    let Checked { dkim, arc, dmarc, .. } = checked;
    if dkim.is_empty() {
        results.method("dkim", "none", "");
    }
    let passes = |it: &&Verification| it.result == SignatureResult::Pass;
    let (first, others) = (dkim.iter().filter(passes), dkim.iter().filter(|it| !passes(it)));
    for signature in first.chain(others).take(SIGNATURES) {
        let reason = signature.reason.as_deref().unwrap_or_default();
        results.method("dkim", &signature.result.to_string(), reason);
        results.property("header.d", signature.domain.as_deref().unwrap_or_default());
        results.property("header.s", signature.selector.as_deref().unwrap_or_default());
        results.property("header.a", signature.algorithm.as_deref().unwrap_or_default());
        results.property("header.b", signature.signature.as_deref().unwrap_or_default());
    }
    if arc.result != ChainResult::None {
        let reason = arc.reason.as_deref().unwrap_or_default();
        results.method("arc", &arc.result.to_string(), reason);
        results.property("smtp.remote-ip", &sender.client);
    }
    results.method("dmarc", dmarc.result.as_str(), "");
    results.property("header.from", dmarc.author.as_deref().unwrap_or_default());
    results.property("policy.dmarc", dmarc.policy.map_or("", DmarcPolicy::as_str));
    results.0
}

/// Writer of `Authentication-Results`. Clients choose their address and the tags of their
/// signatures, and some programs that read this field do not support quotes and comments. So
/// characters that could end a value are replaced.
struct Results(String);

impl Results {
    /// Begins the result of a method. The reason becomes a comment.
    fn method(&mut self, name: &str, result: &str, reason: &str) {
        self.push(["; ", name, "=", result]);
        if !reason.is_empty() {
            self.0.push_str(" (");
            self.replaced(reason, b" ,%:/");
            self.0.push(')');
        }
    }

    /// Adds a property of the method, in quotes if necessary. Without a value, it is left out.
    fn property(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.push([" ", name, "="]);
        if value.bytes().all(is_harmless) {
            self.0.push_str(value);
        } else {
            self.0.push('"');
            self.replaced(value, b":/");
            self.0.push('"');
        }
    }

    fn push<const N: usize>(&mut self, texts: [&str; N]) {
        texts.iter().for_each(|text| self.0.push_str(text));
    }

    fn replaced(&mut self, text: &str, also: &[u8]) {
        let one = |c: char| match u8::try_from(c) {
            Ok(octet) if is_harmless(octet) || also.contains(&octet) => c,
            _ => '?',
        };
        self.0.extend(text.chars().map(one));
    }
}

fn is_harmless(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"@.-_+".contains(&octet)
}

/// Returns the reason for an SPF result: the problem, or the mechanism that matched.
fn reason(spf: &SpfOutcome) -> String {
    let problem = spf.problem.as_ref().map(ToString::to_string);
    problem.or_else(|| spf.mechanism.as_deref().map(str::to_owned)).unwrap_or_default()
}

/// Joins these parts, except empty ones.
fn words<const N: usize>(parts: [&str; N]) -> String {
    let mut words = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(part);
    }
    words
}
