//! Values that are each possible and make no sense together, and symbols that no scorer has.

use std::collections::BTreeSet;
use std::ops::Range;

use super::place::Document;
use super::{Config, ConfigError, File};

/// Of a panel, if the file does not say otherwise.
const STAGE_BUDGET: f64 = 60.0;

/// A table, a key and its default, a key that must not be less, and why.
type Order = (&'static str, (&'static str, f64), (&'static str, f64), &'static str);

/// The keys of this table that must be in this order, with their defaults, and why.
const ORDERS: &[Order] = &[
    ("tarpit", ("delay", 5.0), ("total", 60.0), "the delay of one reply counts towards the total"),
    ("greylist", ("delay", 300.0), ("retry_window", 172_800.0), "no retry would be in time"),
    (
        "greylist",
        ("retry_window", 172_800.0),
        ("keep", 3_024_000.0),
        "a proven triplet is known for longer",
    ),
    (
        "admission",
        ("per_address", 0.0),
        ("per_network", f64::MAX),
        "an address is part of its network",
    ),
    (
        "admission",
        ("per_network", 0.0),
        ("connections", f64::MAX),
        "a network is part of all clients",
    ),
    (
        "session",
        ("data_timeout", 180.0),
        ("content_timeout", 3_600.0),
        "the content is all of the data",
    ),
];

/// Names of what can stand in `[weights]` and `[disclosure]`, beside those of lists, of spamd's rules and of
/// rspamd's symbols.
const SYMBOLS: &[&str] = &[
    "ANOTHER_PROTOCOL",
    "BARE_LINE_END",
    "CLAMD",
    "CLAMD_ENCRYPTED",
    "COMMAND_SEQUENCE",
    "COMMAND_SYNTAX",
    "EARLY_DATA",
    "EARLY_TALKER",
    "GREYLIST_PASSED",
    "GTUBE",
    "HELO_BARE_ADDRESS",
    "HELO_LITERAL",
    "HELO_LITERAL_OTHER",
    "HELO_NO_DOT",
    "HELO_NO_NAME",
    "HELO_OURS",
    "HELO_UNRESOLVED",
    "MALFORMED_COMMAND",
    "RATE_ADDRESS",
    "RATE_NETWORK",
    "RATE_RECIPIENT",
    "RATE_SENDER",
    "RCPT_REFUSED",
    "RDNS_NONE",
    "RDNS_UNCONFIRMED",
    "REPUTATION_ADDRESS",
    "REPUTATION_NETWORK",
    "UNAUTH_PIPELINING",
    "UNKNOWN_COMMAND",
];

/// A place, and what is wrong there.
type Nonsense = (Option<Range<usize>>, String);

pub(super) fn check(document: &Document<'_>) -> Result<(), Nonsense> {
    for (table, (less, less_usual), (more, more_usual), why) in ORDERS {
        let (low, high) = (document.number(table, less), document.number(table, more));
        let small = low.as_ref().map_or(*less_usual, |it| it.0);
        let large = high.as_ref().map_or(*more_usual, |it| it.0);
        if let (true, Some((_, span))) = (small > large, low.or(high)) {
            let told = format!(
                "`{less}` is {small} and `{more}` is {large}, expected `{less}` to be at most `{more}`: {why}"
            );
            return Err((Some(span), told));
        }
    }
    let stage = document.stage_budget();
    for (name, _) in document.tables() {
        let Some((budget, span)) = document.number(name, "budget") else { continue };
        if budget > stage {
            let told = format!(
                "{budget} seconds are more than the {stage} of `stage_budget`, expected at most those"
            );
            return Err((Some(span), told));
        }
    }
    limits(document)?;
    rates(document)?;
    behaviour(document)
}

/// Limits on recipients that are none.
fn limits(document: &Document<'_>) -> Result<(), Nonsense> {
    let Some((_, table)) = document.tables().find(|it| it.0 == "rate_limit") else {
        return Ok(());
    };
    if table.keys().any(|key| key.get_ref().starts_with("per_")) {
        return Ok(());
    }
    let told = "a table without a limit, expected at least one of `per_address`, `per_network`, `per_sender` \
                and `per_recipient`";
    Err((document.table_span("rate_limit"), told.to_owned()))
}

/// An address is part of its network, so the network may connect as often.
fn rates(document: &Document<'_>) -> Result<(), Nonsense> {
    for (table, less, more, count) in [
        ("admission", "address_rate", "network_rate", "connections"),
        ("rate_limit", "per_address", "per_network", "recipients"),
    ] {
        let Some((_, values)) = document.tables().find(|it| it.0 == table) else { continue };
        let rate = |key: &str| {
            let rate = values.get(key)?.get_ref().as_table()?;
            let value = |name: &str| super::place::number(rate.get(name)?.get_ref());
            Some((value(count)?, value("seconds")?))
        };
        let (Some(one), Some(all)) = (rate(less), rate(more)) else { continue };
        // More at once and more in the long run.
        if one.0 > all.0 && one.0 / one.1 > all.0 / all.1 {
            let told = format!(
                "{} {count} in {} seconds are more than the {} in {} seconds of `{more}`, expected at most \
                 those: an address is part of its network",
                one.0, one.1, all.0, all.1
            );
            return Err((document.span(table, less), told));
        }
    }
    Ok(())
}

/// One time may not weigh more than all times.
fn behaviour(document: &Document<'_>) -> Result<(), Nonsense> {
    let Some((_, conduct)) = document.tables().find(|it| it.0 == "behaviour") else {
        return Ok(());
    };
    for (key, weight) in conduct {
        let Some(weight) = weight.get_ref().as_table() else { continue };
        let value = |name: &str| weight.get(name).and_then(|it| super::place::number(it.get_ref()));
        if let (Some(each), Some(most)) = (value("each"), value("most"))
            && each > most
        {
            let told = format!(
                "`each` is {each} and `most` is {most}, expected `each` to be at most `most`"
            );
            return Err((Some(key.span()), told));
        }
    }
    Ok(())
}

impl Document<'_> {
    fn stage_budget(&self) -> f64 {
        self.top_number("stage_budget").unwrap_or(STAGE_BUDGET)
    }
}

impl Config {
    /// Keys of `[weights]` and `[disclosure]` that no scorer of this file has. Those of spamd and rspamd are
    /// theirs to choose.
    pub(crate) fn unknown_symbols(&self) -> Vec<ConfigError> {
        if self.file.spamd.is_some() || self.file.rspamd.is_some() {
            return Vec::new();
        }
        let lists = self.file.list_symbols();
        let document = Document::read(&self.text);
        let tables = [
            ("weights", self.file.weights.keys().collect::<Vec<_>>()),
            ("disclosure", self.file.disclosure.keys().collect()),
        ];
        let mut unknown = Vec::new();
        for (table, symbols) in tables {
            for symbol in symbols {
                let symbol = &*symbol.0;
                let evaluated = ["SPF_", "DKIM_", "ARC_", "DMARC_"];
                let known = SYMBOLS.contains(&symbol)
                    || lists.contains(symbol)
                    || symbol.ends_with("_FAILED")
                    || evaluated.iter().any(|prefix| symbol.starts_with(prefix));
                if !known {
                    let told = format!(
                        "no scorer of this file has the symbol `{symbol}`, expected one such as GTUBE or \
                         HELO_NO_DOT; the log names those that were found"
                    );
                    unknown.push(self.wrong_at(document.span(table, symbol), &told));
                }
            }
        }
        unknown
    }
}

impl File {
    fn list_symbols(&self) -> BTreeSet<&str> {
        let lists = [
            self.dnsbl.as_ref().map(|table| &table.list),
            self.rhsbl.as_ref().map(|table| &table.list),
            self.uribl.as_ref().map(|table| &table.list),
        ];
        lists.into_iter().flatten().flat_map(|lists| lists.symbols()).collect()
    }
}
