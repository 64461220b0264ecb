//! rspamd, asked as mail servers ask it.

mod http;
mod report;

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;

use crate::envelope::Envelope;
use crate::message::Message;
use crate::runtime::{Address, Runtime};
use crate::scorer::{Opinion, Scorer, ScorerError};

use super::daemon::{Daemon, End, Request};
use super::excerpt::{Oversize, SizeLimit};
use http::Responses;

/// Most octets of recipients in a request: rspamd reads no more than 80 KiB of header.
const RECIPIENTS: usize = 64 * 1024;

/// What is done about the action that rspamd proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RspamdActions {
    /// `reject` and `discard` are refused with 550, `soft reject` and `greylist` with 451, in rspamd's
    /// words where it has some for the client (`smtp_message`). All others are evidence only.
    #[default]
    Obey,
    /// All are evidence only, and the panel's thresholds decide.
    Score,
}

/// Asks `rspamd` about each message, over TCP or a Unix socket, with `POST /checkv2` to its normal
/// worker or to a proxy that scans itself. (Feature `rspamd`.)
///
/// rspamd is told the envelope: client address and name, HELO, sender, recipients, TLS, and the
/// transaction's name as queue id. Each symbol is a finding with rspamd's score for it and its
/// options as detail; what rspamd's total has beyond their sum stands in one finding `RSPAMD`,
/// whose detail is `score/required, action`. So the findings add up to rspamd's score. What becomes of the
/// action says [`RspamdActions`].
///
/// **rspamd's scale is not SpamAssassin's:** out of the box it adds a header at 6 points and
/// rejects at 15, where a [`Panel`](crate::Panel) refuses at 6.31. Set the panel's thresholds so,
/// or bring rspamd's scores to the panel's scale with [`Seat::scale`](crate::Seat::scale).
///
/// A connection that rspamd, or a proxy before it, keeps open is used again. It has no patience
/// of its own: give its [`Seat`](crate::Seat) a budget. A daemon that cannot be reached, talks nonsense or does
/// not come to an end is a [`ScorerError`], and the seat's failure policy says what becomes of the
/// message.
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

    /// What is done about the action that rspamd proposes.
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

    async fn on_data(
        &self,
        envelope: &Envelope,
        message: &Message,
    ) -> Result<Opinion, ScorerError> {
        let Some(message) = self.limit.excerpt(message) else {
            return Ok(Opinion::Silent);
        };
        let request = |_| self.request(envelope, &message);
        let report = self.daemon.ask(request, |_| Responses { limit: self.reply }).await;
        report.map(|report| report.into_opinion(self.actions)).map_err(ScorerError::new)
    }
}

#[cfg(test)]
mod tests;
