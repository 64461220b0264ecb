//! Dialogues with a panel and an observer, in virtual time.

use std::time::Instant;

use super::transcript::{Chunking, Company, Happened, SESSION, Transcript, TranscriptError};
use crate::envelope::SessionId;
use crate::observer::{During, Event, Observer};
use crate::panel::{Panel, Sitting};
use crate::record::{Note, Record, SessionRecord, TransactionRecord};
use crate::rehearsal::VirtualRuntime;
use crate::runtime::Runtime;
use crate::session::Question;
use crate::verdict::{Subject, Verdict};

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

    /// Sets the observer of the events. There is no [`Event::Scored`] and no
    /// [`Event::Offered`] among them.
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
            record: Record::default(),
            broken: false,
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

/// The observer and the bookkeeping of a running dialogue.
struct Watched<'p> {
    play: Play<'p>,
    session: SessionId,
    began: Instant,
    sitting: Sitting,
    record: Record,
    /// Whether the client's connection was reset.
    broken: bool,
    records: Vec<TransactionRecord>,
}

impl Watched<'_> {
    fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = self.play.observer {
            observer.observe(event);
        }
    }

    /// Returns the bookkeeping, and a function that takes its notes.
    fn record(&mut self) -> (&mut Record, impl FnMut(Note<'_>)) {
        let Self { play, record, records, .. } = self;
        let tell = |note: Note<'_>| {
            if let Note::Ended(record) = note {
                records.push(record.clone());
            }
            if let Some(observer) = play.observer {
                observer.observe(&note.into());
            }
        };
        (record, tell)
    }
}

impl Company for Watched<'_> {
    fn judge(&mut self, question: &Question<'_>, now: &mut Instant) -> Verdict {
        let (subject, Play { panel, runtime, .. }) = (question.subject(), self.play);
        let Some(panel) = panel else { return Verdict::Pass };
        runtime.advance_to(*now);
        let tally = self.record.tally(&subject);
        let verdict = runtime.run(panel.ask(runtime, subject, tally, &mut self.sitting));
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
            Happened::Received { octets, in_turn } => {
                if in_turn {
                    self.record.heard();
                }
                let during = if in_turn { During::Receive } else { During::Work };
                self.observe(&Event::Received { session: &self.session, octets, during });
            }
            Happened::Transmitted(octets) => {
                let (record, tell) = self.record();
                record.settle(true, tell);
                self.observe(&Event::Transmitted { session: &self.session, octets });
                self.sitting.settle();
            }
            Happened::Lost => self.broken = true,
            Happened::Asked(subject) => {
                self.record.ask(&subject, now);
                if let Subject::Connection(session, peer) = subject
                    && self.record.begin_client()
                {
                    self.observe(&Event::ClientChanged { session, peer });
                }
            }
            Happened::Judged(id, subject, verdict) => {
                self.record.stop_waiting(now);
                let (peer, stage, recipient) =
                    (subject.peer(), subject.stage(), subject.recipient());
                let observer = self.play.observer;
                self.record.answered();
                let tally = self.record.tally(&subject);
                if let Some(observer) = observer {
                    observer.observe(&Event::Judged {
                        id,
                        peer,
                        stage,
                        recipient,
                        subject,
                        tally,
                        verdict,
                        answers: &[],
                    });
                }
                tally.settle();
            }
            Happened::Requested => self.record.forward(now),
            Happened::Relayed(id, kind, recipient, outcome) => {
                let (record, tell) = self.record();
                record.relayed((id, recipient), kind, outcome, Some(now), tell);
                self.record.stop_waiting(now);
            }
            Happened::Late(awaiting) => {
                let session = self.session.clone();
                let (record, tell) = self.record();
                record.stop_waiting(now);
                record.late(&session, awaiting, tell);
            }
            Happened::Ended(end) => {
                self.sitting.transaction_ended(end);
                let (record, tell) = self.record();
                record.ended(Box::new(end.clone()), tell);
            }
            Happened::Closed(session) => {
                let broken = self.broken;
                let (record, tell) = self.record();
                record.close(broken, tell);
                let duration = now.saturating_duration_since(self.began);
                let record = SessionRecord::new(session, duration, &self.record);
                self.observe(&Event::Disconnected(&record));
            }
        }
    }
}
