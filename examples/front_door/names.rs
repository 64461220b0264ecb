//! Whether clients' names are looked up in DNS, and for whom.

use std::sync::Arc;
use std::time::Duration;

use nobounce::Identify;
use nobounce::dns::Resolver;

use crate::config::{Config, dns};
use crate::options::Options;
use nobounce::tokio::Tokio;

/// How long a look-up may take unless the file says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// How clients' names are looked up.
pub(crate) struct Names {
    /// The resolver, and how long a look-up may take; `None` if there is none.
    pub(crate) lookup: Option<(Arc<dyn Resolver>, Duration)>,
    /// What the operator should know about it.
    pub(crate) warning: Option<String>,
}

impl Names {
    /// Names are looked up unless the file says otherwise, if anything reads them: to SpamAssassin and rspamd
    /// a client of unknown name is one without a name.
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
                "clients' names are not looked up (dns.name_clients = 0), so that {} takes every client \
                 for one without a name; remove the line",
                readers.join(" and ")
            )
        });
        Self { lookup, warning }
    }
}
