//! Lines of a recording in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line. Each kind uses some of the keys.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Line<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) v: Option<u32>,
    #[serde(borrow)]
    pub(super) session: Cow<'t, str>,
    /// Seconds since the session began.
    pub(super) at: f64,
    #[serde(borrow)]
    pub(super) kind: Cow<'t, str>,
    /// Unix time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<f64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Client<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<Gate<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) octets: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) during: Option<Text<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extensions: Option<Vec<String>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<Tls<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transaction: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) scorer: Option<Text<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) took: Option<f64>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Found<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adds_fields: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<f64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) monitored: Option<Text<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thresholds: Option<Levels>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) silent: Vec<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) weighted: Vec<Weighted<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Text<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) conduct: BTreeMap<Cow<'t, str>, u16>,
}

/// A text that is borrowed from the line if nothing in it is escaped.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'t>(#[serde(borrow)] pub(super) Cow<'t, str>);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Client<'t> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) reverse_name: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<Text<'t>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<Tls<'t>>,
    /// The address of the proxy that names the client; empty if the proxy has none.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) proxy: Option<Text<'t>>,
    #[serde(skip_serializing_if = "is_unset")]
    pub(super) own: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tls<'t> {
    #[serde(borrow)]
    pub(super) version: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) cipher: Cow<'t, str>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Gate<'t> {
    #[serde(borrow)]
    pub(super) version: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) policy: Cow<'t, str>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Found<'t> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'t, str>,
    pub(super) given: f64,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub(super) detail: Cow<'t, str>,
    #[serde(skip_serializing_if = "is_unset")]
    pub(super) told: bool,
}

/// The failure of a scorer or of the relay target.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Failure<'t> {
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub(super) cause: Cow<'t, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Text<'t>>,
    #[serde(skip_serializing_if = "is_unset")]
    pub(super) adds_only: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Weighted<'t> {
    #[serde(borrow)]
    pub(super) scorer: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) symbol: Cow<'t, str>,
    pub(super) score: f64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Levels {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) defer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refuse: Option<f64>,
}

impl<'t> Text<'t> {
    pub(super) fn of(text: impl Into<Cow<'t, str>>) -> Self {
        Self(text.into())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_unset(flag: &bool) -> bool {
    !flag
}
