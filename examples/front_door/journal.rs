//! The log: one line of JSON for each transaction, and for each client that is refused before its
//! first transaction.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nobounce::envelope::TransactionId;
use nobounce::observer::TransactionRecord;
use nobounce::peer::Voucher;
use nobounce::score::Disclosure;
use nobounce::session::EndCause;
use nobounce::tally::Tally;
use nobounce::verdict::Stage;
use nobounce::{Event, ForwardPath, Peer, Refusal, Reply, Score, Verdict};
use serde_json::{Value, json};

use crate::output::{LineEnd, Output, lost_lines};

/// The log of transactions.
pub(crate) enum Journal {
    /// Human-readable lines on standard output.
    Text(Output),
    /// Lines of JSON on standard output or standard error.
    Json(Output),
    /// Lines of JSON in a file, which is reopened after log rotation.
    File(Output, PathBuf),
}

impl Journal {
    /// Opens the log file, or uses standard output or standard error if `path` names one of them.
    /// Those cannot be opened by path after front_door has changed to another user.
    pub(crate) fn open(path: Option<PathBuf>, errors: &Output) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Text(Output::standard_output(errors, lost_lines)?));
        };
        match standard_descriptor(&path) {
            Some(1) => Ok(Self::Json(Output::standard_output(errors, lost)?)),
            Some(_) => Ok(Self::Json(errors.clone())),
            None => {
                let (file, end) = append(&path)?;
                let name = path.display().to_string();
                let output = Output::start(&name, file, end, Some(errors.clone()), lost)?;
                Ok(Self::File(output, path))
            }
        }
    }

    pub(crate) fn output(&self) -> &Output {
        match self {
            Self::Text(output) | Self::Json(output) | Self::File(output, _) => output,
        }
    }

    /// Reopens the file after log rotation has renamed it.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        if let Self::File(output, path) = self {
            let (file, end) = append(path)?;
            output.replace(file, end);
        }
        Ok(())
    }

    /// Logs this event if it belongs into the log.
    pub(crate) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Ended(record) => self.end("ended", record),
            Event::Unacknowledged(record) => self.end("unacknowledged", record),
            Event::Judged {
                id,
                peer,
                stage: Stage::Connect,
                tally,
                verdict: Verdict::Refuse(refusal),
                ..
            } => self.refusal(id, peer, tally, refusal),
            _ => {}
        }
    }

    fn end(&self, event: &str, record: &TransactionRecord) {
        match self {
            Self::Text(output) if event == "ended" => output.line(record),
            Self::Text(output) => output.line(format_args!("{event}: {record}")),
            Self::Json(output) | Self::File(output, _) => {
                output.line(escaped(&transaction(event, record)));
            }
        }
    }

    /// Logs that the panel has refused a client when it connected.
    fn refusal(&self, id: &TransactionId, peer: &Peer, tally: &Tally, refusal: &Refusal) {
        let refused = refusal.reply();
        match self {
            Self::Text(output) => {
                output.line(format_args!("id={id} client={peer} {tally} reply={refused:?}"));
            }
            Self::Json(output) | Self::File(output, _) => {
                let line = json!({
                    "event": "refused",
                    "time": now(),
                    "id": id.to_string(),
                    "client": client(peer),
                    "reply": reply(refused),
                });
                output.line(escaped(&with(line, judged(tally))));
            }
        }
    }
}

/// Returns the JSON with every character escaped that is not ASCII or not printable. Terminals
/// interpret C1 control characters, and bidirectional characters can make one line look like
/// another.
fn escaped(value: &Value) -> String {
    let (json, mut line) = (value.to_string(), String::new());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            line.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line += &format!("\\u{unit:04x}"));
        }
    }
    line
}

/// Returns the number of the standard descriptor that this path leads to: `-`, `/dev/stdout`, or a
/// symbolic link to it, as in container images.
fn standard_descriptor(path: &Path) -> Option<u8> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        match path.to_str()? {
            "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => return Some(1),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => return Some(2),
            _ => path = path.parent()?.join(fs::read_link(&path).ok()?),
        }
    }
    None
}

/// Returns whether `path` names standard output or standard error.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    standard_descriptor(path).is_some()
}

/// Checks that a file is empty or that its first record is JSON, so that no other file is damaged.
pub(crate) fn is_ours(path: &Path) -> Result<(), String> {
    if !fs::metadata(path).is_ok_and(|it| it.is_file()) {
        return Ok(());
    }
    let mut begin = Vec::new();
    // A user may be allowed to write the log but not to read it.
    let Ok(file) = File::open(path) else { return Ok(()) };
    file.take(64).read_to_end(&mut begin).map_err(|error| error.to_string())?;
    match begin.trim_ascii_start() {
        [] | [b'{', ..] => Ok(()),
        _ => Err("this file is not a log of front_door".into()),
    }
}

/// Opens a log file for appending and returns whether its last line is complete. Only the owner
/// may write it, and only the group may read it.
fn append(path: &Path) -> io::Result<(File, LineEnd)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    // Opening a FIFO for writing only would block until it has a reader.
    let kind = fs::metadata(path).map(|it| it.file_type()).ok();
    if kind.is_some_and(|kind| kind.is_fifo()) {
        options.read(true);
    }
    let said = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!(
                "--json-log: {}: {error}; expected a file that the user of front_door may write, or `-` for standard output",
                path.display()
            ),
        )
    };
    let end = if kind.is_some_and(|kind| kind.is_file()) { last_line(path) } else { None };
    Ok((options.open(path).map_err(said)?, end.unwrap_or(LineEnd::Complete)))
}

/// Returns the state of a file's last line. A crash or a full disk may have truncated its last
/// line.
fn last_line(path: &Path) -> Option<LineEnd> {
    let (mut file, mut last) = (File::open(path).ok()?, [0]);
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut last).ok()?;
    Some(if last == *b"\n" { LineEnd::Complete } else { LineEnd::Missing })
}

/// Returns the line that reports the number of lost lines.
fn lost(lines: u64) -> String {
    json!({ "event": "lines-lost", "time": now(), "lines": lines }).to_string()
}

/// Returns all findings, and the resulting decision.
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

/// Maximum number of recipients in a line, and of replies of the onward server. Of the replies,
/// the last ones are listed.
const LISTED: usize = 50;

/// Returns everything known of a transaction.
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
        "recipients": envelope.forward_paths.iter().take(LISTED).map(recipient).collect::<Vec<_>>(),
        "recipients_count": envelope.forward_paths.len(),
        "refused": end.refused.iter().take(LISTED).map(|(path, refusal)| {
            json!({ "recipient": recipient(path), "reply": reply(refusal) })
        }).collect::<Vec<_>>(),
        "refused_count": end.refused.len(),
        "size": end.size,
        "result": end.cause.to_string(),
        "taken": end.cause == EndCause::Accepted,
        "reply": end.reply.as_ref().map(reply),
        "onward": record.onward.iter().rev().take(LISTED).rev().map(reply).collect::<Vec<_>>(),
        "onward_failures":
            record.failures.iter().take(LISTED).map(ToString::to_string).collect::<Vec<_>>(),
        "queue_id": record.queue_id.as_deref(),
        "discarded": record.is_discarded(),
        "seconds": {
            "all": seconds(end.duration),
            "scoring": seconds(record.scoring),
            "relaying": seconds(record.relaying),
        },
    });
    with(line, judged(&record.tally))
}

/// Merges two JSON objects.
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

/// Returns the reply as sent on the wire.
fn reply(reply: &Reply) -> Value {
    reply.to_string().into()
}

fn points(score: Score) -> f64 {
    f64::from(score.as_hundredths()) / 100.0
}

/// Returns the Unix time in seconds.
fn now() -> f64 {
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns seconds, rounded to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}
