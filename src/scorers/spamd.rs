//! SpamAssassin's daemon, asked as `spamc` asks it.

mod summary;

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memmem;

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::opinion::{Opinion, ScorerError};
use crate::runtime::{Address, Runtime};
use crate::score::{Finding, Score};
use crate::scorer::{DataContext, Scorer};

use super::daemon::{End, Fault, Reader, Request, exchange};
use super::excerpt::{Oversize, SizeLimit};
use summary::Rule;

/// The symbol of the part of the score that no rule accounts for.
const SYMBOL: &str = "SPAMD";
/// The rule by which SpamAssassin says that it left rules out (its setting `time_limit`).
const CUT_SHORT: &str = "TIME_LIMIT_EXCEEDED";
/// Most that rounding moves a score.
const ROUNDING: Score = Score::hundredths(10);

/// Not a user name: empty, longer than 256 octets, or with control characters. The fault is the
/// caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a user name")]
pub struct BadUser;

/// Asks SpamAssassin's `spamd` about each message, over TCP or a Unix socket, with the `REPORT`
/// request of its protocol (version 1.5).
///
/// Each rule that matched is a finding with its score and, as detail, its description. The finding
/// `SPAMD` holds the part of SpamAssassin's score that no rule accounts for, with the detail
/// `score/required`. So the findings add up to SpamAssassin's score. SpamAssassin's `required_score` decides
/// nothing: the [`Panel`](crate::Panel)'s thresholds do.
///
/// The rules are read from the table in SpamAssassin's report (`_SUMMARY_` in its setting `report`). It has
/// one decimal for scores below 10 and none above, and `SPAMD` holds the difference. A report without that
/// table leaves the whole score to `SPAMD`.
///
/// When SpamAssassin's `time_limit` ended a scan (`TIME_LIMIT_EXCEEDED`), the findings count and the scorer
/// has failed as well. So it is a failure with findings when spamd's verdict (`True` or `False`) contradicts its
/// own score, and when it reports `False ; 0 / 0`, which means that there was no scan.
///
/// Before the message stands `X-Envelope-From: <sender>`, as Haraka and spamass-milter put it
/// there: SpamAssassin takes the envelope sender from it for SPF and its sender lists. Set
/// `envelope_sender_header X-Envelope-From` in its configuration, since otherwise a field of that
/// name further down, which the sender of the message may have written, makes it believe neither.
/// Recipients are not told to it.
///
/// It has no patience of its own: give its [`Seat`](crate::Seat) a budget. A daemon that cannot be
/// reached, talks nonsense, breaks off or does not come to an end is a [`ScorerError`], and the
/// seat's failure policy says what becomes of the message.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::{Oversize, Spamd};
/// use nobounce::{FailurePolicy, Panel, Runtime, Score, Seat};
///
/// /// SpamAssassin has 10 seconds; without it a message is a little suspicious.
/// fn panel<R: Runtime>(runtime: R) -> Result<Panel, Box<dyn std::error::Error>> {
///     let spamd = Spamd::new(runtime, "127.0.0.1:783".parse()?)
///         .user("nobounce")?
///         .size_limit(256 * 1024, Oversize::Head);
///     let seat = Seat::new(spamd)
///         .budget(Duration::from_secs(10))
///         .on_failure(FailurePolicy::Score(Score::points(1)));
///     Ok(Panel::new().seat(seat))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Spamd<R> {
    runtime: R,
    address: Address,
    user: Option<Box<str>>,
    limit: SizeLimit,
    reply: usize,
}

impl<R: Runtime> Spamd<R> {
    /// The largest message that is sent whole if nothing else is said, in octets: 500 KB, as with `spamc --max-size`.
    pub const SIZE_LIMIT: usize = 500 * 1024;
    /// The longest reply that is read if nothing else is said, in octets. A report has a few kilobytes.
    pub const REPLY_LIMIT: usize = 64 * 1024;

    /// The daemon that listens at `address`, usually port 783.
    pub fn new(runtime: R, address: Address) -> Self {
        let limit = SizeLimit { octets: Self::SIZE_LIMIT, oversize: Oversize::default() };
        Self { runtime, address, user: None, limit, reply: Self::REPLY_LIMIT }
    }

    /// The user whose preferences the daemon is to apply. Without one it applies its own.
    pub fn user(mut self, name: &str) -> Result<Self, BadUser> {
        if !(1..=256).contains(&name.len()) || name.contains(char::is_control) {
            return Err(BadUser);
        }
        self.user = Some(name.into());
        Ok(self)
    }

    /// The largest message that is sent whole, in octets, and what is done with larger ones. The
    /// default is 500 KB (`spamc --max-size`), of larger ones the head.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// The longest reply that is read, in octets: 64 KiB. A longer one is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// As `spamc` asks.
    fn request(&self, envelope: &Envelope, message: &[Bytes]) -> Request {
        let sender = HeaderField::fold("X-Envelope-From", envelope.reverse_path.path.written());
        let length = sender.octets().len() + message.iter().map(Bytes::len).sum::<usize>();
        let user = self.user.as_ref().map_or(String::new(), |user| format!("User: {user}\r\n"));
        // The daemon takes these names in this spelling only.
        let head = format!("REPORT SPAMC/1.5\r\n{user}Content-length: {length}\r\n\r\n");
        let mut segments = vec![Bytes::from(head), sender.octets().clone()];
        segments.extend_from_slice(message);
        Request { segments, end: End::ShutDown }
    }

    async fn check(&self, request: Request) -> Result<Report, Fault<SpamdFault>> {
        let mut stream = self.runtime.connect(&self.address).await.map_err(Fault::Connect)?;
        let (report, _) =
            exchange(&mut stream, request, &Reports { limit: self.reply }, &mut Vec::new()).await?;
        Ok(report)
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Spamd<R> {
    fn name(&self) -> &str {
        "spamd"
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(at.message) else {
            return Ok(Opinion::silent());
        };
        let report = self.check(self.request(at.envelope, &message)).await;
        report.map_err(ScorerError::new)?.into_opinion()
    }
}

/// The daemon may close the connection behind its reply or leave it open.
struct Reports {
    /// Octets of a whole reply.
    limit: usize,
}

impl Reader for Reports {
    type Reply = Report;
    type Fault = SpamdFault;

    fn limit(&self) -> usize {
        self.limit
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Report>, SpamdFault> {
        Report::parse(octets, self.limit)
    }
}

/// Why a reply is no report. The fault is the daemon's.
#[derive(Debug, thiserror::Error)]
enum SpamdFault {
    #[error("endless reply")]
    Endless,
    #[error("spamd says {0:?}")]
    Declined(Box<str>),
    #[error("not a reply of spamd: {0}")]
    Malformed(&'static str),
}

/// What SpamAssassin says of a message.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    is_spam: bool,
    score: Score,
    required: Score,
    rules: Vec<Rule>,
}

/// Why a report does not hold the result of a scan. The fault is the daemon's.
#[derive(Debug, thiserror::Error)]
enum Gap {
    #[error("SpamAssassin's time_limit ended the scan")]
    CutShort,
    #[error("spamd reports no scan (False ; 0 / 0)")]
    NoScan,
    #[error("spamd's verdict contradicts its score ({0})")]
    Contradiction(Box<str>),
}

impl Report {
    /// Reads a reply to REPORT, `None` as long as it is not whole:
    ///
    /// ```text
    /// SPAMD/1.1 0 EX_OK
    /// Content-length: 1099
    /// Spam: True ; 1000.0 / 5.0
    ///
    /// Spam detection software, running on the system "mx.example",
    /// ```
    fn parse(reply: &[u8], limit: usize) -> Result<Option<Self>, SpamdFault> {
        use SpamdFault::Malformed;

        let Some(end) = memmem::find(reply, b"\r\n") else {
            return Ok(None);
        };
        check_status(&reply[..end])?;
        let Some(length) = memmem::find(reply, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = str::from_utf8(&reply[end..length]).map_err(|_| Malformed("header"))?;
        let (mut size, mut result) = (None, None);
        for line in head.split("\r\n").skip(1) {
            let (name, value) = line.split_once(':').ok_or(Malformed("header"))?;
            let known = if name.eq_ignore_ascii_case("Content-length") {
                &mut size
            } else if name.eq_ignore_ascii_case("Spam") {
                &mut result
            } else {
                continue;
            };
            if known.replace(value.trim()).is_some() {
                return Err(Malformed("header given twice"));
            }
        }
        let size = size.ok_or(Malformed("no Content-length"))?;
        if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Malformed("Content-length"));
        }
        let size = size.parse().ok().filter(|size| *size <= limit).ok_or(SpamdFault::Endless)?;
        let (is_spam, score, required) =
            result.and_then(read_result).ok_or(Malformed("no result that can be read"))?;
        // What a daemon of another age sends behind its Content-length is left alone.
        let Some(body) = reply[length + 4..].get(..size) else {
            return Ok(None);
        };
        // A report quotes the message, in whatever octets it came.
        let rules = summary::read(&String::from_utf8_lossy(body));
        Ok(Some(Self { is_spam, score, required, rules }))
    }

    fn into_opinion(self) -> Result<Opinion, ScorerError> {
        let rule =
            |rule: &Rule| Finding::new(&rule.name, rule.score).with_detail(&rule.description);
        // Under the name of the remainder a rule belongs to it.
        let rules: Vec<_> = self.rules.iter().filter(|it| it.name != SYMBOL).map(rule).collect();
        let sum: Score = rules.iter().map(Finding::score).sum();
        let detail = format!("{}/{}", self.score, self.required);
        let rest = Finding::new(SYMBOL, self.score + -sum).with_detail(&detail);
        let opinion = Opinion::from_iter(std::iter::once(rest).chain(rules));
        match self.gap() {
            Some(gap) => Err(ScorerError::new(gap).but_says(opinion)),
            None => Ok(opinion),
        }
    }

    fn gap(&self) -> Option<Gap> {
        // Both numbers are rounded to one decimal.
        let missing = self.required + -self.score;
        let contradicts = match self.is_spam {
            true => missing > ROUNDING,
            false => missing < -ROUNDING,
        };
        if self.rules.iter().any(|rule| rule.name == CUT_SHORT) {
            Some(Gap::CutShort)
        } else if !self.is_spam && self.score == Score::ZERO && self.required == Score::ZERO {
            Some(Gap::NoScan)
        } else if contradicts {
            let verdict = if self.is_spam { "True" } else { "False" };
            let said = format!("{verdict} ; {} / {}", self.score, self.required);
            Some(Gap::Contradiction(said.into()))
        } else {
            None
        }
    }
}

/// Checks the first line: `SPAMD/1.x 0 EX_OK`. Another code is one of `sysexits.h`.
fn check_status(line: &[u8]) -> Result<(), SpamdFault> {
    let malformed = SpamdFault::Malformed("first line");
    let Some(line) = str::from_utf8(line).ok().and_then(|line| line.strip_prefix("SPAMD/1."))
    else {
        return Err(malformed);
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(version), Some("0"), Some("EX_OK")) if digits(version) => Ok(()),
        (Some(version), Some(code), Some(text)) if digits(version) && digits(code) => {
            Err(SpamdFault::Declined(format!("{code} {text}").into()))
        }
        _ => Err(malformed),
    }
}

/// Verdict, score and required score of `True ; 15.2 / 5.0`.
fn read_result(text: &str) -> Option<(bool, Score, Score)> {
    let (verdict, scores) = text.split_once(';')?;
    let (score, required) = scores.split_once('/')?;
    let is_spam = match verdict.trim() {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    // A decimal comma comes from a daemon that runs in such a locale.
    let points = |text: &str| text.trim().replace(',', ".").parse().ok();
    Some((is_spam, points(score)?, points(required)?))
}

#[cfg(test)]
mod tests;
