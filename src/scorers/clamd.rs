//! ClamAV's daemon.

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memchr;

use crate::envelope::Envelope;
use crate::message::Message;
use crate::runtime::{Address, Runtime};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{Opinion, Scorer, ScorerError};
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
/// such as macros and broken executables.
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

    fn opinion(&self, found: Found) -> Result<Opinion, ScorerError> {
        let name = match found {
            Found::Nothing => return Ok(Opinion::Silent),
            Found::Signature(name) if name.starts_with("Heuristics.Limits.Exceeded") => {
                let reason = format!("part of the message exceeds a limit of clamd: {name}");
                return Err(ScorerError::new(reason));
            }
            Found::Signature(name) if name.starts_with("Heuristics.Encrypted.") => {
                return Ok(Finding::new(ENCRYPTED, Score::ZERO).with_detail(&name).into());
            }
            Found::Signature(name) => name,
        };
        let finding = |score| {
            let finding = Finding::new(SYMBOL, score).with_detail(&name);
            finding.with_disclosure(Disclosure::Public)
        };
        Ok(match self.on_virus {
            OnVirus::Score(score) => finding(score).into(),
            OnVirus::Refuse => {
                const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
                let text = format!("Message refused: virus {name}");
                let refusal = Refusal::permanent(550, POLICY, &text);
                Opinion::RefuseWith(refusal, vec![finding(Score::ZERO)])
            }
        })
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Clamd<R> {
    fn name(&self) -> &str {
        "clamd"
    }

    async fn on_data(
        &self,
        _envelope: &Envelope,
        message: &Message,
    ) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(message) else {
            return Ok(Opinion::Silent);
        };
        let found = self
            .daemon
            .ask(|before| stream(before, &message), |before| Replies::after(before, self.reply))
            .await;
        self.opinion(found.map_err(ScorerError::new)?)
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

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Signature(Box<str>),
}

/// Why a reply says nothing of the message. The fault is the daemon's, or that of its settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ClamdFault {
    #[error("message larger than clamd's StreamMaxLength")]
    TooLarge,
    #[error("clamd says {0:?}")]
    Declined(Box<str>),
    #[error("not a reply of clamd: {0:?}")]
    Malformed(Box<str>),
}

/// The replies of a session, each with the number of its command: `2: stream: OK` and a NUL.
struct Replies {
    number: String,
    /// Octets of one.
    limit: usize,
}

impl Replies {
    fn after(before: u32, limit: usize) -> Self {
        Self { number: format!("{}: ", u64::from(before) + 1), limit }
    }
}

impl Reader for Replies {
    type Reply = Answer<Found>;
    type Fault = ClamdFault;

    fn limit(&self) -> usize {
        self.limit
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Answer<Found>>, ClamdFault> {
        let Some(end) = memchr(0, octets) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&octets[..end]);
        let result = text.strip_prefix(&self.number).unwrap_or(&text);
        if result == "INSTREAM size limit exceeded. ERROR" {
            return Err(ClamdFault::TooLarge);
        }
        let numbered = result.len() < text.len();
        let reply = match result.strip_prefix("stream: ").filter(|_| numbered) {
            Some("OK") => Found::Nothing,
            Some(result) => match result.strip_suffix(" FOUND") {
                Some(name) if !name.is_empty() => Found::Signature(name.into()),
                _ if result.ends_with(" ERROR") => return Err(ClamdFault::Declined(text.into())),
                _ => return Err(ClamdFault::Malformed(text.into())),
            },
            None if result.ends_with(" ERROR") || result == "UNKNOWN COMMAND" => {
                return Err(ClamdFault::Declined(text.into()));
            }
            None => return Err(ClamdFault::Malformed(text.into())),
        };
        Ok(Some(Answer { reply, keep: end + 1 == octets.len() }))
    }
}

#[cfg(test)]
mod tests;
