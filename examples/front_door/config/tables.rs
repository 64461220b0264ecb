//! The tables of scorers. A scorer is enabled if its table is present.

use nobounce::scorers::StructureFlaw;
use serde::Deserialize;
use toml::Spanned;

use super::values::{
    Actions, Excess, Octets, Parsed, Points, Printable, ServerAddress, UserName, Virus,
};

/// Defines a table with the given keys of a scorer and the keys that all scorers have.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $key:ident: $value:ty,)* }) => {
        $(#[$doc])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$attribute])* pub(crate) $key: $value,)*
            budget: Option<$crate::config::values::Patience>,
            on_failure: Option<$crate::config::values::OnFailure>,
            scale: Option<$crate::config::values::Percent>,
            #[serde(default)]
            monitor: bool,
        }

        impl $name {
            pub(crate) fn seat(&self, scorer: impl nobounce::Scorer + 'static) -> nobounce::panel::Seat {
                let mut seat = nobounce::panel::Seat::new(scorer);
                if let Some(budget) = &self.budget {
                    seat = seat.budget(budget.0);
                }
                if let Some(policy) = &self.on_failure {
                    seat = seat.on_failure(policy.0);
                }
                if let Some(percent) = &self.scale {
                    seat = seat.scale(percent.0);
                }
                if self.monitor { seat.monitor() } else { seat }
            }
        }
    };
}

pub(super) use table;

table! {
    /// GTUBE, the standard test message.
    Gtube {}
}

table! {
    /// The structure of messages.
    Structure {
        #[serde(default)]
        weights: Flaws,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flaws {
    #[serde(rename = "MIME_AMBIGUOUS")]
    ambiguous: Option<Points>,
    #[serde(rename = "MIME_TRUNCATED")]
    truncated: Option<Points>,
    #[serde(rename = "MIME_TNEF")]
    tnef: Option<Points>,
}

impl Structure {
    pub(crate) fn scorer(&self) -> nobounce::scorers::Structure {
        let Flaws { ambiguous, truncated, tnef } = &self.weights;
        let weights = [
            (StructureFlaw::Ambiguous, ambiguous),
            (StructureFlaw::Truncated, truncated),
            (StructureFlaw::Tnef, tnef),
        ];
        let weights =
            weights.into_iter().filter_map(|(flaw, points)| Some((flaw, points.as_ref()?.0)));
        weights.fold(nobounce::scorers::Structure::new(), |scorer, (flaw, score)| {
            scorer.weigh(flaw, score)
        })
    }
}

table! {
    /// SpamAssassin.
    Spamd {
        address: Parsed<ServerAddress>,
        user: Option<Spanned<Parsed<UserName>>>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}

table! {
    /// rspamd.
    Rspamd {
        address: Parsed<ServerAddress>,
        actions: Option<Actions>,
        mta_name: Option<Parsed<Printable>>,
        settings: Option<Parsed<Printable>>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}

table! {
    /// ClamAV.
    Clamd {
        address: Parsed<ServerAddress>,
        on_virus: Option<Virus>,
        size_limit: Option<Octets>,
        oversize: Option<Excess>,
    }
}
