//! DNS lists (RFC 5782): their zones, and the scores of their return codes.

mod code;
mod dnsbl;
mod rhsbl;
mod uribl;

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::dns::{
    self, DomainName, DomainNameError, Record, RecordKind, ResolveError, Resolver, ask_all,
};
use crate::envelope::Envelope;
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Disclosure, Finding, Score};
use crate::scorers::once::Once;

pub use code::{CodeError, Codes};
pub use dnsbl::Dnsbl;
pub use rhsbl::Rhsbl;
pub use uribl::Uribl;

/// A DNS list: its zone, and the scores of its return codes.
///
/// A list answers with addresses in 127.0.0.0/8, and each address has its own meaning. Each rule
/// that matches one of them makes one finding. A code that matches no rule makes a finding named
/// after the zone. A negative score counts in favour of the mail: use it for allow lists (DNSWL).
///
/// The following answers are never listings, regardless of the rules. They are failures, and the
/// failure policy of the scorer's seat applies:
/// - an answer outside 127.0.0.0/8: the zone has a new owner, or a captive portal answers for it;
/// - 127.255.255.0/24, by which Spamhaus reports an invalid query, a public resolver or too many
///   queries;
/// - 127.0.0.1, by which URIBL and SURBL report the same (it cannot be a listing by RFC 5782
///   section 5);
/// - the codes added by [`refusing`](Self::refusing).
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
    /// A mask for the last three octets.
    Bits(u32),
}

/// The reason why a list gave no answer. Fault of the list, of a query that it does not accept, or
/// of a DNS server in between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ListFault {
    #[error("{zone}: {error}")]
    Unknown { zone: DomainName, error: ResolveError },
    #[error("{zone} refuses to answer our queries: {code}")]
    Refused { zone: DomainName, code: Ipv4Addr },
    #[error("{zone} is not a DNS list: it returned {code}")]
    NotACode { zone: DomainName, code: Ipv4Addr },
}

impl DnsList {
    /// Creates the list of this zone. A listing scores 0 until a score is set.
    pub fn new(zone: &str) -> Result<Self, DomainNameError> {
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

    /// Sets the score of a code that matches no rule. Default: zero, so that it is only recorded.
    #[must_use]
    pub fn weight(mut self, weight: Score) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the symbol of a code that matches no rule. Default: the zone in capitals
    /// (`ZEN_EXAMPLE`).
    #[must_use]
    pub fn symbol(mut self, symbol: &str) -> Self {
        self.symbol = symbol.into();
        self
    }

    /// Adds a rule that matches any of these codes, in the notation of [`Codes`].
    ///
    /// # Errors
    ///
    /// Returns an error if the codes are malformed, if no listing can have one of them, or if the
    /// rule exists already.
    pub fn codes(self, codes: &str, symbol: &str, weight: Score) -> Result<Self, CodeError> {
        let read: Codes = codes.parse()?;
        if !read.are_met(&self.refusals) {
            return Err(CodeError::Unreachable(codes.into()));
        }
        self.rule(Meets::Codes(read), symbol, weight)
    }

    /// Adds a rule that matches codes with any of these bits set, for lists whose codes are bit
    /// masks. Bits 1 to 128 are the last octet of the code. Higher bits are the two octets before
    /// it. The first octet, 127, is not used.
    ///
    /// # Errors
    ///
    /// Returns an error if the mask is 0 or above 0xffffff, or if the rule exists already.
    pub fn bits(self, mask: u32, symbol: &str, weight: Score) -> Result<Self, CodeError> {
        if !(1..=0x00ff_ffff).contains(&mask) {
            return Err(CodeError::Mask(mask));
        }
        self.rule(Meets::Bits(mask), symbol, weight)
    }

    fn rule(mut self, meets: Meets, symbol: &str, weight: Score) -> Result<Self, CodeError> {
        if self.rules.iter().any(|rule| rule.meets == meets && &*rule.symbol == symbol) {
            return Err(CodeError::Duplicate(symbol.into()));
        }
        self.rules.push(Rule { meets, symbol: symbol.into(), weight });
        Ok(self)
    }

    /// Adds codes by which the list refuses to answer.
    ///
    /// # Errors
    ///
    /// Returns an error if the codes are malformed, or if a rule could then match no listing.
    pub fn refusing(mut self, codes: &str) -> Result<Self, CodeError> {
        self.refusals.push(codes.parse()?);
        let met = |rule: &Rule| match &rule.meets {
            Meets::Codes(codes) => codes.are_met(&self.refusals),
            Meets::Bits(_) => true,
        };
        if !self.rules.iter().all(met) {
            return Err(CodeError::Unreachable(codes.into()));
        }
        Ok(self)
    }

    /// Sets whether a client may see that it is listed here, and with which code. Default: private.
    #[must_use]
    pub fn disclosure(mut self, disclosure: Disclosure) -> Self {
        self.disclosure = disclosure;
        self
    }

    /// Returns whether a listing can only raise the score.
    fn adds_only(&self) -> bool {
        self.weight >= Score::ZERO && self.rules.iter().all(|rule| rule.weight >= Score::ZERO)
    }

    /// Queries the list. `labels` is the part of the name before the zone, `what` its readable
    /// form.
    async fn ask(
        &self,
        resolver: &dyn Resolver,
        labels: &str,
        what: &str,
    ) -> Result<Vec<Finding>, ListFault> {
        let Ok(name) = self.zone.below(labels) else {
            // The name is not valid in DNS (too long), so no list can have such an entry.
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

    /// Returns the findings for these codes.
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

/// A set of lists that are queried for the same names or addresses.
struct Lists {
    resolver: Arc<dyn Resolver>,
    lists: Vec<DnsList>,
    /// The answers for recent transactions.
    once: Once<Result<Opinion, ScorerError>>,
}

impl Lists {
    fn new(resolver: impl Resolver + 'static) -> Self {
        Self { resolver: Arc::new(resolver), lists: Vec::new(), once: Once::new() }
    }

    /// Returns the number of names or addresses that can be queried within the limit of queries per
    /// message.
    fn room(&self) -> usize {
        (dns::IN_ALL / self.lists.len().max(1)).max(1)
    }

    /// Returns all symbols of all lists.
    fn symbols(&self) -> Vec<&str> {
        let mut symbols = Vec::new();
        for list in &self.lists {
            symbols.push(&*list.symbol);
            symbols.extend(list.rules.iter().map(|rule| &*rule.symbol));
        }
        symbols
    }

    /// Does the same as [`ask`](Self::ask), but queries only once per transaction, regardless of
    /// the number of recipients.
    async fn ask_once(
        &self,
        envelope: &Envelope,
        about: &[(String, String)],
    ) -> Result<Opinion, ScorerError> {
        let labels: Vec<_> = about.iter().map(|(labels, _)| &**labels).collect();
        self.once.ask(envelope, labels.join(" "), self.ask(about)).await?
    }

    /// Queries every list for each name or address in `about`, given as its labels and its readable
    /// form. The findings of one list count even if another list fails.
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
