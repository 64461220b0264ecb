//! The evaluation of policies (RFC 7208 sections 4 to 6). Only this file changes its state.
//!
//! A stack holds the policy of the domain and the policies that `include` leads to. A directive that
//! needs a lookup stops the evaluation, and the answer resumes it.

use std::net::IpAddr;
use std::sync::Arc;

use super::macros::{DomainSpec, Values};
use super::outcome::{SpfIdentity, SpfOutcome, SpfProblem, SpfResult, shortened};
use super::record::{Directive, Mechanism, Policy, Prefixes, Published, in_ip4, in_ip6};
use super::reverse::{ReverseNames, Search};
use super::subject::{Subject, is_checkable};
use crate::dns::{Answer, DomainName, Record, RecordKind, ResolveError};

/// Maximum number of terms with lookups, and of terms whose lookups find nothing (RFC 7208 section
/// 4.6.4).
const TERMS: usize = 10;
const VOID_TERMS: usize = 2;
/// Maximum number of mail servers of an `mx` (RFC 7208 section 4.6.4).
const MAIL_SERVERS: usize = 10;
/// Maximum length of a mechanism in an outcome, in octets.
const MECHANISM: usize = 255;

/// An evaluation between two questions.
#[derive(Debug, Clone)]
pub(super) struct Evaluation {
    identity: SpfIdentity,
    subject: Subject,
    /// The policy under evaluation is the last one. The others wait for the result of an `include`.
    policies: Vec<Running>,
    spent: Spent,
    /// The names of the client. `None` if they were not looked up yet.
    reverse_names: Option<ReverseNames>,
}

/// Number of terms with lookups so far, and of terms whose lookups have found nothing.
#[derive(Debug, Clone, Default)]
struct Spent {
    terms: usize,
    void_terms: usize,
}

/// A policy under evaluation.
#[derive(Debug, Clone)]
struct Running {
    domain: DomainName,
    policy: Arc<Policy>,
    /// The number of directives that have not matched.
    position: usize,
    /// Whether the directive at this position was already counted as a term with lookups, and as a
    /// term whose lookups found nothing. A directive may need several lookups.
    counted: bool,
    void: bool,
}

/// The lookup that a directive needs for its target.
enum Lookup {
    Include,
    Addresses(Prefixes),
    MailServers(Prefixes),
    ReverseNames,
    Existence,
}

/// A question to DNS.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) name: DomainName,
    pub(super) kind: RecordKind,
    purpose: Purpose,
}

/// The purpose of a question.
#[derive(Debug, Clone)]
enum Purpose {
    /// The policy of the name, for the domain itself, an `include` or a `redirect`.
    Policy(Reference),
    /// The addresses of the name, for `a`.
    Addresses(Prefixes),
    /// Any address, for `exists`.
    Existence,
    /// The mail servers, for `mx`.
    MailServers(Prefixes),
    /// The addresses of one mail server. The list contains the other servers, the next one last.
    MailServer(Prefixes, Vec<DomainName>),
    /// The names of the client.
    ReverseNames,
    /// The addresses of the client's name with this index.
    ReverseName(usize),
}

/// The reason for reading a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    Identity,
    Include,
    Redirect,
}

/// The next step for the caller.
#[derive(Debug)]
pub(super) enum Next {
    Ask(Question),
    Done(SpfOutcome),
}

/// The next step within the evaluation.
enum Flow {
    Ask(Question),
    /// The evaluation of the current directive, for the first time or again.
    Directive,
    /// Whether the current directive matches.
    Match(bool),
    /// The result, and the mechanism that matched.
    End(SpfResult, Option<Box<str>>),
}

type Reply<'a> = Result<&'a Answer, &'a ResolveError>;

impl Evaluation {
    /// Begins an evaluation, whose first question is for the policy of the domain.
    pub(super) fn begin(identity: SpfIdentity, subject: Subject) -> (Self, Next) {
        let evaluation = Self {
            identity,
            subject,
            policies: Vec::new(),
            spent: Spent::default(),
            reverse_names: None,
        };
        let next = match evaluation.subject.domain.clone() {
            Some(name) => {
                let purpose = Purpose::Policy(Reference::Identity);
                Next::Ask(Question { name, kind: RecordKind::Txt, purpose })
            }
            None => evaluation.failed(SpfProblem::NoDomain),
        };
        (evaluation, next)
    }

    /// Continues the evaluation with the answer to a question.
    pub(super) fn resume(&mut self, question: &Question, reply: Reply<'_>) -> Next {
        let mut flow = self.answered(question, reply);
        loop {
            flow = match flow {
                Ok(Flow::Ask(question)) => return Next::Ask(question),
                Ok(Flow::End(result, mechanism)) => {
                    return Next::Done(self.outcome(result, mechanism, None));
                }
                Err(problem) => return self.failed(problem),
                Ok(Flow::Directive) => self.directive(),
                Ok(Flow::Match(true)) => Ok(self.matched()),
                Ok(Flow::Match(false)) => {
                    if let Some(running) = self.policies.last_mut() {
                        running.position += 1;
                        (running.counted, running.void) = (false, false);
                    }
                    Ok(Flow::Directive)
                }
            };
        }
    }

    /// Ends the current policy with the result of its current directive.
    fn matched(&mut self) -> Flow {
        let directive = self.policies.last().and_then(|it| it.policy.directives.get(it.position));
        let result = directive.map_or(SpfResult::Neutral, |it| it.qualifier.result());
        let mechanism = directive.filter(|_| self.policies.len() == 1).map(shown_mechanism);
        self.ended(result, mechanism)
    }

    /// Ends the current policy. If an `include` led to it, that one matches if the result is pass.
    fn ended(&mut self, result: SpfResult, mechanism: Option<Box<str>>) -> Flow {
        self.policies.pop();
        match self.policies.is_empty() {
            true => Flow::End(result, mechanism),
            false => Flow::Match(result == SpfResult::Pass),
        }
    }

    fn failed(&self, problem: SpfProblem) -> Next {
        Next::Done(self.outcome(problem.result(), None, Some(problem)))
    }

    fn outcome(
        &self,
        result: SpfResult,
        mechanism: Option<Box<str>>,
        problem: Option<SpfProblem>,
    ) -> SpfOutcome {
        let domain = self.subject.domain.clone();
        SpfOutcome { result, identity: self.identity, domain, mechanism, problem }
    }

    /// Evaluates the current directive of the current policy, up to its first question.
    fn directive(&mut self) -> Result<Flow, SpfProblem> {
        let Some(running) = self.policies.last_mut() else {
            return Ok(self.ended(SpfResult::Neutral, None));
        };
        let Some(directive) = running.policy.directives.get(running.position) else {
            return self.without_match();
        };
        let client = self.subject.client;
        let (lookup, spec) = match &directive.mechanism {
            Mechanism::All => return Ok(Flow::Match(true)),
            Mechanism::Ip4(network, prefix) => {
                let contains = |it| in_ip4(it, *network, *prefix);
                return Ok(Flow::Match(matches!(client, IpAddr::V4(it) if contains(it))));
            }
            Mechanism::Ip6(network, prefix) => {
                let contains = |it| in_ip6(it, *network, *prefix);
                return Ok(Flow::Match(matches!(client, IpAddr::V6(it) if contains(it))));
            }
            Mechanism::Include(spec) => (Lookup::Include, Some(spec)),
            Mechanism::A(spec, prefixes) => (Lookup::Addresses(*prefixes), spec.as_ref()),
            Mechanism::Mx(spec, prefixes) => (Lookup::MailServers(*prefixes), spec.as_ref()),
            Mechanism::Ptr(spec) => (Lookup::ReverseNames, spec.as_ref()),
            Mechanism::Exists(spec) => (Lookup::Existence, Some(spec)),
        };
        self.spent.term(&mut running.counted)?;
        let (subject, names) = (&self.subject, self.reverse_names.as_ref());
        if spec.is_some_and(|spec| !spec.may_match(subject)) {
            return Ok(Flow::Match(false));
        }
        let target = match target(subject, names, &running.domain, spec) {
            Ok(target) => target,
            Err(question) => return Ok(Flow::Ask(question)),
        };
        if let Lookup::Include = lookup {
            return reference(target, Reference::Include).map(Flow::Ask);
        }
        // A name that cannot be looked up does not exist (RFC 7208 section 4.8).
        let Some(name) = target else { return Ok(Flow::Match(false)) };
        let (kind, purpose) = match lookup {
            Lookup::Addresses(prefixes) => (addresses(client), Purpose::Addresses(prefixes)),
            Lookup::MailServers(prefixes) => (RecordKind::Mx, Purpose::MailServers(prefixes)),
            Lookup::Existence | Lookup::Include => (RecordKind::A, Purpose::Existence),
            Lookup::ReverseNames => {
                return Ok(match searched(client, names, |names| names.within(&name)) {
                    Ok(found) => Flow::Match(found.is_some()),
                    Err(question) => Flow::Ask(question),
                });
            }
        };
        Ok(Flow::Ask(Question { name, kind, purpose }))
    }

    /// Follows `redirect`, or ends the policy without a match (RFC 7208 section 4.7). A `redirect`
    /// that matches nothing because of a non-ASCII local part (RFC 8616 section 4) is ignored, so the
    /// result is neutral.
    fn without_match(&mut self) -> Result<Flow, SpfProblem> {
        let redirect =
            self.policies.last_mut().map(|it| (&it.domain, &it.policy.redirect, &mut it.counted));
        let Some((domain, Some(spec), counted)) = redirect else {
            return Ok(self.ended(SpfResult::Neutral, None));
        };
        self.spent.term(counted)?;
        if !spec.may_match(&self.subject) {
            return Ok(self.ended(SpfResult::Neutral, None));
        }
        match target(&self.subject, self.reverse_names.as_ref(), domain, Some(spec)) {
            Ok(target) => reference(target, Reference::Redirect).map(Flow::Ask),
            Err(question) => Ok(Flow::Ask(question)),
        }
    }

    /// Takes the answer to a question.
    fn answered(&mut self, question: &Question, reply: Reply<'_>) -> Result<Flow, SpfProblem> {
        let client = self.subject.client;
        match &question.purpose {
            Purpose::Policy(reference) => {
                let answer = answer(question, reply)?;
                self.published(&question.name, *reference, answer)
            }
            Purpose::Addresses(prefixes) => {
                let records = self.existing(question, reply)?;
                Ok(Flow::Match(is_among(records, client, *prefixes)))
            }
            Purpose::Existence => {
                let records = self.existing(question, reply)?;
                Ok(Flow::Match(!records.is_empty()))
            }
            Purpose::MailServers(prefixes) => {
                let records = self.existing(question, reply)?;
                let servers = mail_servers(&question.name, records)?;
                Ok(next_mail_server(client, *prefixes, servers))
            }
            Purpose::MailServer(prefixes, others) => {
                let records = self.existing(question, reply)?;
                Ok(match is_among(records, client, *prefixes) {
                    true => Flow::Match(true),
                    false => next_mail_server(client, *prefixes, others.clone()),
                })
            }
            // Lookups about the client do not make the policy fail (RFC 7208 section 5.5), and are not
            // counted as void: otherwise a client without names could turn fail into permerror.
            Purpose::ReverseNames => {
                self.reverse_names = Some(ReverseNames::new(reply));
                Ok(Flow::Directive)
            }
            Purpose::ReverseName(place) => {
                if let Some(names) = &mut self.reverse_names {
                    names.check(*place, client, reply);
                }
                Ok(Flow::Directive)
            }
        }
    }

    /// Returns the records of an answer, and counts an answer without any.
    fn existing<'a>(
        &mut self,
        question: &Question,
        reply: Reply<'a>,
    ) -> Result<&'a [Record], SpfProblem> {
        let records = &*answer(question, reply)?.records;
        if records.is_empty() {
            self.found_nothing()?;
        }
        Ok(records)
    }

    /// Counts the current directive as one whose lookups have found nothing.
    fn found_nothing(&mut self) -> Result<(), SpfProblem> {
        self.policies.last_mut().map_or(Ok(()), |it| self.spent.void_term(&mut it.void))
    }

    /// Reads the policy of a domain (RFC 7208 sections 4.5, 5.2 and 6.1).
    fn published(
        &mut self,
        domain: &DomainName,
        reference: Reference,
        answer: &Answer,
    ) -> Result<Flow, SpfProblem> {
        let published = answer.parsed(Published::read, Published::is_small);
        let policy = match (&*published, reference) {
            (Published::Policy(policy), _) => policy.clone(),
            (Published::Several, _) => return Err(SpfProblem::SeveralPolicies(domain.clone())),
            (Published::Malformed(term), _) => {
                return Err(SpfProblem::Syntax { domain: domain.clone(), term: term.clone() });
            }
            (Published::Nothing, Reference::Identity) => {
                return Err(SpfProblem::NoPolicy(domain.clone()));
            }
            (Published::Nothing, Reference::Include | Reference::Redirect) => {
                return Err(SpfProblem::Reference(Some(domain.clone())));
            }
        };
        if reference == Reference::Redirect {
            self.policies.pop();
        }
        let domain = domain.clone();
        self.policies.push(Running { domain, policy, position: 0, counted: false, void: false });
        Ok(Flow::Directive)
    }
}

impl Spent {
    /// Counts a term with lookups once.
    fn term(&mut self, counted: &mut bool) -> Result<(), SpfProblem> {
        self.terms += usize::from(!std::mem::replace(counted, true));
        if self.terms > TERMS { Err(SpfProblem::Terms) } else { Ok(()) }
    }

    /// Counts a term whose lookups find nothing. Each term counts once.
    fn void_term(&mut self, counted: &mut bool) -> Result<(), SpfProblem> {
        self.void_terms += usize::from(!std::mem::replace(counted, true));
        if self.void_terms > VOID_TERMS { Err(SpfProblem::VoidLookups) } else { Ok(()) }
    }
}

/// Returns the target of a term, which is the domain itself by default. Returns `None` if the
/// target is not a valid name, and a question if the name of the client is needed first.
fn target(
    subject: &Subject,
    names: Option<&ReverseNames>,
    domain: &DomainName,
    spec: Option<&DomainSpec>,
) -> Result<Option<DomainName>, Question> {
    let Some(spec) = spec else { return Ok(Some(domain.clone())) };
    let reverse_name = match spec.needs_reverse_name() {
        true => searched(subject.client, names, |names| names.best(domain))?,
        false => None,
    };
    Ok(spec.expand(Values { subject, domain, reverse_name }))
}

/// Searches the names of the client. Returns a question if another answer is needed first.
fn searched<'n>(
    client: IpAddr,
    names: Option<&'n ReverseNames>,
    search: impl FnOnce(&'n ReverseNames) -> Search<'n>,
) -> Result<Option<&'n DomainName>, Question> {
    let Some(names) = names else {
        let (name, kind) = (DomainName::reverse(client), RecordKind::Ptr);
        return Err(Question { name, kind, purpose: Purpose::ReverseNames });
    };
    match search(names) {
        Search::Found(name) => Ok(Some(name)),
        Search::Nothing => Ok(None),
        Search::Unchecked(name, place) => {
            let (name, kind) = (name.clone(), addresses(client));
            Err(Question { name, kind, purpose: Purpose::ReverseName(place) })
        }
    }
}

/// Asks for the policy of another domain. A name that cannot have one is an error (RFC 7208 sections
/// 4.3, 5.2 and 6.1).
fn reference(target: Option<DomainName>, reference: Reference) -> Result<Question, SpfProblem> {
    let name = target.filter(is_checkable).ok_or(SpfProblem::Reference(None))?;
    Ok(Question { name, kind: RecordKind::Txt, purpose: Purpose::Policy(reference) })
}

/// Returns the answer, or the failure of its lookup.
fn answer<'a>(question: &Question, reply: Reply<'a>) -> Result<&'a Answer, SpfProblem> {
    let Question { name, kind, .. } = question;
    let failed = |_| SpfProblem::Lookup { name: name.clone(), kind: *kind };
    reply.map_err(failed)
}

/// Returns whether the client is in the network of one of these addresses.
fn is_among(records: &[Record], client: IpAddr, prefixes: Prefixes) -> bool {
    records.iter().filter_map(Record::address).any(|address| prefixes.contain(client, address))
}

/// Asks for the addresses of the next mail server. Without a further server, the directive does not
/// match.
fn next_mail_server(client: IpAddr, prefixes: Prefixes, mut servers: Vec<DomainName>) -> Flow {
    let Some(name) = servers.pop() else { return Flow::Match(false) };
    let purpose = Purpose::MailServer(prefixes, servers);
    Flow::Ask(Question { name, kind: addresses(client), purpose })
}

/// Returns the mail servers of a domain, the most preferred one last.
fn mail_servers(domain: &DomainName, records: &[Record]) -> Result<Vec<DomainName>, SpfProblem> {
    let exchange = |record: &Record| match record {
        Record::Mx { preference, exchange: Some(name) } => Some((*preference, name.clone())),
        _ => None,
    };
    let mut servers: Vec<_> = records.iter().filter_map(exchange).take(MAIL_SERVERS + 1).collect();
    if servers.len() > MAIL_SERVERS {
        return Err(SpfProblem::MailServers(domain.clone()));
    }
    servers.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    Ok(servers.into_iter().map(|(_, name)| name).collect())
}

/// Returns the record type of the client's kind of address.
fn addresses(client: IpAddr) -> RecordKind {
    if client.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa }
}

fn shown_mechanism(directive: &Directive) -> Box<str> {
    shortened(&directive.to_string(), MECHANISM).into()
}
