//! The log: a line of JSON for each transaction, and for each client that is refused before it has one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nobounce::{
    Disclosure, EndCause, ForwardPath, Peer, Refusal, Reply, Score, Tally, TransactionId,
    TransactionRecord, Voucher,
};
use serde_json::{Value, json};

pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// For whoever has moved it away.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = append(&self.path)?;
        Ok(())
    }

    pub(crate) fn note(&self, event: &str, record: &TransactionRecord) {
        self.write(&transaction(event, record));
    }

    /// The panel has refused a client when it connected.
    pub(crate) fn note_refused(
        &self,
        id: &TransactionId,
        peer: &Peer,
        tally: &Tally,
        refusal: &Refusal,
    ) {
        let line = json!({
            "event": "refused",
            "time": now(),
            "id": id.to_string(),
            "client": client(peer),
            "reply": reply(refusal.reply()),
        });
        self.write(&with(line, judged(tally)));
    }

    /// One write for each line: who reads along never sees half of one.
    fn write(&self, line: &Value) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            eprintln!("{}: {error}: {line}", self.path.display());
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// All that scorers said, and what came of it.
fn judged(tally: &Tally) -> Value {
    let findings = tally.entries().map(|entry| {
        let finding = &entry.finding;
        json!({
            "symbol": finding.symbol(),
            "score": points(finding.score()),
            "detail": finding.detail(),
            "told": finding.disclosure() == Disclosure::Public,
            "scorer": &*entry.scorer,
            "stage": entry.stage.to_string(),
            "monitored": entry.monitored,
            "aside": entry.aside,
        })
    });
    let objections = tally.objections().map(|objection| {
        json!({
            "scorer": &*objection.scorer,
            "stage": objection.stage.to_string(),
            "reply": reply(objection.refusal.reply()),
            "monitored": objection.monitored,
        })
    });
    let failures = tally.failures().map(|failure| {
        json!({
            "scorer": &*failure.scorer,
            "stage": failure.stage.to_string(),
            "cause": failure.cause.to_string(),
            "policy": format!("{:?}", failure.policy),
            "monitored": failure.monitored,
        })
    });
    let decisions = tally.decisions().map(|decision| {
        json!({
            "stage": decision.stage.to_string(),
            "total": points(decision.total),
            "verdict": format!("{:?}", decision.verdict),
            "acted": decision.acted,
        })
    });
    json!({
        "score": points(tally.total()),
        "findings": findings.collect::<Vec<_>>(),
        "objections": objections.collect::<Vec<_>>(),
        "scorer_failures": failures.collect::<Vec<_>>(),
        "decisions": decisions.collect::<Vec<_>>(),
    })
}

/// Everything that is known of a transaction.
fn transaction(event: &str, record: &TransactionRecord) -> Value {
    let end = &record.end;
    let envelope = &end.envelope;
    let line = json!({
        "event": event,
        "time": now(),
        "id": envelope.id.to_string(),
        "client": client(&envelope.peer),
        "sender": envelope.reverse_path.path.to_string(),
        "sender_parameters": String::from_utf8_lossy(envelope.reverse_path.parameters.raw()),
        "recipients": envelope.forward_paths.iter().map(recipient).collect::<Vec<_>>(),
        "refused": end.refused.iter().map(|(path, refusal)| {
            json!({ "recipient": recipient(path), "reply": reply(refusal) })
        }).collect::<Vec<_>>(),
        "size": end.size,
        "result": end.cause.to_string(),
        "taken": end.cause == EndCause::Accepted,
        "reply": end.reply.as_ref().map(reply),
        "onward": record.onward.iter().map(reply).collect::<Vec<_>>(),
        "onward_failures": record.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "queue_id": record.queue_id.as_deref(),
        "seconds": {
            "all": seconds(end.duration),
            "scoring": seconds(record.scoring),
            "relaying": seconds(record.relaying),
        },
    });
    with(line, judged(&record.tally))
}

/// One object with what stands in both.
fn with(mut line: Value, more: Value) -> Value {
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line
}

fn client(peer: &Peer) -> Value {
    let vouched = &peer.vouched;
    let voucher = |it: Voucher| it.to_string();
    json!({
        "address": peer.address.map(|address| address.ip().to_string()),
        "port": peer.address.map(|address| address.port()),
        "name": peer.name.as_deref(),
        "reverse_name": peer.reverse_name.as_deref(),
        "helo": peer.helo.as_ref().map(|helo| &*helo.name),
        "esmtp": peer.helo.as_ref().map(|helo| helo.extended),
        "login": peer.login.as_deref(),
        "tls": peer.tls.as_ref().map(|tls| json!({
            "version": &*tls.version,
            "cipher": &*tls.cipher,
        })),
        "vouched": {
            "address": voucher(vouched.address),
            "name": voucher(vouched.name),
            "helo": voucher(vouched.helo),
        },
    })
}

fn recipient(path: &ForwardPath) -> Value {
    json!({
        "path": path.path.to_string(),
        "parameters": String::from_utf8_lossy(path.parameters.raw()),
    })
}

/// As it stands on the wire.
fn reply(reply: &Reply) -> Value {
    reply.to_string().into()
}

fn points(score: Score) -> f64 {
    f64::from(score.as_hundredths()) / 100.0
}

/// Seconds since 1970.
fn now() -> f64 {
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}
