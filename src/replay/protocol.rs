//! Replays the protocol: recorded input and recorded answers, through the state machine of a session.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::dialogue::dialogue;
use super::onward;
use super::script::{Answer, Input, Script, Timed};
use crate::deadline::Awaiting;
use crate::observer::During;
use crate::outcome::{Outcome, Receipt, RequestKind};
use crate::recording::{Decided, Element, Fact, Judged, RecordedSession};
use crate::session::{Capabilities, Misconduct, Session, Settings, Step, TransactionEnd};
use crate::verdict::{Refusal, Verdict};

/// Maximum number of steps without an element of the recording that explains them.
const STEPS: usize = 1_000;

/// The result of a replay of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolReplay {
    /// The session said and did the same, up to the end of the recording.
    Same,
    /// The session did something else after mail data that the recording does not contain. The
    /// reason may be the mail data.
    Unknown(Divergence),
    /// The session did something else.
    Diverged(Divergence),
}

/// The first difference between a session and its recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// What the recording says.
    pub recorded: Box<str>,
    /// What happened instead.
    pub found: Box<str>,
    /// The recorded session up to there and on, as a dialogue for
    /// [`Transcript`](https://docs.rs/nobounce/latest/nobounce/testing/struct.Transcript.html). With
    /// the settings of the gate at its head, it is a test.
    pub dialogue: Box<str>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recorded: {}\nfound: {}\n{}", self.recorded, self.found, self.dialogue)
    }
}

/// Replays a recorded session with these settings: its input, the verdicts of its panel, and the
/// answers of its relay target, in virtual time.
///
/// What other sessions did to it is missing: limits of connections and memory.
///
/// ```
/// use nobounce::recording::Recording;
/// use nobounce::replay::{self, ProtocolReplay};
/// use nobounce::Settings;
///
/// // The octets are `220 mx.example ESMTP nobounce mx`, `QUIT` and `221 2.0.0 Bye`.
/// let lines = r#"{"v":1,"session":"mx-0","at":0,"kind":"opened","time":1796028335.4}
/// {"session":"mx-0","at":0,"kind":"judged","transaction":0,"stage":"connect","score":0,"verdict":"pass"}
/// {"session":"mx-0","at":0,"kind":"out","octets":"MjIwIG14LmV4YW1wbGUgRVNNVFAgbm9ib3VuY2UgbXgNCg=="}
/// {"session":"mx-0","at":1,"kind":"in","octets":"UVVJVA0K"}
/// {"session":"mx-0","at":1,"kind":"out","octets":"MjIxIDIuMC4wIEJ5ZQ0K"}
/// {"session":"mx-0","at":1,"kind":"closed","cause":"quit"}
/// "#;
/// let session = Recording::new(lines.as_bytes()).next().unwrap()?;
/// let replayed = replay::protocol(&Settings::new("mx.example").into(), &session);
/// assert_eq!(replayed, ProtocolReplay::Same);
/// let replayed = replay::protocol(&Settings::new("mx2.example").into(), &session);
/// assert!(matches!(replayed, ProtocolReplay::Diverged(it) if it.found.contains("mx2.example")));
/// # Ok::<(), nobounce::recording::RecordingError>(())
/// ```
#[allow(clippy::disallowed_methods, reason = "any moment will do; from here on time is recorded")]
pub fn protocol(settings: &Arc<Settings>, session: &RecordedSession) -> ProtocolReplay {
    let script = Script::of(session);
    let mut player = Player::new(settings.clone(), session, script, Instant::now());
    match player.play() {
        Ok(()) => ProtocolReplay::Same,
        Err(Difference { recorded, found }) => {
            let divergence = Divergence {
                dialogue: dialogue(session, &settings.host, player.sent, &found).into(),
                recorded: recorded.into(),
                found: found.into(),
            };
            match player.has_stand_in {
                true => ProtocolReplay::Unknown(divergence),
                false => ProtocolReplay::Diverged(divergence),
            }
        }
    }
}

struct Difference {
    recorded: String,
    found: String,
}

struct Player<'r> {
    recorded: &'r RecordedSession,
    script: Script<'r>,
    session: Session,
    began: Instant,
    now: Instant,
    /// The number of octets sent, which were as recorded.
    sent: usize,
    answered: usize,
    /// Whether a write failed. How much of its input the session had read then is not known, because
    /// a session in the tarpit reads on before it writes.
    is_unsent: bool,
    /// Whether the session got other mail data than was sent, because the recording has none.
    has_stand_in: bool,
}

/// What to do after a step.
enum After {
    Continue,
    /// The recording does not say how the session went on.
    End,
}

type Played<T> = Result<T, Difference>;

impl<'r> Player<'r> {
    fn new(
        settings: Arc<Settings>,
        recorded: &'r RecordedSession,
        script: Script<'r>,
        began: Instant,
    ) -> Self {
        let (id, client) = (recorded.session.clone(), recorded.client.clone());
        let mut session = Session::new(settings, id, client, began, recorded.time);
        let offered = recorded.elements.iter().find_map(|element| match element {
            Element { fact: Fact::Offered(offered), .. } => Some(offered.clone()),
            _ => None,
        });
        session.offer(&offered.unwrap_or_else(Capabilities::none));
        Self {
            recorded,
            script,
            session,
            began,
            now: began,
            sent: 0,
            answered: 0,
            is_unsent: false,
            has_stand_in: false,
        }
    }

    fn play(&mut self) -> Played<()> {
        let most = STEPS + 8 * self.recorded.elements.len();
        for _ in 0..most {
            self.take_due();
            if self.session.relies_on_recipients()
                && self.script.renewed.contains(&self.session.transactions())
            {
                self.session.doubt_recipients();
            }
            let after = match self.session.poll(self.now) {
                Step::Transmit(octets) => {
                    self.transmit(&octets)?;
                    After::Continue
                }
                Step::Receive => self.receive()?,
                Step::StartTls => self.start_tls()?,
                Step::Ask(_) => self.ask()?,
                Step::Forward(_) => self.forward()?,
                Step::Ended(end) => {
                    self.ended(&end)?;
                    After::Continue
                }
                Step::Close => return self.closed(),
            };
            if let After::End = after {
                return Ok(());
            }
        }
        differ("the end of the session", format!("no end after {most} steps"))
    }

    /// Advances the time to that of an element.
    fn pass(&mut self, at: std::time::Duration) {
        self.now = self.now.max(self.began + at);
    }

    /// Takes all input that came while the session did not wait for it.
    fn take_due(&mut self) {
        while self.is_next(During::Work) {
            self.take();
        }
    }

    /// Returns whether the next input comes now, while the session does this.
    fn is_next(&self, during: During) -> bool {
        self.script.inputs.front().is_some_and(|next| {
            next.during == during && next.sent <= self.sent && next.answered <= self.answered
        })
    }

    /// Returns whether the next answer is a failed renewal.
    fn is_renewal_next(&self) -> bool {
        match self.script.answers.front().map(|next| &next.what) {
            Some(Answer::Relayed(relayed)) => relayed.request == RequestKind::Renewal,
            Some(Answer::Late(awaiting)) => *awaiting == Awaiting::RecipientOutcome,
            _ => false,
        }
    }

    /// Takes the next input.
    fn take(&mut self) {
        let Some(Timed { at, what, .. }) = self.script.inputs.pop_front() else { return };
        self.pass(at);
        let (session, now) = (&mut self.session, self.now);
        match what {
            Input::Octets(octets) => {
                self.has_stand_in |= matches!(octets, Cow::Owned(_));
                session.receive(&octets);
            }
            Input::End => session.receive_eof(),
            Input::Lost => session.lose_client(),
            Input::Secured(tls) => session.tls_started(tls.clone()),
            Input::NotSecured => session.tls_failed(),
            Input::Stressed(on) => session.set_stress(on, now),
            Input::ShuttingDown => session.shut_down(),
            Input::Evicted => session.evict(),
            Input::Late(awaiting) => session.time_out(awaiting),
        }
    }

    fn transmit(&mut self, octets: &[u8]) -> Played<()> {
        let next = self.script.inputs.front().map(|next| &next.what);
        if matches!(next, Some(Input::Lost)) && self.is_next(During::Question) {
            // The session waited for a renewal, which is recorded only if it fails.
            self.take();
            return Ok(());
        }
        if self.is_next(During::Transmit) {
            self.is_unsent = true;
            self.take();
            return Ok(());
        }
        let rest = &self.script.output[self.sent..];
        let same = rest.iter().zip(octets).take_while(|(one, other)| one == other).count();
        if same < octets.len() {
            // Differences are told in whole lines.
            let begin = octets[..same].iter().rposition(|it| *it == b'\n').map_or(0, |at| at + 1);
            if rest.len() == same && !self.recorded.is_complete() {
                self.sent += same;
                return Ok(());
            }
            let line = |octets: &[u8]| {
                let line = octets.split_inclusive(|it| *it == b'\n').next().unwrap_or_default();
                format!("S: {}", line.trim_ascii_end().escape_ascii())
            };
            let recorded = match &rest[begin..] {
                [] => "no reply".to_owned(),
                rest => line(rest),
            };
            self.sent += begin;
            return differ(recorded, line(&octets[begin..]));
        }
        self.sent += same;
        Ok(())
    }

    fn receive(&mut self) -> Played<After> {
        let waits_for_greeting = self.session.deadline();
        let waits_for_greeting =
            waits_for_greeting.filter(|deadline| deadline.awaiting == Awaiting::EarlyInput);
        let next = self.script.inputs.front().map(|next| next.sent);
        if let Some(deadline) = waits_for_greeting
            && next.is_none_or(|sent| sent > self.sent)
        {
            self.now = self.now.max(deadline.at);
            self.session.handle_timeout(self.now);
            return Ok(After::Continue);
        }
        match next {
            Some(sent) if sent > self.sent => {
                let rest = &self.script.output[self.sent..];
                let line = rest.split_inclusive(|it| *it == b'\n').next().unwrap_or_default();
                let line = format!("S: {}", line.trim_ascii_end().escape_ascii());
                differ(line, "the session waits for its client")
            }
            Some(_) => {
                self.take();
                Ok(After::Continue)
            }
            None => self.missing("the session waits for its client"),
        }
    }

    fn start_tls(&mut self) -> Played<After> {
        match self.script.inputs.front().map(|next| &next.what) {
            Some(Input::Secured(_) | Input::NotSecured | Input::Late(_) | Input::Lost) => {
                self.take();
                Ok(After::Continue)
            }
            Some(_) => differ("no TLS handshake", "a TLS handshake begins"),
            None => self.missing("a TLS handshake begins"),
        }
    }

    fn ask(&mut self) -> Played<After> {
        if self.is_next(During::Question) {
            self.take();
            return Ok(After::Continue);
        }
        let Some(Timed { at, what, .. }) = self.script.answers.pop_front() else {
            return self.missing("the panel is asked");
        };
        self.pass(at);
        self.answered += 1;
        let Step::Ask(question) = self.session.poll(self.now) else { return Ok(After::Continue) };
        match what {
            Answer::Judged(judged) if judged.stage == question.subject().stage() => {
                question.answer(verdict(judged));
                Ok(After::Continue)
            }
            Answer::Late(Awaiting::Verdict) => {
                self.session.time_out(Awaiting::Verdict);
                Ok(After::Continue)
            }
            other => {
                let stage = question.subject().stage();
                differ(other.to_string(), format!("the panel is asked at {stage}"))
            }
        }
    }

    fn forward(&mut self) -> Played<After> {
        if self.is_next(During::Question) {
            self.take();
            return Ok(After::Continue);
        }
        let now = self.now;
        let is_renewal_next = self.is_renewal_next();
        if let Step::Forward(forward) = self.session.poll(now)
            && forward.kind() == RequestKind::Renewal
            && !is_renewal_next
        {
            // Renewals that succeeded are not recorded.
            forward.complete(Outcome::Accepted(Receipt::recipient()));
            return Ok(After::Continue);
        }
        let Some(Timed { at, what, .. }) = self.script.answers.pop_front() else {
            return self.missing("the relay target is asked");
        };
        self.pass(at);
        self.answered += 1;
        let now = self.now;
        let Step::Forward(forward) = self.session.poll(now) else { return Ok(After::Continue) };
        match what {
            Answer::Relayed(relayed) if relayed.request == forward.kind() => {
                let (request, pending) = forward.take();
                let outcome = onward::outcome(relayed, request, now);
                pending.complete(outcome);
                Ok(After::Continue)
            }
            Answer::Late(awaiting @ (Awaiting::RecipientOutcome | Awaiting::ContentOutcome)) => {
                self.session.time_out(awaiting);
                Ok(After::Continue)
            }
            other => {
                let kind = forward.kind();
                differ(other.to_string(), format!("the relay target is asked: {kind:?}"))
            }
        }
    }

    fn ended(&mut self, end: &TransactionEnd) -> Played<()> {
        let found = (end.envelope.id.number(), end.cause);
        let told = format!("transaction {} ends: {}", found.0, found.1);
        match self.script.ends.pop_front() {
            Some(ended) if (ended.transaction, ended.cause) == found => Ok(()),
            Some(ended) => {
                differ(format!("transaction {} ends: {}", ended.transaction, ended.cause), told)
            }
            None => self.missing(&told).map(drop),
        }
    }

    /// Compares the end of the session.
    fn closed(&mut self) -> Played<()> {
        let Some(closed) = self.script.closed else { return Ok(()) };
        let rest = &self.script.output[self.sent..];
        if !rest.is_empty() {
            return differ(format!("S: {}", rest.escape_ascii()), "the end of the session");
        }
        let end = self.session.end().map(|(end, _)| end);
        if end != Some(closed.end) {
            let found = end.map_or("none", |end| end.word());
            return differ(format!("the end: {}", closed.end.word()), format!("the end: {found}"));
        }
        if self.is_unsent {
            return Ok(());
        }
        for what in Misconduct::ALL {
            let (count, recorded) =
                (self.session.conduct().count(what), closed.conduct.get(what.symbol()));
            if count != recorded.copied().unwrap_or_default() {
                let recorded = recorded.copied().unwrap_or_default();
                let symbol = what.symbol();
                return differ(format!("{symbol}={recorded}"), format!("{symbol}={count}"));
            }
        }
        Ok(())
    }

    /// The recording ends here. This is no difference if a part of it is missing.
    fn missing(&self, found: &str) -> Played<After> {
        match self.recorded.is_complete() {
            true => differ("the end of the session", found),
            false => Ok(After::End),
        }
    }
}

fn differ<T>(recorded: impl Into<String>, found: impl Into<String>) -> Played<T> {
    Err(Difference { recorded: recorded.into(), found: found.into() })
}

/// Returns the verdict as it was acted on. Header fields that it added are not known.
fn verdict(judged: &Judged) -> Verdict {
    let refusal = judged.reply.clone().filter(|_| judged.verdict >= Decided::Defer);
    match refusal.and_then(|reply| Refusal::try_from(reply).ok()) {
        Some(refusal) => Verdict::Refuse(refusal),
        None => Verdict::Pass,
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged(judged) => write!(f, "the panel is asked at {}", judged.stage),
            Self::Relayed(relayed) => {
                write!(f, "the relay target is asked: {:?}", relayed.request)
            }
            Self::Late(awaiting) => write!(f, "a timeout: {awaiting:?}"),
        }
    }
}
