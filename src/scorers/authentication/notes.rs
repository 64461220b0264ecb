//! How mail-auth is given what DNS says without asking for itself.
//!
//! mail-auth asks DNS through a resolver of its own, which is bound to one runtime and panics outside
//! of it. But it looks into caches first. So it is run on notes instead: a cache that holds all that
//! is known, and that notes what it was asked for in vain. What is missing is then looked up through
//! our [`Resolver`], all at once, and the evaluation is run again, until nothing is missing. It does no
//! I/O: it is the same thought as the sessions' here.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dmarc::Dmarc;
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::spf::{Macro, Mechanism, Spf};
use mail_auth::{DnsError, DnssecStatus, Error, MX, Parameters, RecordSet, ResolverCache, Txt};

use crate::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver, ask_all};

/// Most runs, and most questions in all: SPF may need ten lookups, some of ten names (RFC 7208 section
/// 4.6.4), DMARC eight (RFC 9989 section 4.10), and each signature one.
const RUNS: usize = 24;
const QUESTIONS: usize = crate::dns::IN_ALL;
/// Stands behind the name that an `exists` of SPF is about.
const EXISTS: &str = "._exists";

/// What is known of DNS for one evaluation.
pub(super) struct Notes {
    client: IpAddr,
    /// Questions that an earlier evaluation for the same message has asked.
    before: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Question, Result<Answer, ResolveError>>,
    missing: BTreeSet<Question>,
    /// What failed that the evaluation has no word for: it knows failures of TXT records only.
    failed: Option<ResolveError>,
}

type Question = (DomainName, RecordKind);

/// Why there is no result. The fault is that of the sender, whose records lead nowhere, or of DNS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfinished {
    #[error("it takes more than {QUESTIONS} lookups")]
    Endless,
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    #[error("the evaluation waits for something else than DNS")]
    Stuck,
}

type Given<'n, P> = Parameters<'n, P, Notes, Notes, Notes, Notes, Notes>;

impl Notes {
    /// Nothing is known as yet. `client` is the only address whose name is ever asked for.
    /// `before` is how many questions this message has caused already.
    pub(super) fn new(client: IpAddr, before: usize) -> Self {
        Self { client, before, state: Mutex::default() }
    }

    /// How many questions this message has caused.
    pub(super) fn asked(&self) -> usize {
        self.before + self.state().known.len()
    }

    /// What the evaluation of `params` may know.
    pub(super) fn with<P>(&self, params: P) -> Given<'_, P> {
        Parameters {
            params,
            cache_txt: Some(self),
            cache_mx: Some(self),
            cache_ptr: Some(self),
            cache_ipv4: Some(self),
            cache_ipv6: Some(self),
        }
    }

    /// Runs `evaluate` until it misses nothing. It gives `None` if it cannot end by itself.
    pub(super) async fn complete<T>(
        &self,
        resolver: &dyn Resolver,
        evaluate: impl Fn() -> Option<T>,
    ) -> Result<T, Unfinished> {
        for _ in 0..RUNS {
            self.state().failed = None;
            let result = evaluate().ok_or(Unfinished::Stuck)?;
            let missing = std::mem::take(&mut self.state().missing);
            if missing.is_empty() {
                return self.state().failed.take().map_or(Ok(result), |error| Err(error.into()));
            }
            if self.asked() + missing.len() > QUESTIONS {
                break;
            }
            let answers = missing.iter().map(|(name, kind)| resolver.lookup(name, *kind));
            let answers = ask_all(answers.collect::<Vec<_>>()).await;
            self.state().known.extend(missing.into_iter().zip(answers));
        }
        Err(Unfinished::Endless)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this name; `None` if that is to be found out first. A name that cannot be
    /// looked up has no records.
    fn recall(&self, name: &str, kind: RecordKind) -> Option<Result<Answer, ResolveError>> {
        let Ok(name) = name.parse::<DomainName>() else {
            return Some(Ok(Answer::new([], std::time::Duration::ZERO)));
        };
        let question = (name, kind);
        let mut state = self.state();
        let known = state.known.get(&question).cloned();
        if known.is_none() {
            state.missing.insert(question);
        }
        known
    }

    /// The records of one kind; none as long as they are not known.
    fn records<T>(
        &self,
        name: &str,
        kind: RecordKind,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Vec<T> {
        match self.recall(name, kind) {
            Some(Ok(answer)) => answer.records.iter().filter_map(read).collect(),
            Some(Err(error)) => {
                self.state().failed = Some(error);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Whether the name has an A record, as an address that any client has.
    fn exists(&self, name: &str) -> Option<bool> {
        let name = name.strip_suffix('.').unwrap_or(name).strip_suffix(EXISTS)?;
        Some(!self.records(name, RecordKind::A, |_| Some(())).is_empty())
    }

    fn text(&self, name: &str) -> Txt {
        // Reports that a signer would like, and signatures of third parties (RFC 6541): nothing here
        // depends on them.
        if name.starts_with("_report._domainkey.") || name.contains("._atps.") {
            return Txt::Error(not_found());
        }
        match self.recall(name, RecordKind::Txt) {
            None => Txt::Error(not_found()),
            Some(Err(error)) => Txt::Error(Error::Dns(DnsError::Resolver(error.to_string()))),
            Some(Ok(answer)) => {
                let texts: Vec<&[u8]> = answer
                    .records
                    .iter()
                    .filter_map(|record| match record {
                        Record::Txt(text) => Some(&**text),
                        _ => None,
                    })
                    .collect();
                read_text(name, &texts)
            }
        }
    }
}

fn not_found() -> Error {
    Error::Dns(DnsError::RecordNotFound(ResponseCode::NoError))
}

/// What the texts of a name say, by what kind of name it is.
fn read_text(name: &str, texts: &[&[u8]]) -> Txt {
    if name.contains("._domainkey.") {
        let mut keys = texts.iter().map(|text| DomainKey::parse(text));
        let first = keys.next().unwrap_or_else(|| Err(not_found()));
        return first.or_else(|error| keys.find_map(Result::ok).ok_or(error)).into();
    }
    let dmarc = name.starts_with("_dmarc.");
    let version: &[u8] = if dmarc { b"v=DMARC1" } else { b"v=spf1" };
    let of_version = |text: &&&[u8]| {
        let begins = text.get(..version.len()).is_some_and(|it| it.eq_ignore_ascii_case(version));
        begins && (dmarc || matches!(text.get(version.len()), None | Some(b' ')))
    };
    let texts: Vec<_> = texts.iter().filter(of_version).collect();
    match (&texts[..], dmarc) {
        // Of several policies none holds (RFC 7489 section 6.6.3); several SPF records are an error
        // (RFC 7208 section 4.5).
        ([], _) | ([_, _, ..], true) => Txt::Error(not_found()),
        ([_, _, ..], false) => Txt::Error(Error::ParseError),
        ([text], true) => Dmarc::parse(text).into(),
        ([text], false) => match terms(text) {
            Some(text) => Spf::parse(&text).map(without_exists).into(),
            None => Txt::Error(Error::ParseError),
        },
    }
}

/// The record with the one modifier that decides anything; `None` if there is a mechanism in it that does
/// not exist (RFC 7208 sections 4.6.1 and 6). mail-auth ends at either, and does not say so.
fn terms(record: &[u8]) -> Option<Vec<u8>> {
    const MECHANISMS: [&[u8]; 8] =
        [b"all", b"include", b"a", b"mx", b"ptr", b"ip4", b"ip6", b"exists"];

    let mut terms = Vec::new();
    for (place, term) in record.split(|octet| *octet == b' ').enumerate() {
        let end = term.iter().position(|octet| matches!(octet, b':' | b'/' | b'='));
        let name = &term[..end.unwrap_or(term.len())];
        if place > 0 && end.is_some_and(|end| term[end] == b'=') {
            if !name.eq_ignore_ascii_case(b"redirect") {
                continue;
            }
        } else if place > 0 && !term.is_empty() {
            let name = name.strip_prefix(b"+").or(name.strip_prefix(b"-")).unwrap_or(name);
            let name = name.strip_prefix(b"?").or(name.strip_prefix(b"~")).unwrap_or(name);
            MECHANISMS.iter().find(|known| name.eq_ignore_ascii_case(known))?;
        }
        terms.push(term);
    }
    Some(terms.join(&b' '))
}

/// The record with each `exists:NAME` as `a:NAME._exists`, of which we say that it has the client's
/// address: of `exists` alone mail-auth takes no "no" from a cache.
fn without_exists(mut spf: Spf) -> Spf {
    for directive in &mut spf.directives {
        if let Mechanism::Exists { macro_string } = &directive.mechanism {
            let mark = Macro::Literal(EXISTS.as_bytes().into());
            let parts = match macro_string {
                Macro::List(parts) => parts.iter().cloned().chain([mark]).collect(),
                part => Box::new([part.clone(), mark]) as Box<[Macro]>,
            };
            let (ip4_mask, ip6_mask) = (u32::MAX, u128::MAX);
            let macro_string = Macro::List(parts);
            directive.mechanism = Mechanism::A { macro_string, ip4_mask, ip6_mask };
        }
    }
    spf
}

fn set<T>(records: impl IntoIterator<Item = T>) -> RecordSet<T> {
    let rrset: Arc<[T]> = records.into_iter().collect();
    RecordSet { rrset, dnssec_status: DnssecStatus::Indeterminate }
}

/// The octets of a name that is only known to be one that can be hashed: so is the trait of the caches.
/// A string is hashed as its octets with an end behind them. (If it were not, no name could be read,
/// nothing would be found, and the tests here would fail.)
#[derive(Default)]
struct Spelt(Vec<u8>);

impl Hasher for Spelt {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        0
    }
}

fn spelt(name: &(impl Hash + ?Sized)) -> String {
    let mut spelt = Spelt::default();
    name.hash(&mut spelt);
    String::from_utf8(spelt.0).unwrap_or_default()
}

/// One of the caches that mail-auth looks into.
macro_rules! cache {
    ($key:ty, $records:ty, $recall:expr) => {
        impl ResolverCache<$key, $records> for Notes {
            fn get<Q>(&self, name: &Q) -> Option<$records>
            where
                $key: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                let recall: fn(&Self, &str) -> $records = $recall;
                Some(recall(self, &spelt(name)))
            }

            fn remove<Q>(&self, _: &Q) -> Option<$records>
            where
                $key: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                None
            }

            fn insert(&self, _: $key, _: $records, _: Instant) {}
        }
    };
}

cache!(Box<str>, Txt, |notes, name| notes.text(name));
cache!(Box<str>, RecordSet<Ipv4Addr>, |notes, name| match (notes.exists(name), notes.client) {
    (Some(true), IpAddr::V4(client)) => set([client]),
    (Some(_), _) => set([]),
    (None, _) => set(notes.records(name, RecordKind::A, |record| match record {
        Record::A(address) => Some(*address),
        _ => None,
    })),
});
cache!(Box<str>, RecordSet<Ipv6Addr>, |notes, name| match (notes.exists(name), notes.client) {
    (Some(true), IpAddr::V6(client)) => set([client]),
    (Some(_), _) => set([]),
    (None, _) => set(notes.records(name, RecordKind::Aaaa, |record| match record {
        Record::Aaaa(address) => Some(*address),
        _ => None,
    })),
});
cache!(Box<str>, RecordSet<MX>, |notes, name| {
    let mut servers = notes.records(name, RecordKind::Mx, |record| match record {
        Record::Mx { preference, exchange: Some(name) } => Some((*preference, name.clone())),
        _ => None,
    });
    servers.sort();
    let one = |(preference, name): (u16, DomainName)| MX {
        exchanges: Box::new([(*name).into()]),
        preference,
    };
    set(servers.into_iter().map(one))
});
cache!(IpAddr, RecordSet<Box<str>>, |notes, _| {
    let name = DomainName::reverse(notes.client);
    set(notes.records(&name, RecordKind::Ptr, |record| match record {
        Record::Ptr(name) => Some((**name).into()),
        _ => None,
    }))
});
