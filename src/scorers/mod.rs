//! Scorers that are part of this crate.

#[cfg(feature = "sender-authentication")]
mod authentication;
mod behaviour;
mod clamd;
mod daemon;
mod excerpt;
mod greylist;
mod gtube;
#[cfg(feature = "dns")]
mod helo;
mod lessons;
#[cfg(feature = "dns")]
mod lists;
#[cfg(feature = "dns")]
mod once;
mod rate_limit;
mod reputation;
#[cfg(feature = "dns")]
mod reverse_name;
#[cfg(feature = "rspamd")]
mod rspamd;
mod spamd;
mod structure;
mod whose;

#[cfg(feature = "sender-authentication")]
pub use authentication::{Authentication, SymbolError};
pub use behaviour::Behaviour;
pub use clamd::{Clamd, OnVirus};
pub use excerpt::Oversize;
pub use greylist::Greylist;
pub use gtube::Gtube;
#[cfg(feature = "dns")]
pub use helo::{HeloFlaw, HeloNames};
pub use lessons::{Impression, Learner, Lesson, Lessons};
#[cfg(feature = "dns")]
pub use lists::{CodeError, Codes, DnsList, Dnsbl, Rhsbl, Uribl};
pub use rate_limit::{Over, RateLimit};
pub use reputation::Reputation;
#[cfg(feature = "dns")]
pub use reverse_name::ReverseNames;
#[cfg(feature = "rspamd")]
pub use rspamd::{Rspamd, RspamdActions};
pub use spamd::{Spamd, UserNameError};
pub use structure::{Structure, StructureFlaw};
pub use whose::Widths;

/// Returns the summary of an opinion for tests: its refusal, or its first finding.
#[cfg(test)]
fn told(opinion: &crate::opinion::Opinion) -> String {
    match (&opinion.refusal, &opinion.findings[..]) {
        (Some(refusal), []) => refusal.to_string(),
        (None, [finding, ..]) => {
            format!("{}={} {}", finding.symbol(), finding.score(), finding.detail())
        }
        (None, []) if opinion.is_silent() => "silent".into(),
        _ => panic!("more than it has to say: {opinion:?}"),
    }
}
