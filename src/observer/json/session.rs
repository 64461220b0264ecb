//! Sessions without a transaction, and clients without a session.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::text::seconds;
use super::{Client, Judged, Outcome, Party, Word};
use crate::conduct::{Conduct, Misconduct};
use crate::peer::Peer;
use crate::record::SessionRecord;
use crate::wire::reply::Reply;

/// A session without a transaction, or a client that was turned away before its session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The ID with `.0`, which is the reference in a refusal by the panel. `None` without a session.
    pub id: Option<String>,
    /// The outcome of the session.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The reason why no session began.
    pub cause: Option<String>,
    /// The client.
    pub client: Client,
    /// The number of violations of each kind by the client.
    pub conduct: BTreeMap<String, u16>,
    /// The answers of the scorers about the client and the decision of the panel.
    #[serde(flatten)]
    pub judged: Judged,
    /// Duration of the session in seconds.
    pub seconds: f64,
}

impl From<&SessionRecord<'_>> for Session {
    fn from(record: &SessionRecord<'_>) -> Self {
        Self {
            id: Some(record.session.transaction(0).to_string()),
            outcome: Outcome::of_session(record.end, record.reply),
            cause: None,
            client: Client::from(record.peer),
            conduct: counts(record.conduct),
            judged: record.tally.map(|tally| Judged::of(tally, record.timings)).unwrap_or_default(),
            seconds: seconds(record.duration),
        }
    }
}

impl Session {
    /// Returns the line for a client without a session.
    pub(super) fn none(
        peer: &Peer,
        (result, by): (Word, Party),
        reply: Option<&Reply>,
        cause: &dyn Display,
    ) -> Self {
        Self {
            id: None,
            outcome: Outcome::new(result, by, reply),
            cause: Some(cause.to_string()),
            client: Client::from(peer),
            conduct: BTreeMap::new(),
            judged: Judged::default(),
            seconds: 0.0,
        }
    }
}

fn counts(conduct: &Conduct) -> BTreeMap<String, u16> {
    let counted = Misconduct::ALL.into_iter().map(|what| (what.symbol(), conduct.count(what)));
    counted.filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.into(), count)).collect()
}
