//! SPF (RFC 7208), with internationalised domains (RFC 8616).

mod evaluation;
mod macros;
mod outcome;
mod record;
mod reverse;
mod subject;

use std::net::IpAddr;

use crate::dns::{Answer, DomainName, RecordKind, ResolveError, Resolver};
use evaluation::{Evaluation, Next, Question};
pub use outcome::{SpfIdentity, SpfOutcome, SpfProblem, SpfResult};
use subject::Subject;

#[cfg(fuzzing)]
pub(crate) use record::Policy;
/// An evaluation of SPF, `check_host()` of RFC 7208 section 4: may this client send mail for this
/// domain?
///
/// It does no I/O. [`poll`](Self::poll) returns the next DNS question, and [`answer`](Self::answer)
/// takes its answer, until there is an outcome. [`spf`] does this over a [`Resolver`].
///
/// At most 10 terms with lookups are evaluated. The lookups of at most 2 of them may find nothing,
/// and each term may have at most 10 mail servers (RFC 7208 section 4.6.4). The names of the
/// client, also at most 10, are looked up once. So there are at most 122 questions: the policy of
/// the domain, 11 about the client, and 11 for each term. The texts of `exp` are not looked up,
/// because strangers choose them.
///
/// ```
/// use std::time::Duration;
/// use nobounce::authentication::{Spf, SpfResult, SpfStep};
/// use nobounce::dns::{Answer, Record, RecordKind};
///
/// let mut spf = Spf::new("192.0.2.1".parse()?, "mx.example.org", "alice@example.org");
/// let SpfStep::Ask { name, kind } = spf.poll() else { panic!("the policy is needed") };
/// assert_eq!((&**name, kind), ("example.org", RecordKind::Txt));
///
/// let policy = Record::Txt(b"v=spf1 ip4:192.0.2.0/24 -all"[..].into());
/// spf.answer(Ok(Answer::new([policy], Duration::from_secs(60))));
/// let SpfStep::Done(outcome) = spf.poll() else { panic!("nothing else is needed") };
/// assert_eq!(outcome.result, SpfResult::Pass);
/// assert_eq!(outcome.mechanism.as_deref(), Some("ip4:192.0.2.0/24"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spf {
    evaluation: Evaluation,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Asking(Question),
    Done(SpfOutcome),
}

/// The next step of an [`Spf`]: a DNS question, or the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfStep<'s> {
    /// The records of this type for this name are needed: look them up and call [`Spf::answer`].
    Ask {
        /// The name to look up.
        name: &'s DomainName,
        /// The record type to look up.
        kind: RecordKind,
    },
    /// The evaluation is finished.
    Done(&'s SpfOutcome),
}

impl Spf {
    /// Creates an evaluation for a client with this HELO name and this sender.
    ///
    /// `sender` is the mailbox in `MAIL FROM:<…>`, which may contain any octets. If it is empty
    /// (`<>`), the HELO identity is evaluated (RFC 7208 section 2.4). If it has no domain, or an
    /// address literal in place of one, the result is [`SpfResult::None`]. The domain follows the
    /// last `@`.
    ///
    /// An IPv4-mapped IPv6 address counts as an IPv4 address (RFC 7208 section 5).
    pub fn new(client: IpAddr, helo: impl AsRef<[u8]>, sender: impl AsRef<[u8]>) -> Self {
        let sender = sender.as_ref();
        let helo = helo.as_ref();
        match sender.is_empty() {
            true => Self::begin(SpfIdentity::Helo, Subject::helo(client, helo)),
            false => Self::begin(SpfIdentity::MailFrom, Subject::mail_from(client, helo, sender)),
        }
    }

    /// Creates an evaluation of the HELO identity (RFC 7208 section 2.3), regardless of the sender.
    ///
    /// ```
    /// use nobounce::authentication::{Spf, SpfResult, SpfStep};
    ///
    /// let spf = Spf::helo("192.0.2.1".parse()?, "[192.0.2.1]");
    /// let SpfStep::Done(outcome) = spf.poll() else { panic!("a literal has no policy") };
    /// assert_eq!(outcome.result, SpfResult::None);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn helo(client: IpAddr, helo: impl AsRef<[u8]>) -> Self {
        Self::begin(SpfIdentity::Helo, Subject::helo(client, helo.as_ref()))
    }

    fn begin(identity: SpfIdentity, subject: Subject) -> Self {
        let (evaluation, next) = Evaluation::begin(identity, subject);
        Self { evaluation, state: State::after(next) }
    }

    /// Returns the next question or the outcome. Until it is answered, a question is returned again.
    pub fn poll(&self) -> SpfStep<'_> {
        match &self.state {
            State::Asking(question) => SpfStep::Ask { name: &question.name, kind: question.kind },
            State::Done(outcome) => SpfStep::Done(outcome),
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

/// Evaluates SPF with the answers of a resolver.
///
/// It has no timeout: a caller with a budget drops the future, and the result is then `temperror`
/// (RFC 7208 section 4.6.4).
///
/// ```
/// use nobounce::authentication::{Spf, SpfResult, spf};
/// # async fn check(resolver: &dyn nobounce::dns::Resolver) -> Result<(), std::net::AddrParseError> {
///
/// let evaluation = Spf::new("192.0.2.1".parse()?, "mx.example.org", "alice@example.org");
/// let outcome = spf(resolver, evaluation).await;
/// if outcome.result == SpfResult::Fail {
///     println!("{outcome}");
/// }
/// # Ok(())
/// # }
/// ```
pub async fn spf(resolver: &dyn Resolver, evaluation: Spf) -> SpfOutcome {
    let Spf { mut evaluation, mut state } = evaluation;
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

#[cfg(test)]
mod tests;
