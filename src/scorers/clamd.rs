//! The scorer for ClamAV's daemon `clamd`.

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memrchr;
use std::fmt;

use crate::opinion::{Opinion, ScorerError};
use crate::runtime::{Address, Runtime};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{DataContext, Scorer};
use crate::verdict::Refusal;
use crate::wire::reply::EnhancedStatus;

use super::daemon::{Answer, Daemon, End, Reader, Request};
use super::excerpt::{Oversize, SizeLimit};

/// Maximum length of a chunk in a stream. The four-octet length field could hold far more.
const CHUNK: usize = 1 << 20;
/// The symbol of a virus.
const SYMBOL: &str = "CLAMD";
/// The symbol of encrypted content.
const ENCRYPTED: &str = "CLAMD_ENCRYPTED";

/// The effect of a virus found by [`Clamd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnVirus {
    /// Refuses the message: `550 5.7.1 Message refused: virus NAME`.
    #[default]
    Refuse,
    /// Adds this score only.
    Score(Score),
}

/// A scorer that scans each message with ClamAV's `clamd`, over TCP or a Unix socket. It uses the
/// command `INSTREAM`, so the daemon needs no access to our files.
///
/// A virus gives the finding `CLAMD` with the signature name as its detail, which is public. By
/// default the message is also refused, regardless of the other scorers.
///
/// Two kinds of signatures are not treated as a virus:
///
/// | signature | clamd reports it with | effect |
/// |---|---|---|
/// | `Heuristics.Limits.Exceeded.*` | `AlertExceedsMax` | failure: part of the message was not scanned, because it exceeds a limit of clamd such as `MaxScanSize` or `MaxFiles` |
/// | `Heuristics.Encrypted.*` | `AlertEncrypted` | the finding `CLAMD_ENCRYPTED`, with score 0 unless [`Weights`](crate::panel::Weights) set another: clamd cannot scan encrypted content |
///
/// Any other signature counts as a virus. This includes alerts that must be enabled in clamd, such
/// as those for macros and broken executables. If clamd reports several signatures, each of them
/// counts. A virus is refused even if another line of the reply reports a failure.
///
/// Connections are reused for several messages, one after another (`IDSESSION`). The scorer has no
/// built-in timeout: set a budget on its [`Seat`](crate::panel::Seat).
///
/// The scorer fails with a [`ScorerError`] if the daemon is unreachable, its reply is malformed or
/// its reply does not end. It also fails if clamd's `StreamMaxLength` is below the size limit set
/// here. The failure policy of the seat then applies, so no message passes unscanned by accident.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::{Clamd, Oversize};
/// use nobounce::{Panel, Runtime};
/// use nobounce::panel::{FailurePolicy, Seat};
///
/// /// Defers mail while clamd is not available.
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

impl<R: Runtime> fmt::Debug for Clamd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clamd").field("on_virus", &self.on_virus).finish_non_exhaustive()
    }
}

impl<R: Runtime> Clamd<R> {
    /// Default limit for messages that are sent whole, in octets: 25 MiB, which was clamd's default
    /// `StreamMaxLength` for a long time.
    pub const SIZE_LIMIT: usize = 25 * 1024 * 1024;
    /// Default limit for a reply, in octets. A signature name has a few dozen.
    pub const REPLY_LIMIT: usize = 4 * 1024;

    /// Creates a scorer for the daemon at `address`: usually a Unix socket, or port 3310.
    pub fn new(runtime: R, address: Address) -> Self {
        let limit = SizeLimit { octets: Self::SIZE_LIMIT, oversize: Oversize::default() };
        let (daemon, on_virus) = (Daemon::new(runtime, address), OnVirus::default());
        Self { daemon, limit, reply: Self::REPLY_LIMIT, on_virus }
    }

    /// Sets the largest message that is sent whole, in octets, and the handling of larger ones. By
    /// default the limit is 25 MiB, and only the head of larger messages is sent. The limit must
    /// not exceed clamd's `StreamMaxLength`.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// Sets the longest accepted reply, in octets. Default: 4 KiB. A longer reply is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// Sets the effect of a virus. Default: refuse the message.
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

    fn server(&self) -> Option<&Address> {
        Some(self.daemon.address())
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

/// Writes the message in chunks, each prefixed by its length. A length of zero ends the stream. A
/// chunk holds as many segments as fit, so the number of chunks is minimal.
fn stream(before: u32, message: &[Bytes]) -> Request {
    // "z" commands and the replies to them end in NUL.
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

/// The result of a scan: signature names, and the reason if the scan is incomplete.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    viruses: Vec<Box<str>>,
    /// Signatures for encrypted content.
    encrypted: Vec<Box<str>>,
    fault: Option<ClamdFault>,
}

/// The reason why a reply holds no scan result. Fault of the daemon or of its configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ClamdFault {
    #[error("the message exceeds clamd's StreamMaxLength, so size_limit is too large")]
    TooLarge,
    #[error("part of the message exceeds a limit of clamd and was not scanned: {0}")]
    LimitExceeded(Box<str>),
    #[error("clamd refused the request: {0:?}")]
    Declined(Box<str>),
    #[error("malformed response from clamd: {0:?}")]
    Malformed(Box<str>),
}

/// Parser for the replies of a session. Each reply starts with the number of its command and ends
/// in NUL: `2: stream: OK`.
///
/// One command may have several replies, and one reply several lines. Each line counts.
struct Replies {
    number: String,
    /// Maximum octets of all replies to one command.
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
                // Only the first line of a reply starts with the number.
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
            // If there were several replies, another one may follow: close the connection.
            scan => Ok(Some(Answer { reply: scan, keep: lines == 1 && end + 1 == octets.len() })),
        }
    }
}

impl Scan {
    /// Adds the result of one line. `line` is the whole line; `result` is the line without the
    /// command number.
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

/// Returns the part of a line after the stream name. The name is `stream`, or `instream(local)` if
/// `HeuristicScanPrecedence` is set in clamd.
fn on_stream(result: &str) -> Option<&str> {
    let (name, result) = result.split_once(": ")?;
    (name == "stream" || name.starts_with("instream(") && name.ends_with(')')).then_some(result)
}

#[cfg(test)]
mod tests;
