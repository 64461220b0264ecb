//! The test suite of the SPF community for RFC 7208.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use nobounce::authentication::{Spf, spf};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use serde_json::Value;

/// Number of cases in the suite, release 2014.04.
const CASES: usize = 203;

/// Cases with another result, each with the reason from the RFC. The list is empty.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
#[ignore = "needs the suite: see .ci/programs/spf.sh"]
fn the_suite_of_rfc_7208_holds() {
    let text = fs::read_to_string(crate::variable("NOBOUNCE_SPF_SUITE")).expect("the suite");
    let scenarios: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let (mut cases, mut faults) = (0, Vec::new());
    for scenario in &scenarios {
        let zone = Zone::new(&scenario["zonedata"]);
        for (name, case) in scenario["tests"].as_object().expect("tests") {
            cases += 1;
            let text = |key: &str| case[key].as_str().unwrap_or_default();
            let client = text("host").parse().expect("an address");
            let evaluation = Spf::new(client, text("helo"), text("mailfrom"));
            let outcome = pollster::block_on(spf(&zone, evaluation));
            let result = outcome.result.as_str();
            let expected = match EXCEPTIONS.iter().find(|(case, ..)| case == name) {
                Some((_, expected, _)) => vec![*expected],
                None => results(&case["result"]),
            };
            if !expected.contains(&result) {
                faults.push(format!("{name}: {outcome}, expected {expected:?}"));
            }
        }
    }
    println!("{} of {cases} cases", cases - faults.len());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert_eq!(cases, CASES);
}

/// The acceptable results of a case.
fn results(value: &Value) -> Vec<&str> {
    match value.as_array() {
        Some(values) => values.iter().filter_map(Value::as_str).collect(),
        None => value.as_str().into_iter().collect(),
    }
}

/// The records of a scenario, as the suite means them.
#[derive(Debug)]
struct Zone(HashMap<DomainName, Vec<Entry>>);

#[derive(Debug)]
enum Entry {
    Record(RecordKind, Record),
    Alias(DomainName),
    /// A lookup of this type, or of all types without a record before this entry, fails.
    Timeout(Option<RecordKind>),
}

impl Zone {
    fn new(data: &Value) -> Self {
        let names = data.as_object().expect("zonedata").iter();
        Self(names.map(|(name, entries)| (domain(name), Self::entries(entries))).collect())
    }

    fn entries(value: &Value) -> Vec<Entry> {
        let mut entries = Vec::new();
        // Without a TXT record, each record of the former type SPF is published as one.
        let (mut copies, mut has_text) = (Vec::new(), false);
        for value in value.as_array().expect("a list") {
            let Some(fields) = value.as_object() else {
                assert_eq!(value, "TIMEOUT");
                entries.push(Entry::Timeout(None));
                continue;
            };
            let fields: BTreeMap<_, _> = fields.iter().collect();
            for (kind, data) in fields {
                match kind.as_str() {
                    "SPF" => copies.push(Entry::Record(RecordKind::Txt, text(data))),
                    "CNAME" => entries.push(Entry::Alias(domain(data.as_str().unwrap()))),
                    "TXT" if data == "NONE" => has_text = true,
                    kind => {
                        has_text |= kind == "TXT";
                        entries.push(entry(kind, data));
                    }
                }
            }
        }
        if !has_text {
            entries.extend(copies);
        }
        entries
    }

    fn find(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let mut name = name.clone();
        for _ in 0..10 {
            let Some(entries) = self.0.get(&name) else {
                return match name.starts_with("error.") {
                    true => Err(ResolveError::Late),
                    false => Ok(Answer::no_such_domain(Duration::ZERO)),
                };
            };
            let (mut records, mut alias) = (Vec::new(), None);
            for entry in entries {
                match entry {
                    Entry::Record(own, record) if *own == kind => records.push(record.clone()),
                    Entry::Timeout(Some(own)) if *own == kind => return Err(ResolveError::Late),
                    Entry::Timeout(None) if records.is_empty() => return Err(ResolveError::Late),
                    Entry::Alias(target) => alias = Some(target.clone()),
                    Entry::Record(..) | Entry::Timeout(_) => {}
                }
            }
            match alias.filter(|_| records.is_empty()) {
                Some(target) => name = target,
                None => return Ok(Answer::new(records, Duration::ZERO)),
            }
        }
        Err(ResolveError::Malformed("endless aliases"))
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        self.find(name, kind)
    }
}

fn domain(text: &str) -> DomainName {
    DomainName::from_octets(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"))
}

fn entry(kind: &str, data: &Value) -> Entry {
    let string = || data.as_str().unwrap();
    let kind_of = |kind| match kind {
        "A" => RecordKind::A,
        "AAAA" => RecordKind::Aaaa,
        "MX" => RecordKind::Mx,
        "PTR" => RecordKind::Ptr,
        "TXT" => RecordKind::Txt,
        _ => panic!("{kind}"),
    };
    if data == "TIMEOUT" {
        return Entry::Timeout(Some(kind_of(kind)));
    }
    let record = match kind {
        "A" => Record::A(string().parse().unwrap()),
        "AAAA" => Record::Aaaa(string().parse().unwrap()),
        "MX" => Record::Mx {
            preference: data[0].as_u64().unwrap().try_into().unwrap(),
            exchange: Some(data[1].as_str().unwrap()).filter(|it| !it.is_empty()).map(domain),
        },
        "PTR" => Record::Ptr(domain(string())),
        "TXT" => text(data),
        _ => panic!("{kind}"),
    };
    Entry::Record(kind_of(kind), record)
}

/// Joins the strings of a text.
fn text(data: &Value) -> Record {
    let strings = match data.as_array() {
        Some(strings) => strings.iter().filter_map(Value::as_str).collect(),
        None => data.as_str().unwrap().to_owned(),
    };
    Record::Txt(strings.into_bytes().into())
}
