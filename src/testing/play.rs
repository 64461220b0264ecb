//! Dialogues with a panel and an observer, in virtual time.

use std::time::{Duration, Instant};

use super::transcript::{Chunking, Company, Happened, SESSION, Transcript, TranscriptError};
use crate::envelope::{SessionId, TransactionId};
use crate::observer::{Event, Observer, TransactionRecord};
use crate::outcome::{Outcome, RelayError};
use crate::panel::{Panel, Sitting};
use crate::rehearsal::VirtualRuntime;
use crate::runtime::Runtime;
use crate::session::{Question, TransactionEnd};
use crate::tally::Tally;
use crate::verdict::{Stage, Subject, Verdict};
use crate::wire::reply::Reply;

/// A [`Transcript`] on a [`VirtualRuntime`], with a panel and an observer.
///
/// The panel answers every question without a `J:` line. Its scorers may use the runtime. The
/// dialogue continues after they have answered, and its `T:` lines advance the same clock. Each
/// transaction has its own tally, which begins with the findings about the connection.
///
/// ```
/// use nobounce::Panel;
/// use nobounce::scorers::Gtube;
/// use nobounce::testing::{Chunking, Transcript, VirtualRuntime};
///
/// let transcript = Transcript::parse(
///     "@ relay accepts
///      S: 220 gate.example.com ESMTP nobounce
///      C: HELO client.example.org
///      S: 250 gate.example.com
///      C: MAIL FROM:<a@example.org>
///      S: 250 2.1.0 Sender ok
///      C: RCPT TO:<b@example.com>
///      S: 250 2.1.5 Ok
///      C: DATA
///      S: 354 ...
///      C: Subject: x
///      C:
///      C: XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X
///      C: .
///      S: 550 5.7.1 Message refused: GTUBE (play.1)",
/// )?;
/// let panel = Panel::new().scorer(Gtube);
/// let records = transcript.on(&VirtualRuntime::new()).panel(&panel).play(Chunking::Whole)?;
/// assert!(records[0].tally.to_string().contains("GTUBE"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens until it is played"]
#[derive(Clone, Copy)]
pub struct Play<'p> {
    transcript: &'p Transcript,
    runtime: &'p VirtualRuntime,
    panel: Option<&'p Panel>,
    observer: Option<&'p dyn Observer>,
}

impl Transcript {
    /// Prepares the dialogue to be played on a runtime, with an optional panel and observer.
    pub fn on<'p>(&'p self, runtime: &'p VirtualRuntime) -> Play<'p> {
        Play { transcript: self, runtime, panel: None, observer: None }
    }
}

impl<'p> Play<'p> {
    /// Sets the panel. Without a panel, every verdict is pass.
    pub fn panel(self, panel: &'p Panel) -> Self {
        Self { panel: Some(panel), ..self }
    }

    /// Sets the observer of the events. There is no [`Event::Scored`] among them.
    pub fn observer(self, observer: &'p dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Plays the dialogue and returns the records of its transactions.
    ///
    /// # Errors
    ///
    /// Returns the first deviation from the dialogue.
    pub fn play(self, chunking: Chunking) -> Result<Vec<TransactionRecord>, TranscriptError> {
        let mut watched = Watched {
            play: self,
            session: SessionId::new(SESSION),
            began: self.runtime.now(),
            sitting: Sitting::new(),
            connection: Tally::new(),
            current: None,
            records: Vec::new(),
        };
        self.transcript.play_in(chunking, &mut watched, self.runtime.now())?;
        Ok(watched.records)
    }
}

impl std::fmt::Debug for Play<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play").field("transcript", &self.transcript).finish_non_exhaustive()
    }
}

/// Collected data of a running dialogue, with its observer.
struct Watched<'p> {
    play: Play<'p>,
    session: SessionId,
    began: Instant,
    sitting: Sitting,
    connection: Tally,
    current: Option<(TransactionId, Gathered)>,
    records: Vec<TransactionRecord>,
}

#[derive(Default)]
struct Gathered {
    tally: Tally,
    onward: Vec<Reply>,
    failures: Vec<RelayError>,
    queue_id: Option<Box<str>>,
}

impl Watched<'_> {
    fn current(&mut self, id: &TransactionId) -> &mut Gathered {
        if self.current.as_ref().is_some_and(|(current, _)| current != id) {
            self.current = None;
        }
        let tally = &self.connection;
        let fresh = || (id.clone(), Gathered { tally: tally.clone(), ..Gathered::default() });
        &mut self.current.get_or_insert_with(fresh).1
    }

    fn tally(&mut self, id: &TransactionId, stage: Stage) -> &mut Tally {
        match stage {
            Stage::Connect => &mut self.connection,
            Stage::Rcpt | Stage::Data => &mut self.current(id).tally,
        }
    }

    fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = self.play.observer {
            observer.observe(event);
        }
    }

    fn relayed(&mut self, id: &TransactionId, is_recipient: bool, outcome: &Outcome) {
        let gathered = self.current(id);
        gathered.onward.push(outcome.reply().clone());
        match outcome {
            Outcome::Accepted(receipt) => {
                gathered.queue_id = receipt.queue_id().map(Into::into);
            }
            Outcome::Refused(_) | Outcome::Failed(_) => {
                if let Outcome::Failed(error) = outcome {
                    gathered.failures.push(error.clone());
                }
                if is_recipient {
                    gathered.tally.recipient_refused();
                }
            }
        }
    }

    fn ended(&mut self, end: &TransactionEnd) {
        let gathered = std::mem::take(self.current(&end.envelope.id));
        self.current = None;
        let Gathered { tally, onward, failures, queue_id } = gathered;
        let record = TransactionRecord {
            end: end.clone(),
            tally,
            onward,
            failures,
            queue_id,
            scoring: Duration::ZERO,
            relaying: Duration::ZERO,
        };
        self.sitting.transaction_ended(&record.end);
        self.sitting.settle();
        self.observe(&Event::Ended(&record));
        self.records.push(record);
    }
}

impl Company for Watched<'_> {
    fn judge(&mut self, question: &Question<'_>, now: &mut Instant) -> Verdict {
        let (id, subject, Play { panel, runtime, .. }) =
            (question.id(), question.subject(), self.play);
        let Some(panel) = panel else { return Verdict::Pass };
        runtime.advance_to(*now);
        let mut sitting = std::mem::take(&mut self.sitting);
        let tally = self.tally(&id, subject.stage());
        let verdict = runtime.run(panel.ask(runtime, subject, tally, &mut sitting));
        self.sitting = sitting;
        *now = runtime.now();
        verdict
    }

    fn see(&mut self, now: Instant, happened: Happened<'_>) {
        self.play.runtime.advance_to(now);
        match happened {
            Happened::Connected(session) => {
                let (session, peer) = (session.id(), session.peer());
                self.observe(&Event::Connected { session, peer });
            }
            Happened::Received(octets) => {
                self.observe(&Event::Received { session: &self.session, octets });
            }
            Happened::Transmitted(octets) => {
                self.observe(&Event::Transmitted { session: &self.session, octets });
            }
            Happened::Judged(id, subject, verdict) => {
                let stage = subject.stage();
                let tally = self.tally(id, stage).clone();
                let (peer, tally) = (subject.peer(), &tally);
                let recipient = match subject {
                    Subject::Recipient(_, recipient) => Some(recipient),
                    _ => None,
                };
                self.observe(&Event::Judged { id, peer, stage, recipient, tally, verdict });
                self.tally(id, stage).settle();
            }
            Happened::Relayed(id, recipient, outcome) => {
                self.relayed(id, recipient.is_some(), outcome);
                self.observe(&Event::Relayed { id, recipient, outcome });
            }
            Happened::Late(awaiting) => {
                self.observe(&Event::Late { session: &self.session, awaiting });
            }
            Happened::Ended(end) => self.ended(end),
            Happened::Closed(session) => {
                let duration = now.saturating_duration_since(self.began);
                let (session, peer, conduct) = (session.id(), session.peer(), session.conduct());
                self.observe(&Event::Disconnected { session, peer, duration, conduct });
            }
        }
    }
}
