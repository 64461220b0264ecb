//! Explanations of lines of the log, in words.

use std::fmt::Write;

use nobounce::Score;
use nobounce::observer::json::{
    Client, Decision, DecisionWord, Entry, Judged, Levels, Line, Outcome, Party, Session,
    Transaction, Word,
};

use super::counterfactual::{Reason, changes, parts, reason, verdict};
use crate::time::stamp_of;

/// Returns the explanation of a line. It contains values that strangers chose.
pub(crate) fn explain(line: &Line) -> String {
    let time = stamp_of(line.time);
    match &line.entry {
        Entry::Transaction(it) => transaction(&time, it, ""),
        Entry::Unacknowledged(it) => transaction(
            &time,
            it,
            "The connection broke before the client confirmed the reply, so it will most likely send the message \
             again.\n",
        ),
        Entry::Session(it) => session(&time, it),
        _ => String::new(),
    }
}

fn transaction(time: &str, it: &Transaction, more: &str) -> String {
    let mut text = format!("{time}  {}\n", it.id);
    line(&mut text, &outcome("The message", &it.outcome));
    text += more;
    if it.discarded {
        line(&mut text, "The onward server accepted the message and reported that it discards it.");
    }
    reply(&mut text, &it.outcome);
    text.push('\n');
    client(&mut text, &it.client);
    field(&mut text, "sender", &with(&it.sender, &it.sender_parameters));
    for recipient in &it.recipients {
        let path = with(&recipient.path, &recipient.parameters);
        field(&mut text, "recipient", &format!("{path}: {}", short(&recipient.outcome)));
        if recipient.outcome.reply != it.outcome.reply
            && let Some(reply) = &recipient.outcome.reply
        {
            field(&mut text, "", &single(reply));
        }
    }
    if it.recipients_omitted > 0 {
        field(&mut text, "", &format!("and {} more", it.recipients_omitted));
    }
    for (name, value) in &it.fields {
        field(&mut text, name, value);
    }
    field(&mut text, "size", &format!("{} octets", it.size));
    judged(&mut text, &it.judged);
    text.push('\n');
    if it.onward.is_empty() && it.onward_failures.is_empty() {
        line(&mut text, "The onward server was not asked.");
    }
    for reply in &it.onward {
        line(&mut text, &format!("The onward server replied: {}", single(reply)));
    }
    for failure in &it.onward_failures {
        let server = failure.server.as_deref().unwrap_or("the onward server");
        line(&mut text, &format!("Asking {server} failed: {}", failure.cause));
    }
    let seconds = &it.seconds;
    let times = format!(
        "It took {} s, of which scorers {} s and the onward server {} s.",
        seconds.all, seconds.scoring, seconds.relaying
    );
    line(&mut text, &times);
    text
}

fn session(time: &str, it: &Session) -> String {
    let mut text = format!("{time}  {}\n", it.id.as_deref().unwrap_or("no session"));
    line(&mut text, &outcome("The connection", &it.outcome));
    if let Some(cause) = &it.cause {
        line(&mut text, &format!("Cause: {cause}"));
    }
    reply(&mut text, &it.outcome);
    line(&mut text, "The client sent no message.");
    text.push('\n');
    client(&mut text, &it.client);
    if !it.conduct.is_empty() {
        let counts: Vec<_> =
            it.conduct.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        field(&mut text, "violations", &counts.join(", "));
    }
    judged(&mut text, &it.judged);
    text
}

/// Writes the findings, the failures, the total against each threshold, and what would have changed
/// the verdict.
fn judged(text: &mut String, judged: &Judged) {
    let Some(levels) = judged.thresholds else { return };
    if judged.findings.is_empty()
        && judged.scorer_failures.is_empty()
        && judged.decisions.is_empty()
    {
        text.push('\n');
        return line(text, "No scorer found anything.");
    }
    text.push('\n');
    for finding in &judged.findings {
        let mut notes = vec![format!("at {}", finding.stage)];
        if finding.given != finding.score {
            notes.push(format!("{} before weights", finding.given));
        }
        if let (true, Some(recipient)) = (finding.aside, &finding.recipient) {
            notes.push(format!("only for {recipient}, which was refused"));
        } else if finding.monitored {
            notes.push("does not count: monitor mode".into());
        } else if !finding.counted {
            notes.push("does not count: a higher one of its kind does".into());
        }
        let (score, scorer, symbol) = (finding.score, &finding.scorer, &finding.symbol);
        let notes = notes.join(", ");
        line(text, &format!("{:>8}  {scorer}:{symbol} ({notes})", score.to_string()));
        if !finding.detail.is_empty() {
            line(text, &format!("          {}", finding.detail));
        }
    }
    line(text, &format!("{:>8}  total", judged.score.to_string()));
    for failure in &judged.scorer_failures {
        let server = failure.server.as_ref().map_or(String::new(), |it| format!(" ({it})"));
        let (scorer, stage, cause) = (&failure.scorer, &failure.stage, &failure.cause);
        line(text, &format!("{scorer}{server} gave no complete answer at {stage}: {cause}"));
    }
    if judged.decisions.is_empty() {
        thresholds(text, judged.score, "data", &levels);
    }
    for decision in &judged.decisions {
        text.push('\n');
        decided(text, judged, decision, &levels);
    }
}

fn decided(text: &mut String, judged: &Judged, decision: &Decision, levels: &Levels) {
    let stage = &decision.stage;
    let word = match decision.verdict {
        DecisionWord::Tag => "tag",
        DecisionWord::Defer => "defer",
        _ => "refuse",
    };
    let mode = if decision.acted { "" } else { " (monitor mode: without effect)" };
    line(text, &format!("Verdict at {stage}: {word}{mode}."));
    thresholds(text, decision.score, stage, levels);
    let score = decision.score;
    let alone = format!("The score of {score} alone {}.", would(verdict(levels, score, stage)));
    match reason(judged, decision) {
        Reason::Objection(scorer) => {
            line(text, &format!("{scorer} decided this by itself, whatever the score."));
            line(text, &alone);
        }
        Reason::Failure(failure) => {
            let scorer = &failure.scorer;
            line(text, &format!("{scorer} failed, and its failure policy is to defer."));
            line(text, &alone);
        }
        Reason::Threshold => {
            for change in changes(judged, decision) {
                let parts = change.without.iter();
                let names: Vec<_> =
                    parts.map(|it| format!("{}:{}", it.scorer, it.symbol)).collect();
                let (names, score) = (names.join(" and "), change.score);
                line(text, &format!("Without {names}: {score}, which {}.", would(change.verdict)));
            }
        }
    }
    if decision.stage == "rcpt" {
        let about = parts(judged, decision);
        let mut about = about.iter().filter(|it| it.aside).filter_map(|it| it.recipient.as_ref());
        if let Some(recipient) = about.next() {
            line(text, &format!("This is about {recipient}."));
        }
    }
}

/// Writes the distance to each threshold.
fn thresholds(text: &mut String, score: Score, stage: &str, levels: &Levels) {
    for (verb, level) in [("tag", levels.tag), ("defer", levels.defer), ("refuse", levels.refuse)] {
        let Some(level) = level else { continue };
        if verb == "tag" && stage != "data" {
            continue;
        }
        let what = match score >= level {
            true => format!("reached by {score}"),
            false => format!("not reached by {score}, {} points are missing", level + -score),
        };
        line(text, &format!("Threshold to {verb}, {level}: {what}."));
    }
}

fn client(text: &mut String, client: &Client) {
    let address = client.address.map_or("local".to_owned(), |address| address.to_string());
    let name = client.name.as_deref().unwrap_or("unknown name");
    field(text, "client", &format!("{address} ({name})"));
    if let Some(helo) = &client.helo {
        let verb = if client.esmtp == Some(true) { "EHLO" } else { "HELO" };
        field(text, verb, helo);
    }
    let tls = client.tls.as_ref();
    let tls = tls.map_or("none".to_owned(), |tls| format!("{} {}", tls.version, tls.cipher));
    field(text, "TLS", &tls);
    if client.vouched.address != "socket" {
        field(text, "told by", &client.vouched.address);
    }
}

fn outcome(what: &str, outcome: &Outcome) -> String {
    let by = by(outcome.by);
    match outcome.result {
        Word::Accepted => format!("{what} was accepted{by}."),
        Word::Refused => format!("{what} was refused{by}."),
        Word::Deferred => format!("{what} was deferred{by}. The client may try again."),
        Word::Reset => "The client ended the transaction before the message was complete.".into(),
        Word::Quit => format!("{what} was ended by the client with QUIT."),
        Word::Lost => format!("{what} was lost: the client disconnected."),
        Word::TimedOut => format!("{what} timed out: the client took too long."),
        Word::HandshakeFailed => format!("{what} was lost: the TLS handshake failed."),
        _ => format!("{what} ended."),
    }
}

fn short(outcome: &Outcome) -> String {
    let word = match outcome.result {
        Word::Accepted => "accepted",
        Word::Refused => "refused",
        Word::Deferred => "deferred",
        _ => return "not delivered".into(),
    };
    format!("{word}{}", by(outcome.by))
}

fn by(party: Option<Party>) -> &'static str {
    match party {
        Some(Party::Panel) => " by the spam filter",
        Some(Party::Onward) => " by the onward server",
        Some(Party::Session) => " by front_door, because of limits or protocol errors",
        Some(Party::Admission) => " by the connection limits",
        _ => "",
    }
}

/// Returns the effect of a verdict. `None` means `pass`.
fn would(verdict: Option<DecisionWord>) -> &'static str {
    match verdict {
        None => "would pass",
        Some(DecisionWord::Tag) => "would be tagged",
        Some(DecisionWord::Defer) => "would be deferred",
        Some(_) => "would be refused",
    }
}

fn reply(text: &mut String, outcome: &Outcome) {
    if let Some(reply) = &outcome.reply {
        line(text, &format!("Reply: {}", single(reply)));
    }
}

/// Returns a path with its parameters.
fn with(path: &str, parameters: &str) -> String {
    format!("{path} {parameters}").trim_end().to_owned()
}

/// Returns a reply on one line.
fn single(reply: &str) -> String {
    reply.lines().collect::<Vec<_>>().join(" / ")
}

fn field(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<12}{}", value.replace('\n', " "));
}

/// Writes one line, also if a value in it contains line ends.
fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", line.replace(['\n', '\r'], " "));
}
