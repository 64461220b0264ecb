//! rspamd, asked as mail servers ask it.

mod http;
mod report;

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;

use crate::envelope::Envelope;
use crate::opinion::{Opinion, ScorerError};
use crate::runtime::{Address, Runtime};
use crate::scorer::{DataContext, Scorer};

use super::daemon::{Daemon, End, Request};
use super::excerpt::{Oversize, SizeLimit};
use http::Responses;

/// Most octets of recipients in a request: rspamd reads no more than 80 KiB of header.
const RECIPIENTS: usize = 64 * 1024;

/// Determines what becomes of the action that rspamd proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RspamdActions {
    /// Refuses `reject` and `discard` with 550 and `soft reject` with 451, in rspamd's words for the
    /// client (`smtp_message`) if there are any. All other actions are evidence only.
    #[default]
    Obey,
    /// Takes every action as evidence only: the panel's thresholds decide.
    ///
    /// Modules of rspamd that answer before its rules run (greylisting, rate limits, lists of
    /// addresses) leave no score to decide by. Such an answer is a failure of the scorer, so the seat's
    /// failure policy applies. Switch these modules off in rspamd: for greylisting write
    /// `enabled = false;` to `local.d/greylist.conf`.
    Score,
}

/// Asks `rspamd` about each message, over TCP or a Unix socket, with `POST /checkv2` to its normal
/// worker or to a proxy that scans itself. (Feature `rspamd`.)
///
/// rspamd is told the envelope: client address and name, HELO, sender, recipients, TLS, and the
/// transaction's name as queue id. Each symbol is a finding with rspamd's score for it and its
/// options as detail. The finding `RSPAMD` holds the part of rspamd's score that no symbol accounts for,
/// with the detail `score/required, action`. So the findings add up to rspamd's score.
///
/// **rspamd's scale is not SpamAssassin's:** out of the box it adds a header at 6 points and
/// rejects at 15, where a [`Panel`](crate::Panel) refuses at 6.31. Set the panel's thresholds so,
/// or bring rspamd's scores to the panel's scale with [`Seat::scale`](crate::Seat::scale).
///
/// # Fields of the report
///
/// Any field may be missing, `null` or of an unexpected type. It then says nothing. A report without `score`
/// or without `action` is a failure: its symbols count, and the seat's failure policy applies. Unknown
/// fields are ignored. Two fields of one name make the report malformed.
///
/// | field | effect |
/// |---|---|
/// | `score` | the sum of all findings. A number in a string is a number. A failure if it is missing, not finite or beyond the range of a [`Score`](crate::Score), unless `action` refuses. |
/// | `required_score` | stands in the detail of `RSPAMD`, `-` if missing: rspamd has none without a threshold |
/// | `action` | see below; a failure if missing or empty |
/// | `is_skipped` | the detail of `RSPAMD` says `skipped`: the settings of rspamd exempt the message |
/// | `symbols` | findings: `score`, and `options` as detail. `name`, `metric_score` (the configured weight) and `description` are ignored. |
/// | `messages.smtp_message` | the text of a refusal |
/// | `milter.no_action` | the action does not refuse; the message gets a field `X-Rspamd-Action` with the action |
/// | `milter.add_headers`, `dkim-signature` | up to 64 header fields before the message, in the `order` that rspamd gives. A value is a text, `{"value": …, "order": …}` or a list of them. |
/// | `milter.remove_headers`, `change_from`, `add_rcpt`, `del_rcpt`, `spam_header` | not done: a message goes onward as it came, to the recipients it was sent to. The detail of `RSPAMD` names them behind `not done`. |
/// | `milter.reject` (`discard` or `quarantine` in place of `reject`) | not done: the sender is told of a refusal |
/// | `subject` | not done: the subject stays |
/// | `error` | a failure that says so, unless `action` refuses |
/// | `messages` other than above, `urls`, `emails`, `groups`, `thresholds`, `passthrough_module`, `message-id`, `time_real`, `profile` | ignored |
///
/// | action | with [`RspamdActions::Obey`] |
/// |---|---|
/// | `reject` | 550 |
/// | `discard` | 550: mail is never dropped |
/// | `soft reject` | 451. This is the action of rspamd's own greylisting and of its rate limits. |
/// | `greylist` | evidence only. rspamd says that a server may greylist at this score, and has done nothing: rspamd's own milter accepts the message. 451 if a symbol `GREYLIST` says `greylisted`, which rspamd's greylisting writes when it has stored the time at which it lets the message pass. |
/// | `add header`, `rewrite subject`, `quarantine` | evidence only. Set the panel's thresholds, to tag such messages for example. |
/// | `no action`, any other | evidence only |
///
/// # Failures
///
/// A daemon that cannot be reached, answers with another status than 200 or with something else than a
/// report is a [`ScorerError`], and the seat's failure policy says what becomes of the message. There
/// is no timeout: give the [`Seat`](crate::Seat) a budget. Connections that rspamd, or a proxy before it,
/// keeps open are used again.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::Rspamd;
/// use nobounce::{FailurePolicy, Panel, Runtime, Seat};
///
/// /// rspamd's 15 points are our 6; without it a message passes.
/// fn panel<R: Runtime>(runtime: R) -> Result<Panel, Box<dyn std::error::Error>> {
///     let rspamd = Rspamd::new(runtime, "127.0.0.1:11333".parse()?).mta_name("mx.example");
///     let seat = Seat::new(rspamd)
///         .scale(40)
///         .budget(Duration::from_secs(10))
///         .on_failure(FailurePolicy::Ignore);
///     Ok(Panel::new().seat(seat))
/// }
/// ```
pub struct Rspamd<R: Runtime> {
    daemon: Daemon<R>,
    address: Address,
    limit: SizeLimit,
    reply: usize,
    actions: RspamdActions,
    mta_name: Option<Box<str>>,
    settings: Option<Box<str>>,
}

impl<R: Runtime> Rspamd<R> {
    /// The largest message that is sent whole if nothing else is said, in octets: 5 MiB; rspamd itself takes 50 MB (`max_message`).
    pub const SIZE_LIMIT: usize = 5 * 1024 * 1024;
    /// The longest report that is read if nothing else is said, in octets. One of a mail with hundreds of links has some ten kilobytes.
    pub const REPLY_LIMIT: usize = 512 * 1024;

    /// The worker that listens at `address`, usually port 11333.
    pub fn new(runtime: R, address: Address) -> Self {
        Self {
            daemon: Daemon::new(runtime, address.clone()),
            address,
            limit: SizeLimit { octets: Self::SIZE_LIMIT, oversize: Oversize::default() },
            reply: Self::REPLY_LIMIT,
            actions: RspamdActions::default(),
            mta_name: None,
            settings: None,
        }
    }

    /// The largest message that is sent whole, in octets, and what is done with larger ones. The
    /// default is 5 MiB, of larger ones the head.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// The longest report that is read, in octets: 512 KiB. A longer one is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// Sets what becomes of the action that rspamd proposes.
    #[must_use]
    pub fn actions(mut self, actions: RspamdActions) -> Self {
        self.actions = actions;
        self
    }

    /// Our own name (`MTA-Name`), by which rspamd knows its authentication results.
    #[must_use]
    pub fn mta_name(mut self, name: &str) -> Self {
        self.mta_name = Some(name.into());
        self
    }

    /// The settings that rspamd is to apply (`Settings-ID`).
    #[must_use]
    pub fn settings(mut self, id: &str) -> Self {
        self.settings = Some(id.into());
        self
    }

    fn request(&self, envelope: &Envelope, message: &[Bytes]) -> Request {
        let peer = &envelope.peer;
        let mut request = http::Request::post("/checkv2", &self.address);
        let mut field = |name, value: Option<&[u8]>| {
            if let Some(value) = value {
                request.field(name, value);
            }
        };
        let address = peer.address.map(|address| IpAddr::to_string(&address.ip()));
        field("IP", address.as_deref().map(str::as_bytes));
        field("Hostname", peer.name.as_deref().map(str::as_bytes));
        field("Helo", peer.helo.as_ref().map(|helo| helo.name.as_bytes()));
        field("User", peer.login.as_deref().map(str::as_bytes));
        field("TLS-Version", peer.tls.as_ref().map(|tls| tls.version.as_bytes()));
        field("TLS-Cipher", peer.tls.as_ref().map(|tls| tls.cipher.as_bytes()));
        field("Queue-Id", Some(envelope.id.to_string().as_bytes()));
        field("MTA-Name", self.mta_name.as_deref().map(str::as_bytes));
        field("Settings-ID", self.settings.as_deref().map(str::as_bytes));
        field("From", Some(envelope.reverse_path.path.written()));
        let mut room = RECIPIENTS;
        for recipient in &envelope.forward_paths {
            let written = recipient.path.written();
            let Some(left) = room.checked_sub(written.len() + "Rcpt: \r\n".len()) else {
                break;
            };
            room = left;
            field("Rcpt", Some(written));
        }
        // rspamd gives up a client that shuts down its sending side.
        Request { segments: request.with_body(message), end: End::Counted }
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Rspamd<R> {
    fn name(&self) -> &str {
        "rspamd"
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(at.message) else {
            return Ok(Opinion::silent());
        };
        let request = |_| self.request(at.envelope, &message);
        let report = self.daemon.ask(request, |_| Responses { limit: self.reply }).await;
        report.map_err(ScorerError::new)?.into_opinion(self.actions)
    }
}

#[cfg(test)]
mod tests;
