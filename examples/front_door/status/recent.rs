//! The records of the status page as JSON, for scripts.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::Status;
use super::records::{Finding, Record};

/// Maximum number of octets of the records.
const OCTETS: usize = 256 << 10;

/// Returns the records that match `searched`, the newest first, as a JSON object, with the number
/// of records left out.
pub(super) fn json(status: &Status, searched: &str) -> String {
    let state = status.seen.state();
    let (mut records, mut left_out) = (String::new(), 0_u64);
    for record in state.records.search(searched) {
        if left_out > 0 {
            left_out += 1;
            continue;
        }
        let record = of(record).to_string();
        if records.len() + record.len() > OCTETS {
            left_out = 1;
            continue;
        }
        let comma = if records.is_empty() { "" } else { ",\n" };
        records.push_str(comma);
        records.push_str(&record);
    }
    drop(state);
    format!("{{\"records\": [{records}],\n\"left_out\": {left_out}}}\n")
}

fn of(record: &Record) -> Value {
    let time = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (findings, unlisted) = &record.findings;
    json!({
        "time": (time.as_secs_f64() * 1e3).round() / 1e3,
        "id": record.reference,
        "client": record.client,
        "helo": record.helo,
        "tls": record.tls,
        "sender": record.sender,
        "recipients": list(&record.recipients),
        "result": record.result,
        "replies": list(&record.replies),
        "score": f64::from(record.score.as_hundredths()) / 100.0,
        "findings": {
            "listed": findings.iter().map(finding).collect::<Vec<_>>(),
            "more": unlisted,
        },
        "failures": list(&record.failures),
        "size": record.size,
        "ms": u64::try_from(record.millis).unwrap_or(u64::MAX),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "symbol": finding.symbol,
        "score": f64::from(finding.score.as_hundredths()) / 100.0,
        "detail": finding.detail,
        "counted": finding.counts,
    })
}

fn list((texts, unlisted): &(Vec<String>, usize)) -> Value {
    json!({"listed": texts, "more": unlisted})
}
