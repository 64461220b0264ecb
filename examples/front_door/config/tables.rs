//! The tables of scorers. A scorer takes part if its table is there.

use nobounce::{Address, Scorer, Seat};
use serde::Deserialize;
use toml::Spanned;

use super::values::{Actions, Excess, Octets, OnFailure, Parsed, Percent, Seconds, Virus};

/// A table: the keys of a scorer, and those that each has.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $key:ident: $value:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$attribute])* pub(crate) $key: $value,)*
            budget: Option<Seconds>,
            on_failure: Option<OnFailure>,
            scale: Option<Percent>,
            #[serde(default)]
            monitor: bool,
        }

        impl $name {
            pub(crate) fn seat(&self, scorer: impl Scorer + 'static) -> Seat {
                let mut seat = Seat::new(scorer);
                if let Some(Seconds(budget)) = self.budget {
                    seat = seat.budget(budget);
                }
                if let Some(OnFailure(policy)) = self.on_failure {
                    seat = seat.on_failure(policy);
                }
                if let Some(Percent(percent)) = self.scale {
                    seat = seat.scale(percent);
                }
                if self.monitor { seat.monitor() } else { seat }
            }
        }
    };
}

table! {
    /// The test message.
    Gtube {}
}

table! {
    /// SpamAssassin.
    Spamd {
        address: Parsed<Address>,
        user: Option<Spanned<String>>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}

table! {
    /// rspamd.
    Rspamd {
        address: Parsed<Address>,
        actions: Option<Actions>,
        mta_name: Option<String>,
        settings: Option<String>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}

table! {
    /// ClamAV.
    Clamd {
        address: Parsed<Address>,
        on_virus: Option<Virus>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}
