//! DNS lists (RFC 5782): what a list is, and what its codes weigh.

mod code;
mod dnsbl;
mod rhsbl;
mod uribl;

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::dns::{
    self, BadDomainName, DomainName, Record, RecordKind, ResolveError, Resolver, ask_all,
};
use crate::envelope::Envelope;
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Disclosure, Finding, Score};
use crate::scorers::once::Once;

pub use code::{BadCodes, Codes};
pub use dnsbl::Dnsbl;
pub use rhsbl::Rhsbl;
pub use uribl::Uribl;

/// A list that is kept in DNS: its zone, and what its return codes weigh.
///
/// A list answers with addresses of 127.0.0.0/8, each of which says something else. Each rule that one
/// of them meets gives one finding; a code that meets none gives a finding named after the zone. A
/// weight below zero speaks for the mail: such is a list of good senders (DNSWL).
///
/// These are no listings, whatever rules say, but failures, left to the failure policy of the
/// scorer's seat:
/// - an answer outside 127.0.0.0/8: somebody bought the zone, or a hotel answers for it;
/// - 127.255.255.0/24, by which Spamhaus says that it was asked wrongly, by a public resolver or too
///   often, and 127.0.0.1, by which URIBL and SURBL do (it cannot be a listing by RFC 5782 section 5);
/// - what [`refusing`](Self::refusing) adds.
///
/// ```
/// use nobounce::Score;
/// use nobounce::scorers::DnsList;
///
/// let zen = DnsList::new("zen.spamhaus.example")?
///     .codes("127.0.0.[2;3;9]", "ZEN_SBL", Score::points(4))?
///     .codes("127.0.0.[4..7]", "ZEN_XBL", Score::points(6))?
///     .codes("127.0.0.[10..11]", "ZEN_PBL", Score::points(3))?;
/// let multi = DnsList::new("multi.surbl.example")?
///     .bits(8, "SURBL_PHISH", Score::points(6))?
///     .bits(16, "SURBL_MALWARE", Score::points(6))?;
/// let good = DnsList::new("list.dnswl.example")?
///     .codes("127.0.[0..255].[1..3]", "DNSWL", Score::points(-2))?
///     .refusing("127.0.0.255")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DnsList {
    zone: DomainName,
    symbol: Box<str>,
    weight: Score,
    rules: Vec<Rule>,
    refusals: Vec<Codes>,
    disclosure: Disclosure,
}

#[derive(Debug, Clone)]
struct Rule {
    meets: Meets,
    symbol: Box<str>,
    weight: Score,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meets {
    Codes(Codes),
    /// Of the last three octets.
    Bits(u32),
}

/// Why a list that was asked says nothing. The fault is the list's, that of whoever asks it in a way
/// that it does not like, or that of the servers between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ListFault {
    #[error("{zone}: {error}")]
    Unknown { zone: DomainName, error: ResolveError },
    #[error("{zone} does not answer us: {code}")]
    Refused { zone: DomainName, code: Ipv4Addr },
    #[error("{zone} is no list: {code}")]
    NotACode { zone: DomainName, code: Ipv4Addr },
}

impl DnsList {
    /// The list of this zone, on which being listed weighs nothing as yet.
    pub fn new(zone: &str) -> Result<Self, BadDomainName> {
        let zone: DomainName = zone.parse()?;
        Ok(Self {
            symbol: zone.to_ascii_uppercase().replace('.', "_").into(),
            zone,
            weight: Score::ZERO,
            rules: Vec::new(),
            refusals: Codes::refusals(),
            disclosure: Disclosure::default(),
        })
    }

    /// What a code weighs that no rule names. Zero if this is not said: it is on record only.
    #[must_use]
    pub fn weight(mut self, weight: Score) -> Self {
        self.weight = weight;
        self
    }

    /// How a code is called that no rule names; the zone in capitals (`ZEN_EXAMPLE`) otherwise.
    #[must_use]
    pub fn symbol(mut self, symbol: &str) -> Self {
        self.symbol = symbol.into();
        self
    }

    /// Adds a rule: any of these codes, written as [`Codes`] are.
    ///
    /// # Errors
    ///
    /// The codes are malformed, no listing can have one of them, or the rule is there already.
    pub fn codes(self, codes: &str, symbol: &str, weight: Score) -> Result<Self, BadCodes> {
        let read: Codes = codes.parse()?;
        if !read.are_met(&self.refusals) {
            return Err(BadCodes::Unreachable(codes.into()));
        }
        self.rule(Meets::Codes(read), symbol, weight)
    }

    /// Adds a rule: a code that has any of these bits set, for lists whose codes are masks. The last octet
    /// of the code is bits 1 to 128, the two before it are higher ones; the first octet, 127, is none.
    ///
    /// # Errors
    ///
    /// The mask is 0 or above 0xffffff, or the rule is there already.
    pub fn bits(self, mask: u32, symbol: &str, weight: Score) -> Result<Self, BadCodes> {
        if !(1..=0x00ff_ffff).contains(&mask) {
            return Err(BadCodes::Mask(mask));
        }
        self.rule(Meets::Bits(mask), symbol, weight)
    }

    fn rule(mut self, meets: Meets, symbol: &str, weight: Score) -> Result<Self, BadCodes> {
        if self.rules.iter().any(|rule| rule.meets == meets && &*rule.symbol == symbol) {
            return Err(BadCodes::Duplicate(symbol.into()));
        }
        self.rules.push(Rule { meets, symbol: symbol.into(), weight });
        Ok(self)
    }

    /// Adds codes by which the list says that it does not answer us.
    ///
    /// # Errors
    ///
    /// The codes are malformed, or leave a rule that no listing can meet.
    pub fn refusing(mut self, codes: &str) -> Result<Self, BadCodes> {
        self.refusals.push(codes.parse()?);
        let met = |rule: &Rule| match &rule.meets {
            Meets::Codes(codes) => codes.are_met(&self.refusals),
            Meets::Bits(_) => true,
        };
        if !self.rules.iter().all(met) {
            return Err(BadCodes::Unreachable(codes.into()));
        }
        Ok(self)
    }

    /// Whether a client may learn that it is listed here, and as what. By default it may not.
    #[must_use]
    pub fn disclosure(mut self, disclosure: Disclosure) -> Self {
        self.disclosure = disclosure;
        self
    }

    /// Whether being listed can only speak against the mail.
    fn adds_only(&self) -> bool {
        self.weight >= Score::ZERO && self.rules.iter().all(|rule| rule.weight >= Score::ZERO)
    }

    /// Asks about one thing: `labels` is what stands before the zone, `what` what it means.
    async fn ask(
        &self,
        resolver: &dyn Resolver,
        labels: &str,
        what: &str,
    ) -> Result<Vec<Finding>, ListFault> {
        let Ok(name) = self.zone.below(labels) else {
            // No list can have an entry under such a name.
            return Ok(Vec::new());
        };
        let unknown = |error| ListFault::Unknown { zone: self.zone.clone(), error };
        let answer = resolver.lookup(&name, RecordKind::A).await.map_err(unknown)?;
        let codes = answer.records.iter().filter_map(|record| match record {
            Record::A(code) => Some(*code),
            _ => None,
        });
        self.findings(&codes.collect::<Vec<_>>(), what)
    }

    /// What these codes mean.
    fn findings(&self, codes: &[Ipv4Addr], what: &str) -> Result<Vec<Finding>, ListFault> {
        for code in codes.iter().copied() {
            let zone = self.zone.clone();
            if !code.is_loopback() {
                return Err(ListFault::NotACode { zone, code });
            }
            if self.refusals.iter().any(|refusal| refusal.include(code)) {
                return Err(ListFault::Refused { zone, code });
            }
        }
        let finding = |symbol: &str, weight, codes: &[Ipv4Addr]| {
            let codes: Vec<_> = codes.iter().map(Ipv4Addr::to_string).collect();
            let detail = format!("{what} is on {}: {}", self.zone, codes.join(", "));
            Finding::new(symbol, weight).with_detail(&detail).with_disclosure(self.disclosure)
        };
        let mut findings = Vec::new();
        let mut unnamed = codes.to_vec();
        for rule in &self.rules {
            let met: Vec<_> = codes.iter().copied().filter(|code| rule.meets.meet(*code)).collect();
            unnamed.retain(|code| !met.contains(code));
            if !met.is_empty() {
                findings.push(finding(&rule.symbol, rule.weight, &met));
            }
        }
        if !unnamed.is_empty() {
            findings.push(finding(&self.symbol, self.weight, &unnamed));
        }
        Ok(findings)
    }
}

impl Meets {
    fn meet(&self, code: Ipv4Addr) -> bool {
        match self {
            Self::Codes(codes) => codes.include(code),
            Self::Bits(mask) => u32::from(code) & mask != 0,
        }
    }
}

/// Lists that are asked about the same things.
struct Lists {
    resolver: Arc<dyn Resolver>,
    lists: Vec<DnsList>,
    /// What they said of the transactions of late.
    once: Once<Result<Opinion, ScorerError>>,
}

impl Lists {
    fn new(resolver: impl Resolver + 'static) -> Self {
        Self { resolver: Arc::new(resolver), lists: Vec::new(), once: Once::new() }
    }

    /// About how many things the lists can be asked within the questions that a message may cause.
    fn room(&self) -> usize {
        (dns::IN_ALL / self.lists.len().max(1)).max(1)
    }

    /// All symbols of all lists, as findings have them.
    fn symbols(&self) -> Vec<&str> {
        let mut symbols = Vec::new();
        for list in &self.lists {
            symbols.push(&*list.symbol);
            symbols.extend(list.rules.iter().map(|rule| &*rule.symbol));
        }
        symbols
    }

    /// The same as [`ask`](Self::ask), but once in a transaction, however many recipients it has.
    async fn ask_once(
        &self,
        envelope: &Envelope,
        about: &[(String, String)],
    ) -> Result<Opinion, ScorerError> {
        let labels: Vec<_> = about.iter().map(|(labels, _)| &**labels).collect();
        self.once.ask(envelope, labels.join(" "), self.ask(about)).await?
    }

    /// Asks every list about each of these, given as labels and what they mean. What one list says
    /// stands, whatever has become of the others.
    async fn ask(&self, about: &[(String, String)]) -> Result<Opinion, ScorerError> {
        let resolver = &*self.resolver;
        let questions = self.lists.iter().flat_map(|list| {
            about.iter().map(move |(labels, what)| async move {
                let answer = list.ask(resolver, labels, what).await;
                answer.map_err(|fault| (fault, list.adds_only()))
            })
        });
        let mut findings = Vec::new();
        let (mut faults, mut adds_only) = (Vec::new(), true);
        for answer in ask_all(questions.collect::<Vec<_>>()).await {
            match answer {
                Ok(found) => findings.extend(found),
                Err((fault, _)) if faults.contains(&fault) => {}
                Err((fault, only)) => {
                    adds_only &= only;
                    faults.push(fault);
                }
            }
        }
        let opinion = Opinion::from(findings);
        if faults.is_empty() {
            return Ok(opinion);
        }
        let faults: Vec<_> = faults.iter().map(ListFault::to_string).collect();
        let error = ScorerError::new(faults.join("; ")).but_says(opinion);
        Err(if adds_only { error.adds_only() } else { error })
    }
}

#[cfg(test)]
mod tests;
