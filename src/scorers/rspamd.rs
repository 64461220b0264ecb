//! The scorer for rspamd, which is queried as a mail server queries it.

mod http;
mod report;

use std::fmt;
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

/// Maximum octets of recipients in a request. rspamd reads at most 80 KiB of header.
const RECIPIENTS: usize = 64 * 1024;

/// The effect of the action that rspamd proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RspamdActions {
    /// Refuses `reject` and `discard` with 550 and `soft reject` with 451. The reply text is
    /// rspamd's text for the client (`smtp_message`), if there is one. All other actions are
    /// evidence only.
    #[default]
    Obey,
    /// Uses every action as evidence only: the panel's thresholds decide.
    ///
    /// Some modules of rspamd answer before its rules run: greylisting, rate limits and address
    /// lists. Their answer has no score to decide by. It is therefore a failure of the scorer, and
    /// the seat's failure policy applies. Disable these modules in rspamd. For greylisting, write
    /// `enabled = false;` to `local.d/greylist.conf`.
    Score,
}

/// A scorer that checks each message with `rspamd`, over TCP or a Unix socket. It sends
/// `POST /checkv2` to rspamd's normal worker, or to a proxy in self-scan mode. (Feature `rspamd`.)
///
/// The request contains the envelope: client address and name, HELO, sender, recipients and TLS.
/// The ID of the transaction is sent as queue ID.
///
/// Each symbol is a finding with rspamd's score for it and its options as detail. The finding
/// `RSPAMD` holds the part of rspamd's score that no symbol accounts for, with the detail
/// `score/required, action`. So the findings add up to rspamd's score.
///
/// **rspamd's scale is not SpamAssassin's.** By default rspamd adds a header at 6 points and
/// rejects at 15, whereas a [`Panel`](crate::Panel) refuses at 6.31. Set the panel's thresholds
/// accordingly, or convert rspamd's scores to the panel's scale with
/// [`Seat::scale`](crate::panel::Seat::scale).
///
/// # Fields of the report
///
/// Any field may be missing, `null` or of an unexpected type, and then has no effect. A report
/// without `score` or without `action` is a failure: its symbols count, and the seat's failure
/// policy applies. Unknown fields are ignored. A report with a duplicate field is malformed.
///
/// | field | effect |
/// |---|---|
/// | `score` | the sum of all findings. A number in a string is accepted. It is a failure if the field is missing, not finite or out of the range of a [`Score`](crate::Score), unless `action` refuses. |
/// | `required_score` | shown in the detail of `RSPAMD`, `-` if missing: rspamd has none without a threshold |
/// | `action` | see below; a failure if missing or empty |
/// | `is_skipped` | adds `skipped` to the detail of `RSPAMD`: the settings of rspamd exempt the message |
/// | `symbols` | findings: `score`, and `options` as detail. `name`, `metric_score` (the configured weight) and `description` are ignored. |
/// | `messages.smtp_message` | the text of a refusal |
/// | `milter.no_action` | the action does not refuse; the message gets a field `X-Rspamd-Action` with the action |
/// | `milter.add_headers`, `dkim-signature` | up to 64 header fields prepended to the message, in the `order` given by rspamd. A value is a text, `{"value": …, "order": …}` or a list of them. |
/// | `milter.remove_headers`, `change_from`, `add_rcpt`, `del_rcpt`, `spam_header` | not carried out: message and recipients are relayed unchanged. The detail of `RSPAMD` names them after `not done`. |
/// | `milter.reject` (`discard` or `quarantine` instead of `reject`) | not carried out: the client gets a refusal |
/// | `subject` | not carried out: the subject is unchanged |
/// | `error` | a failure with this text, unless `action` refuses |
/// | `messages` other than above, `urls`, `emails`, `groups`, `thresholds`, `passthrough_module`, `message-id`, `time_real`, `profile` | ignored |
///
/// | action | with [`RspamdActions::Obey`] |
/// |---|---|
/// | `reject` | 550 |
/// | `discard` | 550: mail is never dropped |
/// | `soft reject` | 451. This is the action of rspamd's own greylisting and of its rate limits. |
/// | `greylist` | evidence only. rspamd suggests greylisting at this score and has not greylisted the message itself: rspamd's own milter accepts it. Exception: 451 if the symbol `GREYLIST` has the option `greylisted`. rspamd's greylisting writes it after it stored the time from which it accepts the message. |
/// | `add header`, `rewrite subject`, `quarantine` | evidence only. Set the panel's thresholds, for example to tag such messages. |
/// | `no action`, any other | evidence only |
///
/// # Failures
///
/// The scorer fails with a [`ScorerError`] if the daemon is unreachable, if the status is not 200
/// or if the response is not a report. The seat's failure policy then applies. The scorer has no
/// built-in timeout: set a budget on the [`Seat`](crate::panel::Seat). If rspamd, or a proxy in front of
/// it, keeps a connection open, the connection is reused.
///
/// ```
/// use std::time::Duration;
/// use nobounce::scorers::Rspamd;
/// use nobounce::{Panel, Runtime};
/// use nobounce::panel::{FailurePolicy, Seat};
///
/// /// Converts rspamd's 15 points to 6. Without rspamd, messages pass.
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

impl<R: Runtime> fmt::Debug for Rspamd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rspamd")
            .field("address", &self.address)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Rspamd<R> {
    /// Default limit for messages that are sent whole, in octets: 5 MiB. rspamd itself accepts 50
    /// MB (`max_message`).
    pub const SIZE_LIMIT: usize = 5 * 1024 * 1024;
    /// Default limit for a report, in octets. For mail with hundreds of links it has about ten
    /// kilobytes.
    pub const REPLY_LIMIT: usize = 512 * 1024;

    /// Creates a scorer for the worker at `address`, usually port 11333.
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

    /// Sets the largest message that is sent whole, in octets, and the handling of larger ones. By
    /// default the limit is 5 MiB, and only the head of larger messages is sent.
    #[must_use]
    pub fn size_limit(mut self, octets: usize, oversize: Oversize) -> Self {
        self.limit = SizeLimit { octets, oversize };
        self
    }

    /// Sets the longest accepted report, in octets. Default: 512 KiB. A longer report is a failure.
    #[must_use]
    pub fn reply_limit(mut self, octets: usize) -> Self {
        self.reply = octets;
        self
    }

    /// Sets the effect of the action that rspamd proposes.
    #[must_use]
    pub fn actions(mut self, actions: RspamdActions) -> Self {
        self.actions = actions;
        self
    }

    /// Sets our own name (`MTA-Name`), by which rspamd recognises our authentication results.
    #[must_use]
    pub fn mta_name(mut self, name: &str) -> Self {
        self.mta_name = Some(name.into());
        self
    }

    /// Sets the settings that rspamd applies (`Settings-ID`).
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
        // rspamd drops clients that half-close the connection.
        Request { segments: request.with_body(message), end: End::Counted }
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Rspamd<R> {
    fn name(&self) -> &str {
        "rspamd"
    }

    fn server(&self) -> Option<&Address> {
        Some(&self.address)
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
