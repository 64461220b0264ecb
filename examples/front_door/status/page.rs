//! The pages. maud escapes every text. Most of it was chosen by strangers.

use std::time::{Duration, SystemTime};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::chart;
use super::records::{Finding, Record, short};
use super::seen::{Counts, State};
use super::times::Times;
use super::{Status, scorers::Scorer};
use crate::health::Failing;
use crate::time::{now, stamp, today};

/// Maximum number of octets of the list of records. The rest can be searched.
const LIST: usize = 24 << 10;
/// Maximum number of records that are listed.
const LISTED: usize = 25;
/// Maximum number of symbols and of scorers that are shown.
const ROWS: usize = 20;
/// Seconds until a browser loads the page again.
const REFRESH: &str = "60";

/// The names of the columns of a table. All columns but the first contain numbers.
type Columns<const N: usize> = [&'static str; N];

/// Returns the overview page. It lists the records that match `searched`.
pub(super) fn overview(status: &Status, searched: &str, nonce: &str) -> String {
    let (obstacles, failures) = (status.obstacles(), status.health.failures());
    let (remarks, configuration) = (status.remarks(), status.configuration.in_use());
    let state = status.seen.state();
    let minutes = state.minutes();
    let content = html! {
        header {
            h1 { "nobounce" }
            @if obstacles.is_empty() { strong class="good" { "Ready" } }
            @else {
                strong class="bad" {
                    "Not ready: "
                    @for (n, obstacle) in obstacles.iter().take(ROWS).enumerate() {
                        @if n > 0 { "; " }
                        (short(obstacle))
                    }
                }
            }
            a href="#refused" { "Refused and deferred" }
        }
        main {
            @if !remarks.is_empty() {
                section {
                    h2 { "Reload" }
                    ul class="plain" { @for remark in &remarks { li class="bad" { (remark) } } }
                }
            }
            section aria-label="Now" { (figures(&state)) }
            section { h2 { "The last hour" } (chart(&minutes)) }
            div class="pair" {
                section { h2 { "Symbols" } (symbols(&state)) }
                div {
                    section { h2 { "Scorers" } (scorers(state.scorers.all())) }
                    section { h2 { "Servers" } (servers(&state)) }
                    section { h2 { "Health" } (health(&state, &failures)) }
                }
            }
            section id="refused" {
                h2 { "Refused and deferred" }
                (records(&state, searched))
            }
        }
        footer {
            "Version " (env!("CARGO_PKG_VERSION")) ", running since " (second(status.since)) ", configuration "
            code { (configuration.hash) } " since " (second(configuration.since)) ". " a href="/metrics" { "Metrics" } ", "
            a href="/readyz" { "readiness" } ". Time: " (second(today())) "."
        }
    };
    document("nobounce", searched.is_empty(), nonce, content)
}

/// Returns the page that explains one record.
pub(super) fn why(record: &Record, nonce: &str) -> String {
    let (findings, unlisted) = &record.findings;
    let content = html! {
        header { h1 { "Why " (record.reference) "?" } a href="/" { "Overview" } }
        main {
            section {
                h2 { (record.result) }
                dl class="facts" {
                    (fact("Reply", list(&record.replies)))
                    (fact("Time", html! { (stamp(record.time)) }))
                    (fact("Client", html! { (record.client) }))
                    @if !record.helo.is_empty() { (fact("HELO", html! { (record.helo) })) }
                    (fact("TLS", html! { @if record.tls.is_empty() { "none" } @else { (record.tls) } }))
                    @if !record.sender.is_empty() {
                        (fact("From", html! { (record.sender) }))
                        (fact("To", list(&record.recipients)))
                        (fact("Size", html! { (record.size) " octets" }))
                        (fact("Duration", html! { (record.millis) " ms" }))
                    }
                    @if !record.failures.0.is_empty() { (fact("Failures", list(&record.failures))) }
                }
            }
            section {
                h2 { "Score " (record.score) }
                @if findings.is_empty() { p { "No scorer has found anything." } }
                @else { (table(["Finding", "Score"], findings.iter().map(found))) }
                @if *unlisted > 0 { p class="muted" { (unlisted) " findings are not listed." } }
            }
            @if !record.explanation.is_empty() {
                section { h2 { "In words" } pre { (record.explanation) } }
            }
        }
    };
    document(&format!("Why {}?", record.reference), false, nonce, content)
}

/// Returns the page for a reference without a record.
pub(super) fn no_record(nonce: &str) -> String {
    let content = html! {
        header { h1 { "No record" } a href="/" { "Overview" } }
        main { section { p {
            "No record has this reference. Only the last 1,000 refused or deferred messages and clients are kept; "
            "the log has all."
        } } }
    };
    document("No record", false, nonce, content)
}

fn document(title: &str, refreshes: bool, nonce: &str, content: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refreshes { meta http-equiv="refresh" content=(REFRESH); }
                title { (title) }
                style nonce=(nonce) { (PreEscaped(include_str!("page.css"))) }
            }
            body { (content) }
        }
    };
    page.into_string()
}

fn figures(state: &State) -> Markup {
    let figures = [
        ("Sessions", state.sessions),
        ("In a transaction", state.busy() as u64),
        ("Connections", state.connections),
        ("Turned away", state.turned_away),
        ("Unacknowledged", state.unacknowledged),
    ];
    html! {
        dl class="figures" {
            @for (name, number) in figures { div { dt { (name) } dd { (number) } } }
        }
    }
}

fn records(state: &State, searched: &str) -> Markup {
    let (mut list, mut unlisted) = (String::new(), 0_usize);
    for (n, record) in state.records.search(searched).enumerate() {
        if n < LISTED && list.len() < LIST {
            list.push_str(&entry(record).into_string());
        } else {
            unlisted += 1;
        }
    }
    html! {
        form role="search" action="/#refused" {
            input type="search" name="q" value=(searched) aria-label="Reference, client, sender or recipient"
                placeholder="Reference, client, sender or recipient";
            button { "Search" }
        }
        @if list.is_empty() { p { "None." } }
        ol class="records" { (PreEscaped(list)) }
        @if unlisted > 0 { p class="muted" { (unlisted) " more. Search to narrow the list." } }
    }
}

fn entry(record: &Record) -> Markup {
    html! {
        li {
            p class="head" {
                a href={ "/why/" (record.reference) } { (record.reference) }
                span class="muted" { (second(record.time)) }
            }
            p { span class=(severity(record)) { (record.result) } ", score " (record.score) ", " (record.client) }
            @if !record.sender.is_empty() { p { (record.sender) " to " (short_list(&record.recipients)) } }
            p class="muted" { (short_list(&record.replies)) }
        }
    }
}

/// Returns the class of a record: deferred, or refused.
fn severity(record: &Record) -> &'static str {
    let (replies, _) = &record.replies;
    if replies.iter().all(|reply| reply.starts_with('4')) { "poor" } else { "bad" }
}

fn symbols(state: &State) -> Markup {
    let mut symbols: Vec<_> = state.symbols.iter().collect();
    symbols.sort_by(|(one, a), (other, b)| b.all().cmp(&a.all()).then(one.cmp(other)));
    if symbols.is_empty() {
        return html! { p { "None." } };
    }
    let row = |(symbol, counts): &(&String, &Counts)| {
        let percent = |part: u64| format!("{} %", part * 100 / counts.all().max(1));
        [short(symbol), counts.all().to_string(), percent(counts.refused), percent(counts.accepted)]
            .map(|cell| html! { (cell) })
    };
    let columns = ["Symbol", "Messages", "Refused", "Passed"];
    table(columns, symbols.iter().take(ROWS).map(row))
}

fn scorers(scorers: &[Scorer]) -> Markup {
    if scorers.is_empty() {
        return html! { p { "None has answered." } };
    }
    let row = |scorer: &Scorer| timed(format!("{} ({})", scorer.name, scorer.stage), &scorer.times);
    table(["Scorer", "Answers", "Failed", "p50", "p95"], scorers.iter().take(ROWS).map(row))
}

fn timed(name: String, times: &Times) -> [Markup; 5] {
    let [half, most] = times.percentiles([50, 95]).map(brief);
    [name, times.requests.to_string(), times.failures.to_string(), half, most]
        .map(|cell| html! { (cell) })
}

fn servers(state: &State) -> Markup {
    let rows: Vec<_> =
        state.servers.all().map(|(name, times)| timed(name.to_owned(), times)).collect();
    html! {
        @if rows.is_empty() { p { "None was asked." } }
        @else { (table(["Server", "Requests", "Failed", "p50", "p95"], rows.into_iter())) }
        @if state.servers.is_store_suspended {
            p class="bad" { "The store is not asked, because it failed repeatedly." }
        }
        @if state.servers.cached > 0 {
            p class="muted" { (state.servers.cached) " DNS lookups were answered from the cache." }
        }
    }
}

fn health(state: &State, failures: &[Failing]) -> Markup {
    let onward = &state.onward;
    let Counts { accepted, deferred, refused } = onward.answers;
    html! {
        p {
            "Onward server: " (accepted) " requests accepted, " (deferred) " deferred, " (refused) " refused, "
            (onward.failures) " failed."
        }
        @if failures.is_empty() { p class="good" { "No scorer, store or server fails." } }
        ul class="plain" {
            @for failing in failures.iter().take(ROWS) {
                li class="bad" {
                    (short(failing)) " (" (failing.times) " times, last " ((now() - failing.last).as_secs()) " s ago)"
                }
            }
        }
    }
}

fn found(finding: &Finding) -> [Markup; 2] {
    let name = html! {
        (finding.symbol)
        @if !finding.detail.is_empty() { br; span class="muted" { (finding.detail) } }
    };
    let score =
        html! { (finding.score) @if !finding.counts { br; span class="muted" { "not counted" } } };
    [name, score]
}

fn table<const N: usize>(columns: Columns<N>, rows: impl Iterator<Item = [Markup; N]>) -> Markup {
    html! {
        div class="scroll" {
            table {
                thead { tr {
                    @for (n, name) in columns.iter().enumerate() {
                        th scope="col" class=[(n > 0).then_some("number")] { (name) }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (n, cell) in row.iter().enumerate() {
                                td class=[(n > 0).then_some("number")] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { dt { (name) } dd { (value) } }
}

fn list((texts, unlisted): &(Vec<String>, usize)) -> Markup {
    html! {
        ul class="plain" {
            @for text in texts { li { (text) } }
            @if *unlisted > 0 { li class="muted" { "and " (unlisted) " more" } }
        }
    }
}

/// Returns the first text, and the number of the others.
fn short_list((texts, unlisted): &(Vec<String>, usize)) -> Markup {
    let others = texts.len().saturating_sub(1) + unlisted;
    html! {
        @if let Some(first) = texts.first() { (first) }
        @if others > 0 { " and " (others) " more" }
    }
}

/// Formats a time to the second.
fn second(time: SystemTime) -> String {
    let stamp = stamp(time);
    let text = stamp.split('.').next().unwrap_or_default();
    format!("{} UTC", text.replace('T', " "))
}

/// Formats a time with two or three digits.
fn brief(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}
