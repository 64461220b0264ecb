//! Scorers with various behaviours, and checks that the gate treats them correctly.

use std::time::Duration;

use async_trait::async_trait;
use nobounce::panel::FailurePolicy;
use nobounce::reply::EnhancedStatus;
use nobounce::score::Disclosure;
use nobounce::verdict::Stage;
use nobounce::{
    ConnectContext, DataContext, Finding, Opinion, RcptContext, Refusal, Score, Scorer, ScorerError,
};

use super::clock::Sleep;
use super::coverage::Fault;
use super::executor::Owner;
use super::ledger::{self, holds};
use super::plan::SeatPlan;
use super::rng::Rng;
use super::world::World;

/// Message of a scorer's panic. It must not be disclosed to clients.
pub const PANIC: &str = "INTERNAL panic";

pub struct Chancy {
    pub world: World,
    pub name: String,
    pub plan: SeatPlan,
}

/// The subject of a scorer's question: stage, session, mail and recipient.
#[derive(Debug, Clone, Copy)]
struct About {
    stage: Stage,
    session: usize,
    mail: Option<(usize, usize)>,
    recipient: usize,
}

#[async_trait]
impl Scorer for Chancy {
    fn name(&self) -> &str {
        &self.name
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.opine(self.about(Stage::Connect, None, 0)).await
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let mail = ledger::named(at.envelope.reverse_path.path.address());
        // No mail has this many recipients.
        let recipient = ledger::recipient(at.recipient.path.address()).unwrap_or(31);
        self.opine(self.about(Stage::Rcpt, mail, recipient)).await
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let mail = ledger::named(at.envelope.reverse_path.path.address());
        if ledger::named(at.message.content()) != mail {
            let state = &mut *self.world.state();
            state.violate(format!("a scorer was shown another content than that of {mail:?}"));
        }
        self.opine(self.about(Stage::Data, mail, 0)).await
    }
}

impl Chancy {
    fn about(&self, stage: Stage, mail: Option<(usize, usize)>, recipient: usize) -> About {
        let Owner::Gate(session) = self.world.state().owner else {
            panic!("asked outside of a session");
        };
        About { stage, session, mail, recipient }
    }

    async fn opine(&self, about: About) -> Result<Opinion, ScorerError> {
        let mut rng = self.world.fork();
        if !rng.permille(self.plan.opinions) {
            return Ok(Opinion::silent());
        }
        // Until it has answered, nothing may pass that its failure policy would not let pass.
        let mut heard = Heard { scorer: self, about, answered: false };
        if rng.permille(300) {
            let time = rng.wait(self.plan.budget / 2);
            Sleep::of(&self.world, time).await;
        }
        let choice = rng.below(12);
        if choice < 2 {
            self.strike(about, Fault::ScorerLate);
            let late = if choice == 0 {
                // The answer comes too late.
                self.plan.budget + rng.wait(Duration::from_secs(600))
            } else {
                Duration::from_secs(1_000_000)
            };
            Sleep::of(&self.world, late).await;
        }
        heard.answered = true;
        self.answer(about, choice, &mut rng)
    }

    fn answer(&self, about: About, choice: usize, rng: &mut Rng) -> Result<Opinion, ScorerError> {
        const STATUS: EnhancedStatus = EnhancedStatus::new(7, 1);
        let private = |score| Finding::new("PRIVATE", Score::hundredths(score));
        match choice {
            2 => {
                self.strike(about, Fault::ScorerErrs);
                self.fails(about);
                Err(ScorerError::new("INTERNAL error"))
            }
            3 => {
                self.strike(about, Fault::ScorerPanics);
                self.fails(about);
                std::panic::panic_any(PANIC);
            }
            4 | 5 => {
                self.strike(about, Fault::ScorerRefuses);
                self.forbid(about, "a scorer refused it");
                Ok(Refusal::permanent(550, STATUS, "a scorer says no").into())
            }
            6 => {
                self.strike(about, Fault::ScorerDefers);
                self.forbid(about, "a scorer deferred it");
                Ok(Refusal::transient(451, STATUS, "a scorer says later").into())
            }
            7 => {
                self.strike(about, Fault::ScorerHangsUp);
                self.forbid(about, "a scorer hung up on it");
                Ok(Refusal::transient(421, STATUS, "a scorer hangs up").into())
            }
            8 => {
                self.strike(about, Fault::ScorerRefuses);
                self.forbid(about, "the sum was enough");
                let public = private(700).with_disclosure(Disclosure::Private);
                Ok(public.with_detail("PRIVATE detail").into())
            }
            9 if about.stage == Stage::Data => {
                self.strike(about, Fault::ScorerTags);
                Ok(private(550).into())
            }
            10 => Ok(private(i32::try_from(rng.below(5)).unwrap_or_default()).into()),
            _ => Ok(Opinion::silent()),
        }
    }

    fn strike(&self, about: About, fault: Fault) {
        self.world.state().fault_in(about.session, fault);
    }

    /// Applies the failure policy of the scorer's seat, because the scorer fails.
    fn fails(&self, about: About) {
        match self.plan.on_failure {
            FailurePolicy::Ignore => {}
            FailurePolicy::Score(_) => self.forbid(about, "the sum for a failure was enough"),
            FailurePolicy::Defer => self.forbid(about, "a scorer has not answered"),
        }
    }

    fn forbid(&self, about: About, why: &'static str) {
        let state = &mut *self.world.state();
        match (about.stage, about.mail) {
            (Stage::Connect, _) => state.sessions[about.session].barred = true,
            (Stage::Rcpt, Some(mail)) => {
                let mail = state.mail(mail);
                mail.into_iter().for_each(|mail| mail.barred |= 1 << about.recipient);
            }
            (_, mail) => {
                let mail = mail.and_then(|mail| state.mail(mail));
                mail.into_iter().for_each(|mail| mail.forbidden = Some(why));
            }
        }
    }
}

/// A call of a scorer. If it is dropped before its answer, it was late, or its answer is no longer
/// needed.
struct Heard<'a> {
    scorer: &'a Chancy,
    about: About,
    answered: bool,
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.scorer.fails(self.about);
        }
    }
}

/// Returns whether a panic is an intended one.
pub fn is_intended(panic: &(dyn std::any::Any + Send)) -> bool {
    panic.downcast_ref::<&str>().is_some_and(|text| holds(text.as_bytes(), PANIC.as_bytes()))
}
