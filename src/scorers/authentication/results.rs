//! What was found, in the words of findings and of `Authentication-Results`.

use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::{
    ArcOutput, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, DmarcResult,
};
use mail_auth::{Error, SpfOutput, SpfResult};

use super::Sender;

/// A symbol and what explains it.
pub(super) type Found = (&'static str, String);

/// What there is to say of the content.
pub(super) struct Checked {
    pub(super) found: Vec<Found>,
    /// For `Authentication-Results`, behind what SPF says.
    pub(super) field: String,
    /// The domain that wants this message rejected.
    pub(super) rejected: Option<String>,
}

impl Checked {
    /// Nothing but why it could not be checked.
    pub(super) fn not(symbol: &'static str, why: String) -> Self {
        let result = symbol.trim_start_matches("DKIM_").to_ascii_lowercase();
        Self { found: vec![(symbol, why)], field: format!("; dkim={result}"), rejected: None }
    }

    /// Why no signature was evaluated, and what DMARC says without one.
    pub(super) fn without_signatures(why: String, dmarc: &DmarcOutput, sender: &Sender) -> Self {
        let mut checked = Self::new(&[], &ArcOutput::default(), dmarc, sender);
        checked.found[0] = ("DKIM_PERMERROR", why);
        checked.field = checked.field.replacen("dkim=none", "dkim=permerror", 1);
        checked
    }

    pub(super) fn new(
        dkim: &[DkimOutput<'_>],
        arc: &ArcOutput<'_>,
        dmarc: &DmarcOutput,
        sender: &Sender,
    ) -> Self {
        let dkim: Vec<_> = dkim.iter().map(failed_if_wrong).collect();
        let mut found = vec![dkim_found(&dkim)];
        let mut results = AuthenticationResults::new("").with_dkim_results(&dkim, dmarc.domain());
        // What `not` says is all there is to say of messages that nobody signed.
        let unsigned = if dkim.is_empty() { "; dkim=none" } else { "" };
        if *arc.result() != DkimResult::None {
            let chain = held_or_failed(arc);
            results = results.with_arc_result(&chain, sender.client);
            let names = ["ARC_PASS", "ARC_FAIL", "ARC_TEMPERROR", "ARC_FAIL"];
            found.push(symbol_of(chain.result(), names));
        }
        let (policy, rejected) = dmarc_found(dmarc);
        found.push(policy);
        let field = match dmarc.domain() {
            "" => format!("{unsigned}{results}; dmarc=none"),
            _ => format!("{unsigned}{}", results.with_dmarc_result(dmarc)),
        };
        let field = harmless(&field);
        Self { found, field, rejected: rejected.then(|| dmarc.domain().to_owned()) }
    }
}

/// A signature that is well-formed and wrong has failed (RFC 8601 section 2.7.1), which mail-auth calls
/// neutral.
fn failed_if_wrong<'d>(output: &'d DkimOutput<'_>) -> DkimOutput<'d> {
    match (output.result(), output.signature()) {
        (
            DkimResult::Neutral(
                error @ Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired),
            ),
            Some(signature),
        ) => DkimOutput::fail(error.clone()).with_signature(signature),
        _ => output.clone(),
    }
}

/// A chain that is not intact has failed, whatever is wrong with it (RFC 8617 section 4.4).
fn held_or_failed(arc: &ArcOutput<'_>) -> ArcOutput<'static> {
    ArcOutput::default().with_result(match arc.result() {
        DkimResult::Neutral(error) | DkimResult::PermError(error) => {
            DkimResult::Fail(error.clone())
        }
        result => result.clone(),
    })
}

/// The best of all signatures.
fn dkim_found(outputs: &[DkimOutput<'_>]) -> Found {
    let names = ["DKIM_PASS", "DKIM_FAIL", "DKIM_TEMPERROR", "DKIM_PERMERROR"];
    let ranked = |output: &&DkimOutput<'_>| match output.result() {
        DkimResult::Pass => 0,
        DkimResult::TempError(_) => 1,
        DkimResult::Fail(_) => 2,
        DkimResult::PermError(_) | DkimResult::Neutral(_) => 3,
        DkimResult::None => 4,
    };
    let Some(best) = outputs.iter().min_by_key(ranked) else {
        return ("DKIM_NONE", String::new());
    };
    let (symbol, why) = symbol_of(best.result(), names);
    let domain = best.signature().map_or("", |signature| &signature.d);
    (symbol, [domain, &why].join(" ").trim().to_owned())
}

/// The symbol of a result: of the four, that for pass, fail, temporary or permanent error.
fn symbol_of(result: &DkimResult, [pass, fail, later, never]: [&'static str; 4]) -> Found {
    match result {
        DkimResult::Pass | DkimResult::None => (pass, String::new()),
        DkimResult::Fail(error) => (fail, error.to_string()),
        DkimResult::TempError(error) => (later, error.to_string()),
        DkimResult::PermError(error) | DkimResult::Neutral(error) => (never, error.to_string()),
    }
}

/// What DMARC found, and whether the domain wants the message rejected.
fn dmarc_found(dmarc: &DmarcOutput) -> (Found, bool) {
    let (symbol, rejected) = match (dmarc.result(), dmarc.policy()) {
        (DmarcResult::Pass, _) => ("DMARC_PASS", false),
        (DmarcResult::Fail(_), Policy::Reject) => ("DMARC_FAIL_REJECT", true),
        (DmarcResult::Fail(_), Policy::Quarantine) => ("DMARC_FAIL_QUARANTINE", false),
        (DmarcResult::Fail(_), Policy::None | Policy::Unspecified) => ("DMARC_FAIL_NONE", false),
        (DmarcResult::TempError(_), _) => ("DMARC_TEMPERROR", false),
        (DmarcResult::PermError(_), _) => ("DMARC_PERMERROR", false),
        (DmarcResult::None, _) => ("DMARC_NONE", false),
    };
    ((symbol, dmarc.domain().to_owned()), rejected)
}

pub(super) fn spf(spf: &SpfOutput, sender: &Sender) -> Found {
    let symbol = match spf.result() {
        SpfResult::Pass => "SPF_PASS",
        SpfResult::Fail => "SPF_FAIL",
        SpfResult::SoftFail => "SPF_SOFTFAIL",
        SpfResult::Neutral => "SPF_NEUTRAL",
        SpfResult::TempError => "SPF_TEMPERROR",
        SpfResult::PermError => "SPF_PERMERROR",
        SpfResult::None => "SPF_NONE",
    };
    (symbol, format!("{} for {}", sender.client, sender.domain()))
}

/// The beginning of `Authentication-Results`: who has checked, and SPF.
pub(super) fn spf_field(authserv_id: &str, spf: &SpfOutput, sender: &Sender) -> String {
    let results = AuthenticationResults::new(authserv_id);
    let Sender { client, helo, path, .. } = sender;
    let results = match path {
        None => results.with_spf_ehlo_result(spf, *client, helo),
        Some(path) => results.with_spf_mailfrom_result(spf, *client, path, helo),
    };
    harmless(&results.to_string())
}

/// The field with nothing in its quotes that a reader who does not know quotes could take for a result.
/// Senders choose what stands there: their address, and the `i=` of their signature.
fn harmless(field: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    let plain = |c: char| c.is_ascii_alphanumeric() || "@.-_+/".contains(c);
    let one = |c: char| match c {
        _ if escaped => {
            escaped = false;
            '?'
        }
        '\\' if quoted => {
            escaped = true;
            '?'
        }
        '"' => {
            quoted = !quoted;
            c
        }
        _ if quoted && !plain(c) => '?',
        _ => c,
    };
    field.chars().map(one).collect()
}

/// What could not be found out, as one line; empty if nothing.
pub(super) fn failures<'f>(found: impl IntoIterator<Item = &'f Found>) -> String {
    let failed = found.into_iter().filter(|(symbol, _)| symbol.ends_with("_TEMPERROR"));
    let failed: Vec<_> = failed.map(|(symbol, detail)| format!("{symbol}: {detail}")).collect();
    failed.join("; ")
}
