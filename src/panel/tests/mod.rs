//! Scorers with scripted behaviour, and helpers that ask a panel of them.

mod contexts;
mod hearings;
mod sittings;
mod verdicts;
mod weights;

use std::fmt::Write as _;

use async_trait::async_trait;

use super::seat::SEAT_BUDGET;
use super::*;
use crate::opinion::ScorerError;
use crate::rehearsal::{self, Rehearsal};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{ConnectContext, DataContext, RcptContext};
use crate::wire::reply::EnhancedStatus;
use Act::{Break, Fail, Find, Hang, No, NoFor, Panic, Silent};

/// The behaviour of a scorer at every stage.
#[derive(Debug, Clone)]
enum Act {
    Silent,
    /// Returns these findings.
    Find(Vec<Finding>),
    /// Refuses with this code.
    No(u16),
    /// Refuses with 550 and returns this finding.
    NoFor(Finding),
    Fail,
    Panic,
    Hang,
    /// Hangs, and panics when its future is dropped.
    Break,
}

/// A scorer that performs one act after a delay.
struct Actor {
    name: String,
    act: Act,
    runtime: Rehearsal,
    after: Duration,
}

impl Actor {
    async fn act(&self) -> Result<Opinion, ScorerError> {
        let _guard = matches!(self.act, Break).then(|| Unruly);
        if !self.after.is_zero() {
            self.runtime.sleep(self.after).await;
        }
        match &self.act {
            Silent => Ok(Opinion::silent()),
            Find(findings) => Ok(findings.clone().into()),
            No(code @ ..500) => {
                Ok(Refusal::transient(*code, EnhancedStatus::new(7, 1), &self.name).into())
            }
            No(code) => Ok(Refusal::permanent(*code, EnhancedStatus::new(7, 1), &self.name).into()),
            NoFor(finding) => {
                let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), &self.name);
                Ok(Opinion::from(refusal).and(finding.clone()))
            }
            Fail => Err(ScorerError::new("the secret table is corrupt")),
            Panic => panic!("attempt to divide by {}", "zero"),
            Hang | Break => std::future::pending().await,
        }
    }
}

struct Unruly;

impl Drop for Unruly {
    fn drop(&mut self) {
        panic!("when dropped");
    }
}

#[async_trait]
impl Scorer for Actor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.act().await
    }

    async fn on_rcpt(&self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        self.act().await
    }

    async fn on_data(&self, _: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        self.act().await
    }
}

fn hidden(symbol: &str, hundredths: i32) -> Finding {
    Finding::new(symbol, Score::hundredths(hundredths))
}

fn public(symbol: &str, hundredths: i32) -> Finding {
    hidden(symbol, hundredths).with_disclosure(Disclosure::Public)
}

fn find(hundredths: i32) -> Act {
    Find(vec![hidden("X", hundredths)])
}

fn seat(runtime: &Rehearsal, name: &str, act: Act) -> Seat {
    seat_after(runtime, name, act, Duration::ZERO)
}

fn seat_after(runtime: &Rehearsal, name: &str, act: Act, after: Duration) -> Seat {
    Seat::new(Actor { name: name.into(), act, runtime: runtime.clone(), after })
}

/// Asks the panel at this stage, with a new sitting.
fn ask_at(runtime: &Rehearsal, panel: &Panel, stage: Stage, tally: &mut Tally) -> Verdict {
    ask_in(runtime, panel, stage, tally, &mut Sitting::new())
}

/// Asks the panel at this stage, with this sitting.
fn ask_in(
    runtime: &Rehearsal,
    panel: &Panel,
    stage: Stage,
    tally: &mut Tally,
    sitting: &mut Sitting,
) -> Verdict {
    let (session, peer) = (rehearsal::session(), rehearsal::peer());
    let (envelope, recipient) = (rehearsal::envelope("<a@example.com>"), rehearsal::recipient());
    let message = rehearsal::message("Subject: x\r\n\r\nx\r\n");
    let subject = match stage {
        Stage::Connect => Subject::Connection(&session, &peer),
        Stage::Rcpt => Subject::Recipient(&envelope, &recipient),
        Stage::Data => Subject::Content(&envelope, &message),
    };
    runtime.run(panel.ask(runtime, subject, tally, sitting))
}

fn ask(runtime: &Rehearsal, panel: &Panel) -> (String, Tally) {
    let mut tally = Tally::new();
    let verdict = ask_at(runtime, panel, Stage::Data, &mut tally);
    (print(&verdict), tally)
}

/// Formats a verdict in one line: `pass`, the fields of a tag, or the reply.
fn print(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".into(),
        Verdict::Tag(fields) => fields.iter().fold(String::new(), |mut text, field| {
            let field = String::from_utf8_lossy(field.octets());
            let _ = write!(text, "{}", field.replace("\r\n", ""));
            text
        }),
        Verdict::Refuse(refusal) => refusal.to_string(),
    }
}

const UNWANTED: &str = "550 5.7.1 Message refused as unwanted";
const UNCHECKED: &str = "451 4.3.0 Message cannot be checked now, try again later";
