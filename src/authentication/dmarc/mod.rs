//! DMARC (RFC 9989).
//!
//! RFC 9989 obsoletes RFC 7489. Where they differ:
//!
//! | | RFC 7489 | RFC 9989 | here |
//! |---|---|---|---|
//! | organizational domain | from a list of public suffixes | by the DNS Tree Walk, at most 8 names | RFC 9989 |
//! | policy of a domain above | of the organizational domain | also of a public suffix domain with `psd=y` | RFC 9989 |
//! | `np=` | unknown (RFC 9091) | policy of subdomains that do not exist | RFC 9989 |
//! | `t=` | unknown | `t=y`: one level below the policy | RFC 9989 |
//! | `pct=` | share of mail to which the policy applies | unknown | `pct=0` means `t=y` without a valid `t=` (RFC 9989 appendix A.6). Other values are ignored |
//! | several author domains | the strictest policy of the domains that fail | the same, optionally | the worst outcome |
//! | sender `<>` | SPF of the HELO name | the same (RFC 7208 section 2.4) | both |
//!
//! A record without a valid `p=`, or with a faulty `sp=` or `np=`, counts as `p=none` if it has a
//! valid `rua=`. Without a valid `rua=`, DMARC is not applied (section 4.10.1). Other faulty tags
//! have their default values (section 4.8). If a tag occurs several times, the first one counts.
//!
//! A lookup that fails matters only if the result depends on it:
//!
//! - The record of the author domain, or of a domain above it while its policy is searched: temperror.
//! - SPF or DKIM of a domain that is aligned: temperror, unless another identifier is verified and aligned.
//! - The record of a domain above both the author domain and an identifier: temperror, unless the
//!   other records show that they are aligned.
//! - The record of a top-level domain counts as absent. Few have one, and the name servers of some do not
//!   answer questions about `_dmarc`.

mod evaluation;
mod outcome;
mod record;
mod walk;

use crate::dns::{Answer, DomainName, RecordKind, ResolveError, Resolver};
use evaluation::{Evaluation, Next, Question};
pub use outcome::{
    DmarcIdentifier, DmarcMechanism, DmarcOutcome, DmarcPolicy, DmarcProblem, DmarcResult,
};

/// An evaluation of DMARC: does an identifier that SPF or DKIM has verified belong to the author?
///
/// It does no I/O. [`poll`](Self::poll) returns the next DNS question, and [`answer`](Self::answer) takes
/// its answer, until there is an outcome. [`dmarc`] does this over a [`Resolver`].
///
/// The first 8 author domains are evaluated. Each needs at most 9 questions: 8 for the DNS Tree
/// Walk, and one about the existence of the domain. Up to 8 identifier domains need at most 8
/// questions each. So there are at most 136 questions. A name that several walks need is looked up
/// once.
///
/// ```
/// use std::time::Duration;
/// use nobounce::authentication::{Dmarc, DmarcIdentifier, DmarcMechanism, DmarcResult, DmarcStep};
/// use nobounce::dns::{Answer, Record};
///
/// let identifier = DmarcIdentifier {
///     mechanism: DmarcMechanism::Spf,
///     domain: "bounces.example.net".parse()?,
///     is_verified: true,
/// };
/// let mut dmarc = Dmarc::new(["example.org".parse()?], [identifier]);
/// let DmarcStep::Ask { name, .. } = dmarc.poll() else { panic!("the record is needed") };
/// assert_eq!(&**name, "_dmarc.example.org");
///
/// let record = Record::Txt(b"v=DMARC1; p=reject"[..].into());
/// dmarc.answer(Ok(Answer::new([record], Duration::from_secs(60))));
/// let DmarcStep::Done(outcome) = dmarc.poll() else { panic!("nothing else is needed") };
/// assert_eq!(outcome.result, DmarcResult::Fail);
/// assert!(outcome.is_rejected());
/// # Ok::<(), nobounce::dns::DomainNameError>(())
/// ```
#[derive(Debug)]
pub struct Dmarc {
    evaluation: Evaluation,
    state: State,
}

#[derive(Debug)]
enum State {
    Asking(Question),
    Done(DmarcOutcome),
}

/// The next step of a [`Dmarc`]: a DNS question, or the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmarcStep<'d> {
    /// The records of this type for this name are needed: look them up and call [`Dmarc::answer`].
    Ask {
        /// The name to look up.
        name: &'d DomainName,
        /// The record type to look up.
        kind: RecordKind,
    },
    /// The evaluation is finished.
    Done(&'d DmarcOutcome),
}

impl Dmarc {
    /// Creates an evaluation of a message with these author domains
    /// ([`Authors::domains`](super::Authors::domains)) and identifiers. The order of the identifiers does
    /// not matter.
    pub fn new(
        authors: impl IntoIterator<Item = DomainName>,
        identifiers: impl IntoIterator<Item = DmarcIdentifier>,
    ) -> Self {
        let (evaluation, next) = Evaluation::begin(authors, identifiers);
        Self { evaluation, state: State::after(next) }
    }

    /// Returns the next question or the outcome. Until it is answered, a question is returned again.
    pub fn poll(&self) -> DmarcStep<'_> {
        match &self.state {
            State::Asking(question) => DmarcStep::Ask { name: &question.name, kind: question.kind },
            State::Done(outcome) => DmarcStep::Done(outcome),
        }
    }

    /// Takes the answer to the question of [`poll`](Self::poll). Does nothing when the evaluation is
    /// finished.
    pub fn answer(&mut self, answer: Result<Answer, ResolveError>) {
        if let State::Asking(question) = &self.state {
            let next = self.evaluation.resume(question, answer.as_ref());
            self.state = State::after(next);
        }
    }
}

impl State {
    fn after(next: Next) -> Self {
        match next {
            Next::Ask(question) => Self::Asking(question),
            Next::Done(outcome) => Self::Done(outcome),
        }
    }
}

/// Evaluates DMARC with the answers of a resolver.
///
/// It has no timeout: a caller with a budget drops the future.
///
/// ```
/// use nobounce::authentication::{Authors, Dmarc, DmarcIdentifier, SpfOutcome, dmarc};
/// use nobounce::dns::Resolver;
/// use nobounce::Message;
///
/// async fn is_refused(resolver: &dyn Resolver, message: &Message, spf: &SpfOutcome) -> bool {
///     let authors = Authors::read(message);
///     let evaluation = Dmarc::new(authors.domains().iter().cloned(), DmarcIdentifier::spf(spf));
///     dmarc(resolver, evaluation).await.is_rejected()
/// }
/// ```
pub async fn dmarc(resolver: &dyn Resolver, evaluation: Dmarc) -> DmarcOutcome {
    let Dmarc { mut evaluation, mut state } = evaluation;
    loop {
        state = match state {
            State::Asking(question) => {
                let answer = resolver.lookup(&question.name, question.kind).await;
                State::after(evaluation.resume(&question, answer.as_ref()))
            }
            State::Done(outcome) => return outcome,
        };
    }
}
