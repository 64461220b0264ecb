//! The scorer for SpamAssassin's daemon `spamd`, which is queried as `spamc` queries it.

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
/// The rule by which SpamAssassin reports that it skipped rules (its setting `time_limit`).
const CUT_SHORT: &str = "TIME_LIMIT_EXCEEDED";
/// Maximum effect of rounding on a score.
const ROUNDING: Score = Score::hundredths(10);

/// The error for an invalid user name: empty, longer than 256 octets, or with control characters.
/// Fault of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a user name: expected 1 to 256 octets without control characters")]
pub struct UserNameError;

/// A scorer that checks each message with SpamAssassin's `spamd`, over TCP or a Unix socket. It
/// uses the `REPORT` request of the protocol (version 1.5).
///
/// Each matching rule is a finding with its score and, as detail, its description. The finding
/// `SPAMD` holds the part of SpamAssassin's score that no rule accounts for, with the detail
/// `score/required`. So the findings add up to SpamAssassin's score. SpamAssassin's
/// `required_score` has no effect: the thresholds of the [`Panel`](crate::Panel) decide.
///
/// The rules are read from the table in SpamAssassin's report (`_SUMMARY_` in its setting
/// `report`). The table shows scores below 10 with one decimal and larger scores with none. `SPAMD`
/// holds the difference. If a report has no such table, `SPAMD` holds the whole score.
///
/// Three results are failures with findings: the findings count, and the seat's failure policy
/// applies too.
/// - SpamAssassin's `time_limit` ended the scan (`TIME_LIMIT_EXCEEDED`).
/// - spamd's verdict (`True` or `False`) contradicts its own score.
/// - spamd reports `False ; 0 / 0`, which means that it did not scan the message.
///
/// `X-Envelope-From: <sender>` is prepended to the message, as Haraka and spamass-milter do.
/// SpamAssassin takes the envelope sender from it for SPF and its sender lists. Set
/// `envelope_sender_header X-Envelope-From` in its configuration. Otherwise a second field of that
/// name, possibly written by the sender of the message, makes SpamAssassin ignore both. Recipients
/// are not sent to spamd.
///
/// The scorer has no built-in timeout: set a budget on its [`Seat`](crate::panel::Seat). The scorer
/// fails with a [`ScorerError`] if the daemon is unreachable, if its reply is malformed or
/// truncated, or if the reply does not end. The seat's failure policy then applies.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::{Oversize, Spamd};
/// use nobounce::{Panel, Runtime, Score};
/// use nobounce::panel::{FailurePolicy, Seat};
///
/// /// Gives SpamAssassin 10 seconds. If it fails, a message gets 1 point.
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
    /// Default limit for messages that are sent whole, in octets: 500 KB, as with
    /// `spamc --max-size`.
    pub const SIZE_LIMIT: usize = 500 * 1024;
    /// Default limit for a reply, in octets. A report has a few kilobytes.
    pub const REPLY_LIMIT: usize = 64 * 1024;

    /// Creates a scorer for the daemon at `address`, usually port 783.
    pub fn new(runtime: R, address: Address) -> Self {
        let limit = SizeLimit { octets: Self::SIZE_LIMIT, oversize: Oversize::default() };
        Self { runtime, address, user: None, limit, reply: Self::REPLY_LIMIT }
    }

    /// Sets the user whose preferences the daemon applies. Without a user, the daemon applies its
    /// own.
    pub fn user(mut self, name: &str) -> Result<Self, UserNameError> {
        if !(1..=256).contains(&name.len()) || name.contains(char::is_control) {
            return Err(UserNameError);
        }
        self.user = Some(name.into());
        Ok(self)
    }

    /// Sets the largest message that is sent whole, in octets, and the handling of larger ones. By
    /// default the limit is 500 KB (`spamc --max-size`), and only the head of larger messages is
    /// sent.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// Sets the longest accepted reply, in octets. Default: 64 KiB. A longer reply is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// Builds the same request as `spamc`.
    fn request(&self, envelope: &Envelope, message: &[Bytes]) -> Request {
        let sender = HeaderField::fold("X-Envelope-From", envelope.reverse_path.path.written());
        let length = sender.octets().len() + message.iter().map(Bytes::len).sum::<usize>();
        let user = self.user.as_ref().map_or(String::new(), |user| format!("User: {user}\r\n"));
        // spamd accepts these header names only in this spelling.
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

    fn server(&self) -> Option<&Address> {
        Some(&self.address)
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(at.message) else {
            return Ok(Opinion::silent());
        };
        let report = self.check(self.request(at.envelope, &message)).await;
        report.map_err(ScorerError::new)?.into_opinion()
    }
}

/// Parser for replies. The daemon may close the connection after its reply or leave it open.
struct Reports {
    /// Maximum octets of a whole reply.
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

/// The reason why a reply is not a report. Fault of the daemon.
#[derive(Debug, thiserror::Error)]
enum SpamdFault {
    #[error("the response exceeds the size limit")]
    Endless,
    #[error("spamd refused the request: {0:?}")]
    Declined(Box<str>),
    #[error("malformed response from spamd: {0}")]
    Malformed(&'static str),
}

/// A parsed report of SpamAssassin about a message.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    is_spam: bool,
    score: Score,
    required: Score,
    rules: Vec<Rule>,
}

/// The reason why a report holds no complete scan result. Fault of the daemon.
#[derive(Debug, thiserror::Error)]
enum Gap {
    #[error("SpamAssassin stopped the scan at its time_limit")]
    CutShort,
    #[error("spamd did not scan the message (False ; 0 / 0)")]
    NoScan,
    #[error("the verdict of spamd contradicts its score ({0})")]
    Contradiction(Box<str>),
}

impl Report {
    /// Parses a reply to REPORT. Returns `None` if it is not complete yet. Example:
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
                return Err(Malformed("repeated header field"));
            }
        }
        let size = size.ok_or(Malformed("no Content-length"))?;
        if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Malformed("Content-length"));
        }
        let size = size.parse().ok().filter(|size| *size <= limit).ok_or(SpamdFault::Endless)?;
        let (is_spam, score, required) =
            result.and_then(read_result).ok_or(Malformed("missing or invalid Spam field"))?;
        // Octets after the Content-length, sent by other versions of the daemon, are ignored.
        let Some(body) = reply[length + 4..].get(..size) else {
            return Ok(None);
        };
        // A report quotes the message, which may not be valid UTF-8.
        let rules = summary::read(&String::from_utf8_lossy(body));
        Ok(Some(Self { is_spam, score, required, rules }))
    }

    fn into_opinion(self) -> Result<Opinion, ScorerError> {
        let rule =
            |rule: &Rule| Finding::new(&rule.name, rule.score).with_detail(&rule.description);
        // A rule with the symbol of the remainder is counted in the remainder.
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

/// Checks the first line: `SPAMD/1.x 0 EX_OK`. Any other code is from `sysexits.h`.
fn check_status(line: &[u8]) -> Result<(), SpamdFault> {
    let malformed = SpamdFault::Malformed("status line");
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

/// Parses verdict, score and required score from `True ; 15.2 / 5.0`.
fn read_result(text: &str) -> Option<(bool, Score, Score)> {
    let (verdict, scores) = text.split_once(';')?;
    let (score, required) = scores.split_once('/')?;
    let is_spam = match verdict.trim() {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    // A daemon that runs in a locale with decimal commas writes commas.
    let points = |text: &str| text.trim().replace(',', ".").parse().ok();
    Some((is_spam, points(score)?, points(required)?))
}

#[cfg(test)]
mod tests;
