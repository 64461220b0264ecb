//! The search for lines of the log, line by line, so that a log of any size can be searched.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use nobounce::network::Networks;
use nobounce::observer::json::{Client, Entry, Line, Transaction};

/// Maximum length of a line in octets. The longest line of a transaction is much shorter.
const LONGEST: u64 = 16 << 20;

/// The criteria for a line. Criteria that are not set match every line.
pub(super) struct Criteria {
    reference: Option<String>,
    client: Option<Who>,
    sender: Option<String>,
    recipient: Option<String>,
    message_id: Option<String>,
    /// Texts in lower case that each matching line contains, for a search without parsing.
    needles: Vec<String>,
}

enum Who {
    In(Networks),
    Named(String),
}

/// Counts of a search.
#[derive(Default)]
pub(super) struct Search {
    /// Number of lines that are not lines of a JSON log.
    pub(super) malformed: u64,
    /// The error in the first malformed line.
    pub(super) fault: String,
}

impl Criteria {
    pub(super) fn of(
        reference: Option<&str>,
        client: Option<&str>,
        sender: Option<&str>,
        recipient: Option<&str>,
        message_id: Option<&str>,
    ) -> Self {
        let lower = |text: &str| bare(text).to_lowercase();
        let who = |text: &str| match text.parse::<Networks>() {
            Ok(networks) => Who::In(networks),
            Err(_) => Who::Named(text.to_lowercase()),
        };
        let criteria = Self {
            reference: reference.map(str::to_owned),
            client: client.map(who),
            sender: sender.map(lower),
            recipient: recipient.map(lower),
            message_id: message_id.map(lower),
            needles: Vec::new(),
        };
        let name = match &criteria.client {
            Some(Who::Named(name)) => Some(name),
            _ => None,
        };
        let texts = [&criteria.sender, &criteria.recipient, &criteria.message_id];
        let reference = criteria.reference.as_ref().map(|text| text.to_lowercase());
        let texts = texts.into_iter().flatten().chain(name).chain(&reference);
        // Other characters are escaped in the log.
        let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        let needles = texts.filter(|text| text.chars().all(is_plain)).cloned().collect();
        Self { needles, ..criteria }
    }

    /// Returns whether a line can match. `lower` is the line in lower case.
    fn may_match(&self, lower: &[u8]) -> bool {
        self.needles.iter().all(|needle| memmem(lower, needle.as_bytes()))
    }

    fn matches(&self, line: &Line) -> bool {
        let (id, client, transaction) = match &line.entry {
            Entry::Transaction(it) | Entry::Unacknowledged(it) => {
                (Some(&it.id), &it.client, Some(it))
            }
            Entry::Session(it) => (it.id.as_ref(), &it.client, None),
            _ => return false,
        };
        let queue_id = transaction.and_then(|it| it.queue_id.as_deref());
        let is_of = |wanted: &str| {
            let of_session = |id: &str| id.rsplit_once('.').is_some_and(|(it, _)| it == wanted);
            id.is_some_and(|id| id == wanted || of_session(id)) || queue_id == Some(wanted)
        };
        self.reference.as_deref().is_none_or(is_of)
            && self.client.as_ref().is_none_or(|who| who.is(client))
            && self.is_in_envelope(transaction)
    }

    fn is_in_envelope(&self, transaction: Option<&Transaction>) -> bool {
        let holds =
            |wanted: &Option<String>, found: &dyn Fn(&Transaction, &str) -> bool| match wanted {
                Some(wanted) => transaction.is_some_and(|it| found(it, wanted)),
                None => true,
            };
        holds(&self.sender, &|it, wanted| is_address(&it.sender, wanted))
            && holds(&self.recipient, &|it, wanted| {
                it.recipients.iter().any(|recipient| is_address(&recipient.path, wanted))
            })
            && holds(&self.message_id, &|it, wanted| {
                it.fields.get("Message-ID").is_some_and(|id| bare(id).to_lowercase() == wanted)
            })
    }
}

impl Who {
    fn is(&self, client: &Client) -> bool {
        match self {
            Self::In(networks) => client.address.is_some_and(|address| networks.contains(address)),
            Self::Named(name) => {
                let names = [&client.name, &client.reverse_name, &client.helo];
                names.into_iter().flatten().any(|it| it.to_lowercase() == *name)
            }
        }
    }
}

/// Passes each matching line of a log to `found`. A last line that is incomplete is ignored, since
/// front_door may be writing it.
pub(super) fn read(
    path: &Path,
    criteria: &Criteria,
    search: &mut Search,
    mut found: impl FnMut(Line),
) -> io::Result<()> {
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut file = BufReader::with_capacity(1 << 16, file);
    let (mut line, mut lower) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let length = file.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        let is_complete = line.pop_if(|octet| *octet == b'\n').is_some();
        if !is_complete {
            if length as u64 == LONGEST {
                search.note(&"too long for a line of the log");
                file.skip_until(b'\n')?;
                continue;
            }
            return Ok(());
        }
        lower.clear();
        lower.extend(line.iter().map(u8::to_ascii_lowercase));
        if line.is_empty() || !criteria.may_match(&lower) {
            continue;
        }
        match str::from_utf8(&line).map(Line::read) {
            Ok(Ok(Some(line))) if criteria.matches(&line) => found(line),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => search.note(&error),
            Err(error) => search.note(&error),
        }
    }
}

impl Search {
    fn note(&mut self, fault: &dyn std::fmt::Display) {
        if self.malformed == 0 {
            self.fault = format!("the first because of: {fault}");
        }
        self.malformed += 1;
    }
}

/// Returns an address or Message-ID without angle brackets.
fn bare(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// Returns whether a path has this address, or this `@domain`. `wanted` is in lower case.
fn is_address(path: &str, wanted: &str) -> bool {
    let address = bare(path).to_lowercase();
    address == wanted || wanted.starts_with('@') && address.ends_with(wanted)
}

fn memmem(text: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return true };
    let mut text = text;
    while let Some(at) = text.iter().position(|octet| octet == first) {
        text = &text[at + 1..];
        if text.starts_with(rest) {
            return true;
        }
    }
    false
}
