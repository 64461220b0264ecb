//! DNS answers written down in a test.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};

/// A [`Resolver`] that answers from a zone written in a test.
///
/// Each line is `NAME TYPE DATA`, with the types `A`, `AAAA`, `MX`, `PTR` and `TXT`. Lines with the
/// same name and type form one answer. With data `fails`, the lookup fails with SERVFAIL. Names of
/// no line, and with no line for a name below them, do not exist
/// ([`is_no_such_domain`](crate::dns::Answer::is_no_such_domain)). Names may contain any character
/// except blanks.
///
/// ```
/// use nobounce::dns::{Record, RecordKind, Resolver};
/// use nobounce::testing::Zone;
///
/// let zone = Zone::new(
///     "2.2.0.192.list.example A 127.0.0.2
///      example.org TXT v=spf1 mx -all
///      example.org MX mx.example.org
///      broken.example A fails",
/// );
/// # pollster::block_on(async {
/// let answer = zone.lookup(&"2.2.0.192.list.example".parse()?, RecordKind::A).await?;
/// assert_eq!(*answer.records, [Record::A([127, 0, 0, 2].into())]);
/// assert!(zone.lookup(&"example.net".parse()?, RecordKind::A).await?.is_no_such_domain());
/// assert!(!zone.lookup(&"example.org".parse()?, RecordKind::A).await?.is_no_such_domain());
/// assert!(zone.lookup(&"broken.example".parse()?, RecordKind::A).await.is_err());
/// assert_eq!(zone.lookups(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Zone {
    /// Answers by name and type. `None` means that the lookup fails.
    answers: HashMap<(DomainName, RecordKind), Option<Vec<Record>>>,
    lookups: Arc<AtomicUsize>,
}

impl Zone {
    /// Parses a zone. Every MX gets preference 10.
    ///
    /// # Panics
    ///
    /// Panics if a line is invalid.
    pub fn new(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            zone.add(line).unwrap_or_else(|| panic!("`{line}` is not NAME TYPE DATA"));
        }
        zone
    }

    /// Returns the number of lookups, including those of clones.
    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once(' ')?;
        let (kind, data) = rest.split_once(' ')?;
        let kind = match kind {
            "A" => RecordKind::A,
            "AAAA" => RecordKind::Aaaa,
            "MX" => RecordKind::Mx,
            "PTR" => RecordKind::Ptr,
            "TXT" => RecordKind::Txt,
            _ => return None,
        };
        let name = DomainName::from_octets(name.as_bytes()).ok()?;
        let answer = self.answers.entry((name, kind)).or_insert_with(|| Some(Vec::new()));
        if data == "fails" {
            *answer = None;
            return Some(());
        }
        let record = match kind {
            RecordKind::A => Record::A(data.parse().ok()?),
            RecordKind::Aaaa => Record::Aaaa(data.parse().ok()?),
            RecordKind::Ptr => Record::Ptr(DomainName::from_octets(data.as_bytes()).ok()?),
            RecordKind::Txt => Record::Txt(data.as_bytes().into()),
            RecordKind::Mx => Record::Mx { preference: 10, exchange: data.parse().ok() },
        };
        if let Some(records) = answer {
            records.push(record);
        }
        Some(())
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        const SERVER_FAILURE: u16 = 2;
        self.lookups.fetch_add(1, Ordering::Relaxed);
        match self.answers.get(&(name.clone(), kind)) {
            Some(Some(records)) => Ok(Answer::new(records.iter().cloned(), Duration::ZERO)),
            Some(None) => Err(ResolveError::Declined(SERVER_FAILURE)),
            None if self.answers.keys().any(|(other, _)| other.is_within(name)) => {
                Ok(Answer::new([], Duration::ZERO))
            }
            None => Ok(Answer::no_such_domain(Duration::ZERO)),
        }
    }
}
