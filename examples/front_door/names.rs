//! Decides whether clients' names are looked up in DNS, and for which scorers.

use std::sync::Arc;
use std::time::Duration;

use nobounce::dns::Resolver;
use nobounce::onward::Identify;

use crate::config::{Config, dns};
use crate::options::Options;
use nobounce::tokio::Tokio;

/// Default timeout of a lookup.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lookup of clients' names.
pub(crate) struct Names {
    /// The resolver and the timeout of a lookup; `None` if names are not looked up.
    pub(crate) lookup: Option<(Arc<dyn Resolver>, Duration)>,
    /// A warning for the operator about this choice.
    pub(crate) warning: Option<String>,
}

impl Names {
    /// Decides from the options and the file. By default names are looked up if anything reads
    /// them: SpamAssassin and rspamd treat a client of unknown name as a client without a name.
    pub(crate) fn of(options: &Options, config: Option<&Config>) -> Self {
        let mut readers = config.map(Config::readers_of_names).unwrap_or_default();
        readers.extend(options.spamd.is_some().then_some("--spamd"));
        let told = matches!(options.identify, Identify::XClient | Identify::XForward);
        let needed = told || !readers.is_empty() || config.is_some_and(Config::uses_names);
        let patience = match config.and_then(Config::name_clients) {
            Some(said) => said,
            None => needed.then_some(PATIENCE),
        };
        let resolver = || config.map_or_else(|| dns::resolver(None, &Tokio), Config::resolver);
        let lookup = patience.map(|patience| (resolver(), patience));
        let warning = (lookup.is_none() && !readers.is_empty()).then(|| {
            format!(
                "clients' names are not looked up (dns.name_clients = 0), so {} treats every client as one \
                 without a name; remove the line",
                readers.join(" and ")
            )
        });
        Self { lookup, warning }
    }
}
