//! Checks values that are valid one by one but contradict each other, and symbols that no scorer
//! has.

use std::ops::Range;

use super::place::Document;
use super::values::Symbol;
use super::{Config, ConfigError, File};

/// Default stage budget of a panel, in seconds.
const STAGE_BUDGET: f64 = 60.0;

/// A rule: a table, a key with its default, a second key with its default that must not be less,
/// and the reason.
type Order = (&'static str, (&'static str, f64), (&'static str, f64), &'static str);

/// Pairs of keys whose values must be in this order.
const ORDERS: &[Order] = &[
    ("tarpit", ("delay", 5.0), ("total", 60.0), "the delay of one reply counts towards the total"),
    ("greylist", ("delay", 300.0), ("retry_window", 172_800.0), "otherwise no retry is in time"),
    (
        "greylist",
        ("retry_window", 172_800.0),
        ("keep", 3_024_000.0),
        "a triplet that was retried is kept longer than one that was not",
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
        "the clients of one network are part of all clients",
    ),
    (
        "session",
        ("data_timeout", 180.0),
        ("content_timeout", 3_600.0),
        "one block of data is part of the content",
    ),
];

/// Scorers whose symbols are chosen by a daemon.
pub(crate) const DAEMONS: &[&str] = &["rspamd", "spamd"];

/// Scorers with fixed symbols. The symbols of DNS lists are defined in the file.
const SYMBOLS: &[(&str, &[&str])] = &[
    (
        "authentication",
        &[
            "ARC_FAIL",
            "ARC_PASS",
            "ARC_TEMPERROR",
            "DKIM_FAIL",
            "DKIM_NONE",
            "DKIM_PASS",
            "DKIM_PERMERROR",
            "DKIM_TEMPERROR",
            "DMARC_FAIL_NONE",
            "DMARC_FAIL_QUARANTINE",
            "DMARC_FAIL_REJECT",
            "DMARC_NONE",
            "DMARC_PASS",
            "DMARC_TEMPERROR",
            "FROM_MALFORMED",
            "FROM_SEVERAL",
            "SPF_FAIL",
            "SPF_NEUTRAL",
            "SPF_NONE",
            "SPF_PASS",
            "SPF_PERMERROR",
            "SPF_SOFTFAIL",
            "SPF_TEMPERROR",
        ],
    ),
    (
        "behaviour",
        &[
            "ANOTHER_PROTOCOL",
            "BARE_LINE_END",
            "COMMAND_SEQUENCE",
            "COMMAND_SYNTAX",
            "EARLY_DATA",
            "EARLY_TALKER",
            "MALFORMED_COMMAND",
            "RCPT_REFUSED",
            "UNAUTH_PIPELINING",
            "UNKNOWN_COMMAND",
        ],
    ),
    ("clamd", &["CLAMD", "CLAMD_ENCRYPTED"]),
    ("greylist", &["GREYLIST_PASSED"]),
    ("gtube", &["GTUBE"]),
    (
        "helo-names",
        &[
            "HELO_BARE_ADDRESS",
            "HELO_LITERAL",
            "HELO_LITERAL_OTHER",
            "HELO_NO_DOT",
            "HELO_NO_NAME",
            "HELO_OURS",
            "HELO_UNRESOLVED",
        ],
    ),
    ("rate-limit", &["RATE_ADDRESS", "RATE_NETWORK", "RATE_RECIPIENT", "RATE_SENDER"]),
    ("reputation", &["REPUTATION_ADDRESS", "REPUTATION_NETWORK"]),
    ("reverse-names", &["RDNS_NONE", "RDNS_UNCONFIRMED"]),
    ("structure", &["MIME_AMBIGUOUS", "MIME_TNEF", "MIME_TRUNCATED"]),
];

/// A contradiction: its position and its description.
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
            let told = format!("{budget} seconds exceed `stage_budget`, expected at most {stage}");
            return Err((Some(span), told));
        }
    }
    limits(document)?;
    rates(document)?;
    behaviour(document)
}

/// Refuses a rate-limit table without a limit.
fn limits(document: &Document<'_>) -> Result<(), Nonsense> {
    let Some((_, table)) = document.tables().find(|it| it.0 == "rate_limit") else {
        return Ok(());
    };
    if table.keys().any(|key| key.get_ref().starts_with("per_")) {
        return Ok(());
    }
    let told = "no limit is set, expected at least one of `per_address`, `per_network`, `per_sender` and \
                `per_recipient`";
    Err((document.table_span("rate_limit"), told.to_owned()))
}

/// Refuses a rate of an address that exceeds the rate of its network, since the address is part of
/// the network.
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
        // The burst and the long-term rate are both higher.
        if one.0 > all.0 && one.0 / one.1 > all.0 / all.1 {
            let told = format!(
                "{} {count} in {} seconds exceed the {} in {} seconds of `{more}`, expected at most that rate: \
                 an address is part of its network",
                one.0, one.1, all.0, all.1
            );
            return Err((document.span(table, less), told));
        }
    }
    Ok(())
}

/// Refuses a score for one occurrence that exceeds the maximum of all occurrences.
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
    /// Returns an error for each key of `[weights]` and `[disclosure]` that matches no possible
    /// finding.
    pub(crate) fn unknown_symbols(&self) -> Vec<ConfigError> {
        let document = Document::read(&self.text);
        let mut unknown = Vec::new();
        let weights = self.file.weights.iter().map(|(scorer, all)| (scorer, all.keys().collect()));
        let told = self.file.disclosure.iter().map(|(scorer, all)| (scorer, all.keys().collect()));
        let mut look = |table: &str, scorer: &Symbol, symbols: Vec<&Symbol>| {
            let scorer = &*scorer.0;
            for symbol in symbols.into_iter().map(|symbol| &*symbol.0) {
                if !self.file.can_find(scorer, symbol) {
                    let told = format!(
                        "no scorer in this file has the symbol `{scorer}:{symbol}`, expected one such as \
                         gtube.GTUBE or helo-names.HELO_NO_DOT; the log shows the symbols of findings"
                    );
                    unknown.push(self.wrong_at(document.inner_span(table, scorer, symbol), &told));
                }
            }
        };
        weights.for_each(|(scorer, symbols)| look("weights", scorer, symbols));
        told.for_each(|(scorer, symbols)| look("disclosure", scorer, symbols));
        unknown
    }
}

impl File {
    /// Returns whether a scorer of this name can produce this symbol. Symbols chosen by a daemon
    /// count as possible.
    fn can_find(&self, scorer: &str, symbol: &str) -> bool {
        let lists = match scorer {
            "dnsbl" => self.dnsbl.as_ref().map(|table| &table.list),
            "rhsbl" => self.rhsbl.as_ref().map(|table| &table.list),
            "uribl" => self.uribl.as_ref().map(|table| &table.list),
            _ => None,
        };
        let found = match scorer {
            _ if DAEMONS.contains(&scorer) => true,
            "dnsbl" | "rhsbl" | "uribl" => {
                lists.is_some_and(|lists| lists.symbols().any(|known| known == symbol))
            }
            _ => match SYMBOLS.iter().find(|(name, _)| *name == scorer) {
                Some((_, symbols)) => symbols.contains(&symbol),
                None => return false,
            },
        };
        found || symbol == format!("{}_FAILED", scorer.to_ascii_uppercase())
    }
}
