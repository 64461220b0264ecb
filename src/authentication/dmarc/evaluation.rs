//! The evaluation (RFC 9989 sections 4.10 and 5.3). Only this file changes its state.
//!
//! The outcome for an author domain is a function of the known records. If it needs an unknown
//! record, the next question asks for this record. Each answer is parsed once, and is used for all
//! author domains and identifiers.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{DmarcIdentifier, DmarcOutcome, DmarcPolicy, DmarcProblem, DmarcResult};
use super::record::{Policies, Record};
use super::walk::{Lookup, Walk};
use crate::authentication::author;
use crate::dns::{self, Answer, DomainName, RecordKind, ResolveError};

/// Maximum number of author domains that are evaluated.
const AUTHORS: usize = author::DOMAINS;
/// Maximum number of identifier domains whose organizational domain is looked up. Further
/// identifiers are aligned only if they equal the author domain.
const WALKS: usize = 8;

/// An evaluation between two questions.
#[derive(Debug)]
pub(super) struct Evaluation {
    /// Author domains without an outcome so far. The next one is the last.
    authors: Vec<DomainName>,
    /// The identifiers, verified ones first.
    identifiers: Vec<DmarcIdentifier>,
    /// Domains of identifiers whose organizational domain may be looked up.
    walked: BTreeSet<DomainName>,
    known: Known,
    /// The worst outcome so far.
    worst: Option<DmarcOutcome>,
}

/// The answers so far.
#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<DomainName, Lookup>,
    /// Whether author domains exist. `None` if the lookup failed.
    existence: BTreeMap<DomainName, Option<bool>>,
}

/// A question to DNS.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) name: DomainName,
    pub(super) kind: RecordKind,
    purpose: Purpose,
}

#[derive(Debug, Clone)]
enum Purpose {
    /// The record of this domain.
    Record(DomainName),
    /// Whether the name exists.
    Existence,
}

/// The next step for the caller.
#[derive(Debug)]
pub(super) enum Next {
    Ask(Question),
    Done(DmarcOutcome),
}

/// Whether an identifier has the same organizational domain as the author domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alignment {
    Aligned,
    Unaligned,
    /// A lookup failed.
    Unknown,
}

impl Evaluation {
    pub(super) fn begin(
        authors: impl IntoIterator<Item = DomainName>,
        identifiers: impl IntoIterator<Item = DmarcIdentifier>,
    ) -> (Self, Next) {
        let mut identifiers: Vec<_> = identifiers.into_iter().collect();
        identifiers.sort_by_key(|it| !it.is_verified);
        let mut walked = BTreeSet::new();
        for DmarcIdentifier { domain, .. } in &identifiers {
            if walked.len() < WALKS {
                walked.insert(domain.clone());
            }
        }
        let mut authors: Vec<_> = authors.into_iter().take(AUTHORS).collect();
        authors.reverse();
        let known = Known::default();
        let mut evaluation = Self { authors, identifiers, walked, known, worst: None };
        let next = evaluation.advance();
        (evaluation, next)
    }

    /// Continues the evaluation with the answer to a question.
    pub(super) fn resume(
        &mut self,
        question: &Question,
        answer: Result<&Answer, &ResolveError>,
    ) -> Next {
        match &question.purpose {
            Purpose::Record(domain) => {
                self.known.records.insert(domain.clone(), published(answer));
            }
            Purpose::Existence => {
                let exists = answer.ok().map(|answer| !answer.is_no_such_domain());
                self.known.existence.insert(question.name.clone(), exists);
            }
        }
        self.advance()
    }

    /// Evaluates the author domains, one after the other, until a record is missing.
    fn advance(&mut self) -> Next {
        while let Some(author) = self.authors.last() {
            match self.outcome(author) {
                Ok(outcome) => self.conclude(outcome),
                Err(question) => return Next::Ask(question),
            }
        }
        let none = || DmarcOutcome::without_policy(None, DmarcResult::None, DmarcProblem::NoAuthor);
        Next::Done(self.worst.take().unwrap_or_else(none))
    }

    /// Records the outcome for an author domain. Skips the others if none of them can be worse.
    fn conclude(&mut self, outcome: DmarcOutcome) {
        self.authors.pop();
        if outcome.is_rejected() {
            self.authors.clear();
        }
        let is_worse = |worst: &DmarcOutcome| outcome.severity() > worst.severity();
        if self.worst.as_ref().is_none_or(is_worse) {
            self.worst = Some(outcome);
        }
    }

    /// Evaluates an author domain, or returns the question that must be answered first.
    fn outcome(&self, author: &DomainName) -> Result<DmarcOutcome, Question> {
        let undecided =
            |result, problem| Ok(DmarcOutcome::without_policy(Some(author), result, problem));
        let (policy_domain, record) = match self.known.record(author)? {
            Lookup::Failed => {
                let problem = DmarcProblem::Lookup(author.clone());
                return undecided(DmarcResult::TempError, problem);
            }
            Lookup::Found(record) => (author.clone(), record),
            Lookup::Nothing => {
                let walk = self.known.walk(author)?;
                if let Some(failed) = walk.failure() {
                    let problem = DmarcProblem::Lookup(failed.clone());
                    return undecided(DmarcResult::TempError, problem);
                }
                match walk.policy() {
                    Some((domain, record)) => (domain.clone(), record),
                    None => {
                        let problem = DmarcProblem::NoRecord(author.clone());
                        return undecided(DmarcResult::None, problem);
                    }
                }
            }
        };
        let Some(policies) = &record.policies else {
            return undecided(DmarcResult::None, DmarcProblem::NoPolicy(policy_domain));
        };
        let mut result = DmarcResult::Fail;
        let mut aligned = None;
        for identifier in &self.identifiers {
            result = match (self.alignment(author, identifier, record)?, identifier.is_verified) {
                (Alignment::Unaligned, _) => continue,
                (Alignment::Aligned, true) => DmarcResult::Pass,
                (Alignment::Aligned, false) | (Alignment::Unknown, _) => DmarcResult::TempError,
            };
            aligned = Some(identifier.clone());
            if result == DmarcResult::Pass {
                break;
            }
        }
        let unknown = |it: &DmarcIdentifier| DmarcProblem::Identifier(it.domain.clone());
        let mut outcome = DmarcOutcome {
            result,
            author: Some(author.clone()),
            policy: None,
            policy_domain: Some(policy_domain),
            problem: aligned.as_ref().filter(|_| result != DmarcResult::Pass).map(unknown),
            identifier: aligned,
        };
        match self.policy(author, policies, &outcome)? {
            Some(policy) => outcome.policy = Some(record.applied(policy)),
            // The policy is unknown, but only the outcome of a failure needs it.
            None if result != DmarcResult::Fail => {}
            None => {
                outcome.result = DmarcResult::TempError;
                outcome.problem = Some(DmarcProblem::Lookup(author.clone()));
            }
        }
        Ok(outcome)
    }

    /// Returns the policy for this author domain (RFC 9989 section 4.10.1), or `None` if the policy
    /// depends on the existence of the domain, which is unknown. The existence is looked up only
    /// for a message that fails.
    fn policy(
        &self,
        author: &DomainName,
        policies: &Policies,
        outcome: &DmarcOutcome,
    ) -> Result<Option<DmarcPolicy>, Question> {
        if outcome.policy_domain.as_ref() == Some(author) {
            return Ok(Some(policies.domain));
        }
        if policies.subdomains == policies.nonexistent {
            return Ok(Some(policies.subdomains));
        }
        if outcome.result != DmarcResult::Fail {
            return Ok(None);
        }
        let policy = |exists| if exists { policies.subdomains } else { policies.nonexistent };
        Ok(self.known.exists(author)?.map(policy))
    }

    /// Returns whether an identifier is aligned (RFC 9989 sections 4.4 and 4.10.2).
    fn alignment(
        &self,
        author: &DomainName,
        identifier: &DmarcIdentifier,
        record: &Record,
    ) -> Result<Alignment, Question> {
        let domain = &identifier.domain;
        if domain == author {
            return Ok(Alignment::Aligned);
        }
        // A common organizational domain is within the same top-level domain.
        let related = top_level(author) == top_level(domain);
        if record.is_strict(identifier.mechanism) || !related || !self.walked.contains(domain) {
            return Ok(Alignment::Unaligned);
        }
        let walk = self.known.walk(author)?;
        let organizational = walk.organizational_domain();
        if domain.is_within(&organizational)
            && self.known.walk(domain)?.organizational_domain() == organizational
        {
            return Ok(Alignment::Aligned);
        }
        // The missing record may belong to a common organizational domain.
        match walk.has_failed_above(domain) {
            true => Ok(Alignment::Unknown),
            false => Ok(Alignment::Unaligned),
        }
    }
}

impl Known {
    /// Returns the record of a domain, or the question for it.
    fn record(&self, domain: &DomainName) -> Result<&Lookup, Question> {
        if let Some(lookup) = self.records.get(domain) {
            return Ok(lookup);
        }
        match record_name(domain) {
            Some(name) => {
                let purpose = Purpose::Record(domain.clone());
                Err(Question { name, kind: RecordKind::Txt, purpose })
            }
            None => Ok(&Lookup::Nothing),
        }
    }

    fn walk(&self, domain: &DomainName) -> Result<Walk<'_>, Question> {
        Walk::from(domain, |domain| self.record(domain))
    }

    /// Returns whether a domain exists (RFC 9989 section 3.2.13), or the question for it.
    fn exists(&self, domain: &DomainName) -> Result<Option<bool>, Question> {
        let (name, kind, purpose) = (domain.clone(), RecordKind::A, Purpose::Existence);
        self.existence.get(domain).copied().ok_or(Question { name, kind, purpose })
    }
}

/// Returns the name of the TXT record of a domain. Returns `None` if the name would be too long, so
/// that no such record can exist.
fn record_name(domain: &DomainName) -> Option<DomainName> {
    if domain.is_plain() {
        return domain.below("_dmarc").ok();
    }
    let labels: Vec<_> = std::iter::once(b"_dmarc".to_vec()).chain(domain.labels()).collect();
    DomainName::from_labels(labels.iter().map(|label| &**label)).ok()
}

fn top_level(domain: &DomainName) -> DomainName {
    std::iter::successors(Some(domain.clone()), DomainName::parent)
        .last()
        .unwrap_or_else(|| domain.clone())
}

/// Reads the record of a domain. If there are several records, they are ignored (RFC 9989 section
/// 4.10).
fn published(answer: Result<&Answer, &ResolveError>) -> Lookup {
    let Ok(answer) = answer else { return Lookup::Failed };
    let mut records = answer.records.iter().filter_map(|record| match record {
        dns::Record::Txt(text) => Record::parse(text),
        _ => None,
    });
    match (records.next(), records.next()) {
        (Some(record), None) => Lookup::Found(record),
        _ => Lookup::Nothing,
    }
}
