//! Replays the policy of a panel: recorded answers, judged again.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::TransactionId;
use crate::opinion::{Opinion, ScorerError};
use crate::outcome::RequestKind;
use crate::panel::Panel;
use crate::recording::{Decided, Element, Fact, Heard, Judged, RecordedSession, Relayed};
use crate::score::Score;
use crate::tally::{FailureCause, Tally};
use crate::verdict::{Refusal, Stage};
use crate::wire::reply::ReplyClass;

/// A transaction of a recorded session, judged again. It stands for the connection (`SESSION.0`) if
/// no transaction was begun.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReplayedTransaction {
    /// The transaction.
    pub id: TransactionId,
    /// The questions to the panel, in order: about the client, about each recipient, and about the
    /// content.
    pub questions: Vec<ReplayedQuestion>,
}

/// A question to the panel, judged again.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReplayedQuestion {
    /// The verdict in the recording.
    pub recorded: Judged,
    /// The verdict of the panel now.
    pub replayed: Judged,
    /// The findings that count now: scorer, symbol and score.
    pub counted: Vec<(Arc<str>, Box<str>, Score)>,
    /// The findings that counted in the recording. Empty if the verdict is the same.
    pub before: Vec<(Arc<str>, Box<str>, Score)>,
    /// The scorers whose answers are missing or incomplete in the recording.
    pub failed: Vec<Arc<str>>,
    /// The scorers of the panel that were not asked in the recording. They count as silent.
    pub unasked: Vec<Arc<str>>,
}

impl ReplayedTransaction {
    /// Returns the most severe verdict in the recording, about the client, a recipient or the
    /// content.
    pub fn recorded(&self) -> Decided {
        self.worst(|question| &question.recorded)
    }

    /// Returns the most severe verdict now.
    pub fn replayed(&self) -> Decided {
        self.worst(|question| &question.replayed)
    }

    fn worst<'q>(&'q self, judged: impl Fn(&'q ReplayedQuestion) -> &'q Judged) -> Decided {
        let verdicts = self.questions.iter().map(|question| judged(question).verdict);
        verdicts.max().unwrap_or(Decided::Pass)
    }
}

/// Judges the recorded answers of a session again: with the weights, scales, thresholds, failure
/// policies and monitor mode of this panel. Its scorers are not asked.
///
/// The recording must contain answers ([`Gate::report_answers`](crate::Gate::report_answers)).
/// Scorers that the recording does not know are [listed](ReplayedQuestion::unasked). If the panel
/// lets pass what was refused, no more is known of the mail than until then.
///
/// ```
/// use nobounce::recording::{Decided, Recording};
/// use nobounce::scorers::Gtube;
/// use nobounce::{Panel, Score, Thresholds, replay};
///
/// let lines = r#"{"v":1,"session":"mx-0","at":0,"kind":"opened","time":1796028335.4}
/// {"session":"mx-0","at":0.1,"kind":"heard","transaction":0,"stage":"connect","scorer":"gtube","findings":[{"symbol":"GTUBE","given":6}]}
/// {"session":"mx-0","at":0.1,"kind":"judged","transaction":0,"stage":"connect","score":6,"verdict":"pass"}
/// {"session":"mx-0","at":0.2,"kind":"closed","cause":"quit"}
/// "#;
/// let session = Recording::new(lines.as_bytes()).next().unwrap()?;
/// let strict = Thresholds::new(None, None, Some(Score::points(5)))?;
/// let replayed = replay::policy(&Panel::new().scorer(Gtube).thresholds(strict), &session);
/// assert_eq!((replayed[0].recorded(), replayed[0].replayed()), (Decided::Pass, Decided::Refuse));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn policy(panel: &Panel, session: &RecordedSession) -> Vec<ReplayedTransaction> {
    let mut judging = Judging::new(panel);
    for (place, Element { fact, .. }) in session.elements.iter().enumerate() {
        match fact {
            Fact::Heard(heard) => judging.heard.push(heard),
            Fact::Judged(judged) => judging.judge(judged, &session.elements[..place]),
            Fact::Relayed(relayed) => judging.relayed(relayed),
            _ => {}
        }
    }
    judging.finish(session)
}

/// The state of a session that is judged again.
struct Judging<'r> {
    panel: &'r Panel,
    /// The answers to the current question.
    heard: Vec<&'r Heard>,
    connection: Tally,
    about_client: Vec<ReplayedQuestion>,
    transaction: Option<(u32, Tally)>,
    transactions: Vec<(u32, Vec<ReplayedQuestion>)>,
}

impl<'r> Judging<'r> {
    fn new(panel: &'r Panel) -> Self {
        Self {
            panel,
            heard: Vec::new(),
            connection: Tally::new(),
            about_client: Vec::new(),
            transaction: None,
            transactions: Vec::new(),
        }
    }

    fn judge(&mut self, recorded: &Judged, elements: &[Element]) {
        let number = recorded.transaction;
        let tally = if recorded.stage == Stage::Connect {
            // After XCLIENT, the panel is asked about another client.
            self.connection = Tally::new();
            &mut self.connection
        } else {
            if self.transaction.as_ref().is_none_or(|(current, _)| *current != number) {
                self.transaction = Some((number, self.connection.clone()));
                self.transactions.push((number, self.about_client.clone()));
            }
            match &mut self.transaction {
                Some((_, tally)) => tally,
                None => return,
            }
        };
        let heard = std::mem::take(&mut self.heard);
        let answer = |name: &str| heard.iter().find(|it| *it.scorer == *name).map(|it| said(it));
        let verdict = self.panel.judge_again(recorded.stage, tally, answer);
        let replayed = Judged::of(number, recorded.stage, tally, &verdict);
        let counted = tally.counted().map(|entry| {
            let finding = &entry.finding;
            (entry.scorer.clone(), finding.symbol().into(), finding.score())
        });
        let counted = counted.collect();
        tally.settle();
        let was_asked = |name: &str| {
            heard.iter().any(|it| *it.scorer == *name)
                || recorded.silent.iter().any(|it| **it == *name)
        };
        let unasked = self.panel.names().filter(|name| !was_asked(name)).map(Into::into).collect();
        let before = match replayed.verdict == recorded.verdict {
            true => Vec::new(),
            false => before(recorded, elements),
        };
        let failed = heard.iter().filter(|it| it.failure.is_some()).map(|it| it.scorer.clone());
        let (recorded, failed) = (recorded.clone(), failed.collect());
        let is_about_client = recorded.stage == Stage::Connect;
        let question = ReplayedQuestion { recorded, replayed, counted, before, failed, unasked };
        match self.transactions.last_mut().filter(|_| !is_about_client) {
            Some((_, questions)) => questions.push(question),
            None => self.about_client = vec![question],
        }
    }

    /// The findings about a recipient that the relay target refused no longer count.
    fn relayed(&mut self, relayed: &Relayed) {
        if relayed.request == RequestKind::Recipient
            && relayed.reply.class() != ReplyClass::Completion
            && let Some((number, tally)) = &mut self.transaction
            && *number == relayed.transaction
        {
            tally.recipient_refused();
        }
    }

    fn finish(self, session: &RecordedSession) -> Vec<ReplayedTransaction> {
        let id = |number| session.session.transaction(number);
        let of = |(number, questions)| ReplayedTransaction { id: id(number), questions };
        if self.transactions.is_empty() && !self.about_client.is_empty() {
            return vec![of((0, self.about_client))];
        }
        self.transactions.into_iter().map(of).collect()
    }
}

/// Returns the findings that counted for a recorded verdict, of all elements before it.
fn before(judged: &Judged, elements: &[Element]) -> Vec<(Arc<str>, Box<str>, Score)> {
    let mut found: Vec<(Arc<str>, Box<str>, Score)> = Vec::new();
    // The findings of the current question, which count if the recipient was not refused.
    let mut asked: Vec<&Heard> = Vec::new();
    let mut count = |asked: &mut Vec<&Heard>, judged: &Judged| {
        for heard in asked.drain(..) {
            for finding in &heard.findings {
                let is_this = |scorer: &Arc<str>, symbol: &str| {
                    *scorer == heard.scorer && symbol == finding.symbol()
                };
                let weighted = judged.weighted.iter().find(|it| is_this(&it.0, &it.1));
                let score = weighted.map_or(finding.score(), |it| it.2);
                match found.iter_mut().find(|it| is_this(&it.0, &it.1)) {
                    Some(known) => known.2 = known.2.max(score),
                    None => found.push((heard.scorer.clone(), finding.symbol().into(), score)),
                }
            }
        }
    };
    for Element { fact, .. } in elements {
        match fact {
            Fact::Heard(heard) if [0, judged.transaction].contains(&heard.transaction) => {
                asked.push(heard);
            }
            Fact::Judged(it) if it.stage == Stage::Rcpt && it.verdict >= Decided::Defer => {
                asked.clear();
            }
            Fact::Judged(it) => count(&mut asked, it),
            _ => {}
        }
    }
    count(&mut asked, judged);
    found
}

/// Returns the answer of a scorer as it was given.
fn said(heard: &Heard) -> Result<Opinion, FailureCause> {
    let mut opinion = Opinion::from(heard.findings.clone());
    opinion.refusal = heard.refusal.clone().and_then(|reply| Refusal::try_from(reply).ok());
    let Some(failure) = &heard.failure else { return Ok(opinion) };
    let text = failure.text.as_deref().unwrap_or(&failure.cause);
    Err(match &*failure.cause {
        "panic" => FailureCause::Panic(text.into()),
        "late" => FailureCause::Late(heard.took.max(Duration::from_millis(1))),
        "state-lost" => FailureCause::StateLost,
        _ => {
            let error = ScorerError::new(text).but_says(opinion);
            FailureCause::Error(if failure.adds_only { error.adds_only() } else { error })
        }
    })
}
