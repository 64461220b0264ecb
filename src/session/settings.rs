//! What a session is told when it begins.

use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::deadline::SessionTimeouts;
use crate::host::HostName;
use crate::message::MimeLimits;
use crate::network::Networks;
use crate::wire::budget::Budget;
use crate::wire::content::LineEndings;

/// How sessions behave. The default is a transparent, bounded relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The name in the greeting, in EHLO replies and in trace headers.
    pub host: HostName,
    /// The text of the greeting behind that name: `ESMTP nobounce`. Octets that a reply cannot hold are
    /// replaced. RFC 5321 section 4.3.1 wants the host name first, and clients look for `ESMTP`.
    pub greeting: String,
    /// What is offered to clients, as far as the relay target lets it through.
    pub capabilities: Capabilities,
    /// Bounds on what a client can make grow.
    pub limits: Limits,
    /// Memory for mail data and large envelopes, over all sessions. Spent: `452 4.3.1` when the mail
    /// data is complete, and to RCPT.
    pub budget: Budget,
    /// How long is waited for what.
    pub timeouts: SessionTimeouts,
    /// What becomes of a CR or LF alone in mail data.
    pub line_endings: LineEndings,
    /// What becomes of a client that does not wait for its turn.
    pub early_input: EarlyInput,
    /// By which name our own `Authentication-Results` go (RFC 8601 section 2.5). Those that a client
    /// sends under it are forged and do not go onward (section 5). Without one, none are taken out.
    pub authserv_id: Option<HostName>,
    /// How long the greeting is held back, from when the client connected, for those who cannot wait
    /// for it: not at all. (Postfix `postscreen_greet_wait` is 6 seconds.) The panel's time counts,
    /// and more than a minute is taken for one. Neither for [`own_networks`](Self::own_networks) nor
    /// for those who may say XCLIENT or XFORWARD.
    pub greeting_delay: Duration,
    /// How sessions behave while the gate is under stress.
    pub stress: Stress,
    /// Networks of one's own: no delays, no end of transactions and of refused recipients in a session,
    /// no share of theirs in the `Admission` of clients, and scorers that leave them alone
    /// ([`Peer::own`](crate::Peer::own)).
    /// This machine: `127.0.0.0/8, ::1, local` (Postfix `mynetworks` with `mynetworks_style =
    /// host`).
    pub own_networks: Networks,
    /// Who may say XCLIENT (Postfix `smtpd_authorized_xclient_hosts`), by the address that the
    /// session begins with. Nobody by default; to all others it is an unknown command.
    pub xclient_from: Networks,
    /// Who may say XFORWARD (Postfix `smtpd_authorized_xforward_hosts`), likewise.
    pub xforward_from: Networks,
}

impl Settings {
    /// The defaults, for a server of this name. Octets that a domain name cannot hold are replaced.
    pub fn new(host: &str) -> Self {
        Self {
            host: HostName::new(host),
            greeting: "ESMTP nobounce".to_owned(),
            capabilities: Capabilities { prdr: true, ..Capabilities::all() },
            limits: Limits::default(),
            budget: Budget::default(),
            timeouts: SessionTimeouts::default(),
            line_endings: LineEndings::default(),
            early_input: EarlyInput::default(),
            authserv_id: None,
            greeting_delay: Duration::ZERO,
            stress: Stress::default(),
            own_networks: Networks::loopback(),
            xclient_from: Networks::none(),
            xforward_from: Networks::none(),
        }
    }
}

/// Bounds on what one client can make grow in its session. All bounds of the crate, on whatever peer
/// can make grow, stand in one table: [`docs::bounds`](crate::docs::bounds).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a command line, CRLF included: 2,048 (Postfix `line_length_limit`; RFC 5321 asks
    /// for 512 and what extensions add). Longer: `500 5.5.2`.
    pub command_line: usize,
    /// Octets of content as SIZE counts them: 50 MiB (Exim `message_size_limit`). More:
    /// `552 5.3.4`.
    pub content: u64,
    /// RCPT commands in one transaction, taken or refused: 1,000 (Postfix
    /// `smtpd_recipient_limit`). More: `452 4.5.3`.
    pub recipients: usize,
    /// RCPT commands beyond that in one transaction before each more is a fault: 1,000 (Postfix
    /// `smtpd_recipient_overshoot_limit`). A client may have sent all of them in one group.
    pub recipients_overshoot: usize,
    /// Servers on the way of a message, this one included, as its `Received` fields have them: 100
    /// (RFC 5321 section 6.3; Postfix `hopcount_limit` is 50). More are a mail loop: `554 5.4.6`.
    pub hops: usize,
    /// Recipients that are refused with 5yz one after another, in one session: 20 (Postfix
    /// `smtpd_hard_error_limit`). The last one is answered with `421 4.7.0`. Refusals with 4yz, such as
    /// greylisting, do not count, nor do those of [`Settings::own_networks`] and of clients that
    /// XFORWARD names.
    pub refused_in_a_row: u32,
    /// Recipients that are refused with 5yz in one session, others accepted between them: 50. The
    /// last one is answered with `421 4.7.0`. The same do not count.
    pub refused_recipients: u32,
    /// Transactions in one session: 1,000. More: 421. Those of [`Settings::own_networks`] may have as
    /// many as they like.
    pub transactions: u32,
    /// Faulty commands in one session: 20 (Postfix `smtpd_hard_error_limit`). The last one is
    /// answered with 421.
    pub errors: u32,
    /// Commands without use (NOOP, RSET, VRFY, EXPN, HELP, repeated EHLO, empty chunks) since the
    /// last message: 100 (Postfix `smtpd_junk_command_limit`). Then 421.
    pub junk_commands: u32,
    /// Hundredths of [`Settings::budget`] that large messages of one address may hold: 25. An IPv6
    /// address counts for its /64. More: `452 4.3.1` behind the content. One message of the largest size
    /// always has room, and [`Settings::own_networks`] and those who speak for others have no bound.
    pub address_share: u8,
    /// The same of one network, /24 or /48: 50.
    pub network_share: u8,
    /// Octets of header fields that scorers add to one message: 14 KiB. Fields that would go beyond are
    /// left out. So much room, and 2 KiB for the trace header, is left below the SIZE of the onward
    /// server when SIZE is offered to clients: a message of the offered size fits with these fields.
    pub added_fields: usize,
    /// Octets of mail data in a second, at least: 500 (Postfix `smtpd_min_data_rate`); 0 for any.
    /// Who has fallen behind by more than [`SessionTimeouts::data_rate`]: `421 4.4.2`.
    pub data_rate: u32,
    /// How far messages are taken apart for scorers. Beyond: they are told that there is more, and
    /// the client nothing.
    pub mime: MimeLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_line: 2_048,
            content: 50 << 20,
            recipients: 1_000,
            recipients_overshoot: 1_000,
            hops: 100,
            refused_in_a_row: 20,
            refused_recipients: 50,
            transactions: 1_000,
            errors: 20,
            junk_commands: 100,
            address_share: 25,
            network_share: 50,
            added_fields: 14 << 10,
            data_rate: 500,
            mime: MimeLimits::default(),
        }
    }
}

/// Bounds on one client while the gate is under stress (Postfix `stress`), where they are smaller than
/// those of [`Limits`] and [`SessionTimeouts`]. Clients of [`Settings::own_networks`], and those that may
/// say XCLIENT or XFORWARD, keep the ordinary ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stress {
    /// For a command, for more mail data, for a TLS handshake, and for the client to take a reply: 10
    /// seconds (Postfix `smtpd_timeout`).
    pub wait: Duration,
    /// For all commands since the last message was taken, or since stress began: 1 minute. A client whose
    /// commands come one at a time, each within [`wait`](Self::wait), keeps its place no longer than that.
    pub commands: Duration,
    /// Faulty commands in one session: 1 (Postfix `smtpd_hard_error_limit`). It is answered with 421.
    pub errors: u32,
    /// Commands without use since the last message: 1 (Postfix `smtpd_junk_command_limit`).
    pub junk_commands: u32,
}

impl Default for Stress {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(10),
            commands: Duration::from_secs(60),
            errors: 1,
            junk_commands: 1,
        }
    }
}

/// What becomes of a client that sends before the greeting, or mail data before 354.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyInput {
    /// `554 5.5.0`, and the connection is closed. Mail data is never read as commands.
    #[default]
    Refuse,
    /// It is read when its turn comes.
    Tolerate,
}
