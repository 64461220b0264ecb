//! The changes to message and envelope that rspamd requests: the block `milter` of its report.

use serde_json::Value;

use crate::header::{HeaderField, OURS};

use super::{is_true, text};

/// Maximum number of header fields that a report adds.
const FIELDS: usize = 64;
/// Requests that are never carried out: a before-queue proxy cannot carry them out, or does not by
/// design.
const NEVER: [&str; 6] =
    ["remove_headers", "change_from", "add_rcpt", "del_rcpt", "spam_header", "reject"];

/// The requests in a report.
#[derive(Debug, Default)]
pub(super) struct Milter {
    /// Whether the action only adds a header field and does not refuse.
    pub(super) no_action: bool,
    /// Fields to prepend to the message, from the top.
    added: Vec<HeaderField>,
    /// Names of requests that were not carried out.
    pub(super) undone: Vec<&'static str>,
}

impl Milter {
    pub(super) fn new(milter: &Value, dkim_signature: &Value) -> Self {
        let mut all: Vec<Addition<'_>> = Vec::new();
        all.extend(each(dkim_signature).filter_map(|it| Addition::new("DKIM-Signature", it)));
        for (name, values) in milter["add_headers"].as_object().into_iter().flatten() {
            all.extend(each(values).filter_map(|value| Addition::new(name, value)));
        }
        all.sort_by_key(|addition| addition.order);
        let fields = all.iter().take(FIELDS).filter_map(Addition::field);
        let added: Vec<HeaderField> = fields.collect();
        let dropped = (added.len() < all.len()).then_some("add_headers");
        let said = |name: &&'static str| !is_empty(&milter[*name]);
        let undone = NEVER.into_iter().filter(said).chain(dropped).collect();
        Self { no_action: is_true(&milter["no_action"]), added, undone }
    }

    /// Returns the fields to prepend when the message is relayed.
    pub(super) fn fields(self, action: &str) -> Vec<HeaderField> {
        let action =
            self.no_action.then(|| HeaderField::fold("X-Rspamd-Action", action.as_bytes()));
        action.into_iter().chain(self.added).collect()
    }
}

/// One field to add.
struct Addition<'a> {
    name: &'a str,
    value: String,
    order: Order,
}

/// The requested position of a field. We add all fields before the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// Number of fields from the top.
    FromTop(u64),
    Anywhere,
    /// Position from the end; -1 is the last.
    FromEnd(i64),
}

impl<'a> Addition<'a> {
    /// Parses a plain value, or `{"value": …, "order": …}`.
    fn new(name: &'a str, written: &Value) -> Option<Self> {
        let order = match written.get("order").or(written.get("index")).and_then(Value::as_i64) {
            None => Order::Anywhere,
            Some(order) => u64::try_from(order).map_or(Order::FromEnd(order), Order::FromTop),
        };
        let value = text(written).or_else(|| text(&written["value"]))?;
        Some(Self { name, value, order })
    }

    /// Returns the field. Returns `None` if its name is invalid or reserved for us.
    fn field(&self) -> Option<HeaderField> {
        let ours = self.name.get(..OURS.len()).is_some_and(|it| it.eq_ignore_ascii_case(OURS));
        HeaderField::new(self.name, &self.value).ok().filter(|_| !ours)
    }
}

/// Iterates over the values of a list, or over a single value.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    values.iter()
}

/// Returns whether a field has no content.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
