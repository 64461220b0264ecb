//! ClamAV's daemon.

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memrchr;

use crate::opinion::{Opinion, ScorerError};
use crate::runtime::{Address, Runtime};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{DataContext, Scorer};
use crate::verdict::Refusal;
use crate::wire::reply::EnhancedStatus;

use super::daemon::{Answer, Daemon, End, Reader, Request};
use super::excerpt::{Oversize, SizeLimit};

/// Longest chunk of a stream: far below what four octets can count.
const CHUNK: usize = 1 << 20;
/// The symbol of a virus.
const SYMBOL: &str = "CLAMD";
/// The symbol of content that only a password opens.
const ENCRYPTED: &str = "CLAMD_ENCRYPTED";

/// What a virus is to [`Clamd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnVirus {
    /// A reason to refuse the message: `550 5.7.1 Message refused: virus NAME`.
    #[default]
    Refuse,
    /// Evidence of this weight.
    Score(Score),
}

/// Asks ClamAV's `clamd` about each message, over TCP or a Unix socket, with its command
/// `INSTREAM`: the daemon needs no access to files of ours.
///
/// What it finds is one finding `CLAMD` with the name of the signature as its detail, which the
/// client may learn of. By default the message is refused on top, whatever others say of it.
///
/// Two kinds of signatures name no virus:
///
/// | signature | clamd reports it with | effect |
/// |---|---|---|
/// | `Heuristics.Limits.Exceeded.*` | `AlertExceedsMax` | failure: part of the message was not scanned, since it exceeds a limit of clamd such as `MaxScanSize` or `MaxFiles` |
/// | `Heuristics.Encrypted.*` | `AlertEncrypted` | the finding `CLAMD_ENCRYPTED`, which weighs nothing unless [`Weights`](crate::Weights) say so: clamd cannot scan what only a password opens |
///
/// Any other signature counts as a virus, including those of alerts that a site has to switch on in clamd,
/// such as macros and broken executables. When clamd reports several signatures, each of them counts. A virus
/// is then refused even if another line of the reply is a failure.
///
/// Several messages go over one connection, one after another (`IDSESSION`). It has no patience of
/// its own: give its [`Seat`](crate::Seat) a budget. A daemon that cannot be reached, talks nonsense
/// or does not come to an end is a [`ScorerError`], and so is one whose `StreamMaxLength` is
/// below the size limit here: nothing passes unseen without somebody having said so.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::{Clamd, Oversize};
/// use nobounce::{FailurePolicy, Panel, Runtime, Seat};
///
/// /// Mail waits, with the client, until somebody has looked for viruses in it.
/// fn panel<R: Runtime>(runtime: R) -> Result<Panel, Box<dyn std::error::Error>> {
///     let clamd = Clamd::new(runtime, "unix:/run/clamav/clamd.ctl".parse()?)
///         .size_limit(10 * 1024 * 1024, Oversize::Head);
///     let seat = Seat::new(clamd)
///         .budget(Duration::from_secs(20))
///         .on_failure(FailurePolicy::Defer);
///     Ok(Panel::new().seat(seat))
/// }
/// ```
pub struct Clamd<R: Runtime> {
    daemon: Daemon<R>,
    limit: SizeLimit,
    reply: usize,
    on_virus: OnVirus,
}

impl<R: Runtime> Clamd<R> {
    /// The largest message that is sent whole if nothing else is said, in octets: 25 MiB, which was clamd's `StreamMaxLength` for long.
    pub const SIZE_LIMIT: usize = 25 * 1024 * 1024;
    /// The longest reply that is read if nothing else is said, in octets. A name of a signature has some dozens.
    pub const REPLY_LIMIT: usize = 4 * 1024;

    /// The daemon that listens at `address`: a Unix socket as a rule, or port 3310.
    pub fn new(runtime: R, address: Address) -> Self {
        let limit = SizeLimit { octets: Self::SIZE_LIMIT, oversize: Oversize::default() };
        let (daemon, on_virus) = (Daemon::new(runtime, address), OnVirus::default());
        Self { daemon, limit, reply: Self::REPLY_LIMIT, on_virus }
    }

    /// The largest message that is sent whole, in octets, and what is done with larger ones. The
    /// default is 25 MiB, of larger ones the head. It must not be more than clamd's
    /// `StreamMaxLength`.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// The longest reply that is read, in octets: 4 KiB. A longer one is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// What a virus is: a reason to refuse, which is the default, or evidence.
    #[must_use]
    pub fn on_virus(mut self, what: OnVirus) -> Self {
        self.on_virus = what;
        self
    }

    fn opinion(&self, scan: Scan) -> Result<Opinion, ScorerError> {
        let Scan { viruses, encrypted, fault } = scan;
        let mut findings = Vec::new();
        if !viruses.is_empty() {
            let score = match self.on_virus {
                OnVirus::Refuse => Score::ZERO,
                OnVirus::Score(score) => score,
            };
            let finding = Finding::new(SYMBOL, score).with_detail(&viruses.join(", "));
            findings.push(finding.with_disclosure(Disclosure::Public));
        }
        if !encrypted.is_empty() {
            findings.push(Finding::new(ENCRYPTED, Score::ZERO).with_detail(&encrypted.join(", ")));
        }
        if let (OnVirus::Refuse, Some(name)) = (self.on_virus, viruses.first()) {
            const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
            let text = format!("Message refused: virus {name}");
            return Ok(Opinion::from(Refusal::permanent(550, POLICY, &text)).and(findings));
        }
        let opinion = Opinion::from(findings);
        match fault {
            Some(fault) => Err(ScorerError::new(fault).but_says(opinion)),
            None => Ok(opinion),
        }
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Clamd<R> {
    fn name(&self) -> &str {
        "clamd"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(vec![SYMBOL, ENCRYPTED])
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(at.message) else {
            return Ok(Opinion::silent());
        };
        let scan = self
            .daemon
            .ask(|before| stream(before, &message), |before| Replies::after(before, self.reply))
            .await;
        self.opinion(scan.map_err(ScorerError::new)?)
    }
}

/// The message in chunks, each behind its length; a length of zero ends it. A chunk holds as many
/// segments as fit, so that there are no more chunks than the size of the message asks for.
fn stream(before: u32, message: &[Bytes]) -> Request {
    // "z" commands end in NUL, and so do the replies to them.
    let command = if before == 0 { "zIDSESSION\0zINSTREAM\0" } else { "zINSTREAM\0" };
    let mut segments = vec![Bytes::from_static(command.as_bytes())];
    let mut left: usize = message.iter().map(Bytes::len).sum();
    let mut room = 0;
    for segment in message {
        let mut rest = segment.clone();
        while !rest.is_empty() {
            if room == 0 {
                room = left.min(CHUNK);
                left -= room;
                let length = u32::try_from(room).unwrap_or(u32::MAX);
                segments.push(Bytes::copy_from_slice(&length.to_be_bytes()));
            }
            let part = rest.split_to(rest.len().min(room));
            room -= part.len();
            segments.push(part);
        }
    }
    segments.push(Bytes::from_static(&[0; 4]));
    Request { segments, end: End::Counted }
}

/// The result of a scan: names of signatures, and why the scan is incomplete.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    viruses: Vec<Box<str>>,
    /// Signatures of content that only a password opens.
    encrypted: Vec<Box<str>>,
    fault: Option<ClamdFault>,
}

/// Why a reply says nothing of the message. The fault is the daemon's, or that of its settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ClamdFault {
    #[error("message larger than clamd's StreamMaxLength")]
    TooLarge,
    #[error("part of the message exceeds a limit of clamd: {0}")]
    LimitExceeded(Box<str>),
    #[error("clamd says {0:?}")]
    Declined(Box<str>),
    #[error("not a reply of clamd: {0:?}")]
    Malformed(Box<str>),
}

/// The replies of a session, each with the number of its command: `2: stream: OK` and a NUL.
///
/// One command may have several replies, and one reply several lines. Each line counts.
struct Replies {
    number: String,
    /// Octets of all replies to one command.
    limit: usize,
}

impl Replies {
    fn after(before: u32, limit: usize) -> Self {
        Self { number: format!("{}: ", u64::from(before) + 1), limit }
    }
}

impl Reader for Replies {
    type Reply = Answer<Scan>;
    type Fault = ClamdFault;

    fn limit(&self) -> usize {
        self.limit
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Answer<Scan>>, ClamdFault> {
        let Some(end) = memrchr(0, octets) else {
            return Ok(None);
        };
        let mut scan = Scan::default();
        let mut lines = 0;
        for reply in octets[..end].split(|octet| *octet == 0) {
            let text = String::from_utf8_lossy(reply);
            let text = text.trim_end_matches(['\r', '\n']);
            for (index, line) in text.split('\n').enumerate() {
                let result = line.strip_prefix(&self.number);
                // The first line of a reply has the number.
                let is_ours = result.is_some() || index > 0;
                scan.read_line(line, result.unwrap_or(line).trim_end_matches('\r'), is_ours)?;
                lines += 1;
            }
        }
        match scan {
            Scan { viruses, encrypted, fault: Some(fault) }
                if viruses.is_empty() && encrypted.is_empty() =>
            {
                Err(fault)
            }
            // Behind several replies there may be another one.
            scan => Ok(Some(Answer { reply: scan, keep: lines == 1 && end + 1 == octets.len() })),
        }
    }
}

impl Scan {
    /// Adds what one line says: the whole of it, and the part behind the number of the command.
    fn read_line(&mut self, line: &str, result: &str, is_ours: bool) -> Result<(), ClamdFault> {
        if result == "INSTREAM size limit exceeded. ERROR" {
            self.fault.get_or_insert(ClamdFault::TooLarge);
            return Ok(());
        }
        let declined = result.ends_with(" ERROR") || result == "UNKNOWN COMMAND";
        match on_stream(result).filter(|_| is_ours) {
            Some("OK") => {}
            Some(found) if found.len() > " FOUND".len() && found.ends_with(" FOUND") => {
                self.add(&found[..found.len() - " FOUND".len()]);
            }
            _ if declined => {
                self.fault.get_or_insert(ClamdFault::Declined(line.into()));
            }
            _ => return Err(ClamdFault::Malformed(line.into())),
        }
        Ok(())
    }

    fn add(&mut self, signature: &str) {
        if signature.starts_with("Heuristics.Limits.Exceeded") {
            self.fault.get_or_insert(ClamdFault::LimitExceeded(signature.into()));
        } else if signature.starts_with("Heuristics.Encrypted.") {
            self.encrypted.push(signature.into());
        } else {
            self.viruses.push(signature.into());
        }
    }
}

/// The part of a line behind the name of the stream: `stream`, or `instream(local)` if clamd has
/// `HeuristicScanPrecedence`.
fn on_stream(result: &str) -> Option<&str> {
    let (name, result) = result.split_once(": ")?;
    (name == "stream" || name.starts_with("instream(") && name.ends_with(')')).then_some(result)
}

#[cfg(test)]
mod tests;
