//! Random policies, in a DNS in which every name has records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use serde_json::{Value, json};

/// Domains with policies.
const DOMAINS: usize = 6;

/// A random number generator (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A client, a sender and policies.
pub(crate) struct Case {
    seed: u64,
    policies: Vec<(String, Vec<Vec<u8>>)>,
    pub(crate) client: IpAddr,
    pub(crate) helo: &'static str,
    pub(crate) sender: String,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice(seed);
        let policies = (0..DOMAINS).map(|number| {
            let count = if dice.percent(3) { 2 } else { usize::from(!dice.percent(4)) };
            (format!("d{number}.example.org"), (0..count).map(|_| policy(dice)).collect())
        });
        let mut policies: Vec<_> = policies.collect();
        policies.push(("org".to_owned(), vec![policy(dice)]));
        let local_parts = ["a", "strong-bad", "a.b+c_d", "x/y=z,w", "A~b!c", "", "a--b", "-"];
        let helos = [
            "mx.d1.example.org",
            "d2.example.org",
            "localhost",
            "[192.0.2.1]",
            "a-b.c_d.example.org",
        ];
        let sender = match dice.below(20) {
            0 => String::new(),
            _ => format!("{}@{}", dice.pick(&local_parts), domain(dice)),
        };
        let client = match dice.below(10) {
            0..6 => Ipv4Addr::new(192, 0, 2, dice.below(4) as u8).into(),
            6 => Ipv4Addr::new(192, 0, 2, dice.below(4) as u8).to_ipv6_mapped().into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xab, dice.below(4) as u16).into(),
        };
        Self { seed, policies, client, helo: dice.pick(&helos), sender }
    }

    /// Returns the case for pyspf. Octets are characters of the same number.
    pub(crate) fn to_json(&self, ours: &str) -> Value {
        let text = |octets: &Vec<u8>| octets.iter().copied().map(char::from).collect::<String>();
        let policies = self
            .policies
            .iter()
            .map(|(name, texts)| (name.clone(), texts.iter().map(text).collect::<Vec<_>>().into()));
        json!({
            "seed": self.seed.to_string(),
            "policies": policies.collect::<serde_json::Map<_, _>>(),
            "client": self.client.to_string(),
            "helo": self.helo,
            "sender": self.sender,
            "ours": ours,
        })
    }
}

/// Every name has records that depend on its hash only. pyspf.py does the same.
#[async_trait]
impl Resolver for Case {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        if kind == RecordKind::Txt {
            let own = self.policies.iter().find(|(domain, _)| **domain == **name);
            let texts = own.map_or(&[][..], |(_, texts)| texts);
            let records = texts.iter().map(|text| Record::Txt(text.as_slice().into()));
            return Ok(Answer::new(records, Duration::ZERO));
        }
        let hash = hash(format!("{} {name} {kind:?}", self.seed).as_bytes());
        let part = |shift: u32, bound: u64| (hash >> shift) % bound;
        if part(0, 100) < 6 {
            return Err(ResolveError::Late);
        }
        if part(0, 100) < 30 {
            return Ok(Answer::no_such_domain(Duration::ZERO));
        }
        let many = part(8, 40) == 0;
        let count = if many { 9 + part(16, 4) } else { 1 + part(16, 3) };
        let records = (0..count as u32).map(|number| {
            let last = part(24 + 3 * (number % 12), 4) as u8;
            let host = || {
                let domain = part(20 + 3 * (number % 12), DOMAINS as u64);
                let host = ["", "mx.", "h1.", "h2."][usize::from(last)];
                format!("{host}d{domain}.example.org").parse().unwrap()
            };
            match kind {
                RecordKind::A => Record::A([192, 0, 2, last].into()),
                RecordKind::Aaaa => {
                    Record::Aaaa([0x2001, 0xdb8, 0, 0, 0, 0, 0xab, last.into()].into())
                }
                RecordKind::Mx => Record::Mx { preference: number as u16, exchange: Some(host()) },
                _ => Record::Ptr(host()),
            }
        });
        Ok(Answer::new(records, Duration::ZERO))
    }
}

/// FNV-1a.
fn hash(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    })
}

fn domain(dice: &mut Dice) -> String {
    format!("d{}.example.org", dice.below(DOMAINS))
}

fn policy(dice: &mut Dice) -> Vec<u8> {
    let mut terms = vec!["v=spf1".to_owned()];
    for _ in 0..dice.below(8) {
        let mut term = term(dice);
        if dice.percent(10) {
            term = term.to_ascii_uppercase();
        }
        terms.push(term);
    }
    if dice.percent(3) {
        terms.extend((0..7 + dice.below(5)).map(|_| format!("a:{}", domain(dice))));
    }
    if dice.percent(15) {
        terms.push(format!("redirect={}", reference(dice)));
    }
    if dice.percent(70) {
        terms.push(dice.pick(&["-all", "~all", "?all", "all"]).to_owned());
    }
    let mut text = terms.join(dice.pick(&[" ", " ", " ", "  "])).into_bytes();
    if dice.percent(3) {
        let at = dice.below(text.len());
        let octet = dice.pick(b"%{}:/=.+-~? 0129arR_\x7f\xff\x1f,@;");
        match dice.below(3) {
            0 => text.insert(at, octet),
            1 => text[at] = octet,
            _ => {
                text.remove(at);
            }
        }
    }
    text
}

fn term(dice: &mut Dice) -> String {
    let qualifier = dice.pick(&["", "", "", "+", "-", "~", "?"]);
    let last = dice.below(4);
    match dice.below(100) {
        0..10 => {
            let prefix = dice.pick(&["", "", "/32", "/31", "/24", "/0"]);
            format!("{qualifier}ip4:192.0.2.{last}{prefix}")
        }
        10..16 => {
            let prefix = dice.pick(&["", "/128", "/127", "/64", "/0"]);
            format!("{qualifier}ip6:2001:db8::ab:{last}{prefix}")
        }
        16..34 => format!("{qualifier}a{}{}", target(dice), prefixes(dice)),
        34..48 => format!("{qualifier}mx{}{}", target(dice), prefixes(dice)),
        48..56 => format!("{qualifier}ptr{}", target(dice)),
        56..74 => format!("{qualifier}include:{}", reference(dice)),
        74..90 => format!("{qualifier}exists:{}", spec(dice)),
        90..92 => format!("exp={}", spec(dice)),
        92..95 => format!("x-{}={}", dice.below(2), dice.pick(&["", "a:b/c", "%{d}", "%{c}", "%"])),
        95 => format!("redirect={}", reference(dice)),
        96..99 => format!("{qualifier}a:h1.{}", domain(dice)),
        _ => dice.pick(FAULTY).to_owned(),
    }
}

/// Terms that are malformed, and some that look so.
const FAULTY: &[&str] = &[
    "all.",
    "all:x",
    "all/8",
    "a:",
    "a:/24",
    "a/",
    "a//",
    "a/024",
    "a/33",
    "mx//129",
    "a/24/64",
    "a//64/24",
    "a:192.0.2.1",
    "a:org",
    "a:x.org:80",
    "a:x.1-2",
    "a:x.-a",
    "a:x.org.",
    "ip4",
    "ip4:",
    "ip4:192.0.2",
    "ip4:192.0.2.01",
    "ip4:192.0.2.1/33",
    "ip4:192.0.2.1//8",
    "ip6:",
    "ip6:::1",
    "ip6:::/0",
    "ip6:2001:db8::ab:1/129",
    "ip6:::192.0.2.1",
    "ip6:1:2:3:4:5:6:7:8:9",
    "include",
    "+include",
    "include:",
    "include:x",
    "include/24",
    "exists",
    "exists:",
    "exists:%{i}/24",
    "ptr:",
    "ptr/0",
    "redirect:d1.example.org",
    "exp=",
    "redirect=",
    "=x",
    "x",
    "-",
    "+",
    "a=b",
    "1=b",
    "mx=%{d}",
    "x.y-z_1=",
    "%{d}",
    "x=%{d",
    "x=%{}",
    "x=%{d0}",
    "x=%{dr9}",
    "x=%{dR}",
    "x=%{d00}",
    "x=%{d1r.-+,/_=}",
    "x=%{d:}",
    "exists:%{ir:}.org",
    "exists:%{s1r@}.org",
    "x=%d",
    "x=%%",
    "x=%%%",
    "a:%%",
    "a:%_",
    "a:x.org%-",
    "exists:%{z}.org",
    "exists:%{t}.org",
    "exists:%{d99999999999999999999}",
];

/// The argument of `a`, `mx` and `ptr`.
fn target(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => String::new(),
        1 => format!(":{}{}", dice.pick(&["", "mx.", "h1."]), domain(dice)),
        _ => format!(":{}", spec(dice)),
    }
}

/// A name that may have a policy.
fn reference(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => spec(dice),
        1 => {
            dice.pick(&["%{d}", "%{o}", "%{d3}", "d1.%{d2}", "%{h}", "%{d1}", "%{d2r}"]).to_owned()
        }
        _ => domain(dice),
    }
}

fn spec(dice: &mut Dice) -> String {
    let begin = dice.pick(&[
        "",
        "x.",
        "%{i}.",
        "%{ir}.%{v}.",
        "%{l}.",
        "%{l1r-}.",
        "%{lr-}.",
        "%{l2+_}.",
        "%{s}.",
        "%{S}.",
        "%{L}.",
        "%{h}.",
        "%{H}.",
        "%{p}.",
        "%{p2}.",
        "%{P1r}.",
        "%{o}.",
        "%{O2r}.",
        "%%%_%-.",
        "a:b/c.",
        "%{l1-}.",
        "%{d}.%{o}.%{i}.%{d}.%{h}.%{o}.%{d}.%{h}.%{o}.%{d}.%{o}.%{d}.%{h}.%{o}.%{d}.%{o}.%{h}.%{o}.",
        "%{i3.}.",
        "%{h-}.",
        "%{hr-.}.",
        "%{dr=-}.",
        "%{s200}.",
    ]);
    if dice.percent(5) {
        return dice.pick(&["%{l1-}", "%{l1-.}", "%{o1}"]).to_owned();
    }
    let end = dice.pick(&["d1.example.org", "%{d}", "%{d2}", "%{o}", "%{d2}.", "x.org", "%{p}"]);
    format!("{begin}{end}")
}

fn prefixes(dice: &mut Dice) -> &'static str {
    dice.pick(&["", "", "", "/31", "/24", "/0", "//127", "//64", "/31//127", "/24//0"])
}
