//! What a session is told when it begins.

use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::deadline::SessionTimeouts;
use crate::host::HostName;
use crate::network::Networks;
use crate::wire::budget::Budget;
use crate::wire::content::LineEndings;

/// How sessions behave. The default is a transparent, bounded relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The name in the greeting, in EHLO replies and in trace headers.
    pub host: HostName,
    /// What is offered to clients, as far as the relay target lets it through.
    pub capabilities: Capabilities,
    /// Bounds on what a client can make grow.
    pub limits: Limits,
    /// Memory for mail data, over all sessions. Spent: `452 4.3.1` when the mail data is complete.
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
    /// Networks of one's own: no delays, and no share of theirs in the `Admission` of clients.
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
            capabilities: Capabilities { prdr: true, ..Capabilities::all() },
            limits: Limits::default(),
            budget: Budget::default(),
            timeouts: SessionTimeouts::default(),
            line_endings: LineEndings::default(),
            early_input: EarlyInput::default(),
            authserv_id: None,
            greeting_delay: Duration::ZERO,
            own_networks: Networks::loopback(),
            xclient_from: Networks::none(),
            xforward_from: Networks::none(),
        }
    }
}

/// Bounds on what one client can make grow in its session.
///
/// # All bounds
///
/// What a client, an onward server or a scorer's daemon can make grow, and the test that goes one
/// past it (`d/` stands for `tests/dialogues/`). Where the setting is "fixed", nobody has needed
/// another value yet.
///
/// | what | setting | default | precedent | one past it |
/// |---|---|---|---|---|
/// | command line | [`command_line`](Self::command_line) | 2,048 octets | Postfix `line_length_limit` | `d/long_command` |
/// | command line without an end | fixed | 65,536 octets | | `d/endless_command` |
/// | recipients of a transaction | [`recipients`](Self::recipients) | 1,000 | Postfix `smtpd_recipient_limit` | `d/recipients_limit` |
/// | recipients beyond, before each is a fault | fixed | 1,000 | Postfix `smtpd_recipient_overshoot_limit` | `d/recipients_surplus` |
/// | faulty commands | [`errors`](Self::errors) | 20 | Postfix `smtpd_hard_error_limit` | `d/error_limit` |
/// | commands without use | [`junk_commands`](Self::junk_commands) | 100 | Postfix `smtpd_junk_command_limit` | `d/junk_limit` |
/// | transactions of a session | [`transactions`](Self::transactions) | 1,000 | | `d/transactions_limit` |
/// | content | [`content`](Self::content) | 50 MiB | Exim `message_size_limit` | `d/too_big_while_receiving`, `d/bdat_too_big` |
/// | text lines of a content | none, they pass: one in nine of recent phishing mails has longer ones than RFC 5321 asks for | | | |
/// | MIME depth | fixed | 100 | Postfix `mime_nesting_limit` | `src/message/mime/tests.rs` |
/// | MIME parts | fixed | 10,000 | Dovecot | `src/message/mime/tests.rs` |
/// | MIME field that is looked at | fixed | 2,048 octets | Postfix `mime_boundary_length_limit` | `src/message/mime/tests.rs` |
/// | time for a command | [`SessionTimeouts::command`] | 5 min | RFC 5321 section 4.5.3.2.7 | `d/command_timeout` |
/// | time without mail data | [`SessionTimeouts::mail_data`] | 3 min | section 4.5.3.2.5 | `d/data_timeout` |
/// | time for a content | [`SessionTimeouts::content`] | 1 h | | `d/content_timeout` |
/// | least data rate | [`data_rate`](Self::data_rate) | 500 octets/s | Postfix `smtpd_min_data_rate` | `d/data_rate`, `d/data_rate_bdat` |
/// | credit of the data rate | [`SessionTimeouts::data_rate`] | 5 min | Postfix `smtpd_timeout` | `d/data_rate_bursts` |
/// | delay of the greeting | [`Settings::greeting_delay`] | 0, at the most 1 min | Postfix `postscreen_greet_wait` | `d/greeting_delay_bounded` |
/// | time to take a reply | [`SessionTimeouts::transmission`] | 5 min | | `tests/promise` |
/// | time of the panel | [`SessionTimeouts::verdict`] | 2 min | | `d/verdict_timeout` |
/// | time of the relay target | [`SessionTimeouts::recipient`], [`SessionTimeouts::outcome`] | 4:45, 9:30 min | sections 4.5.3.2.3 and .6 | `d/onward_late_in_all` |
/// | an onward reply's line | fixed | 4,096 octets | | `d/onward_nonsense_endless_line` |
/// | an onward reply's lines | fixed | 128 | | `d/onward_nonsense_endless_reply` |
/// | replies held for a group | fixed | 8,192 octets, 1 s | | `d/held_replies` |
/// | octets read ahead | fixed | 4,096 | | `src/driver/tests.rs` |
/// | connections in all | `AdmissionLimits::connections` | 5,000 | Exchange `MaxInboundConnection` | `src/admission/tests.rs` |
/// | connections of an address | `AdmissionLimits::per_address` | 50 | Postfix `smtpd_client_connection_count_limit` | `src/admission/tests.rs` |
/// | connections of a network | `AdmissionLimits::per_network` | 250 | | `src/admission/tests.rs` |
/// | rate of connections | `AdmissionLimits::address_rate`, `network_rate` | any | Postfix `smtpd_client_connection_rate_limit` | `src/admission/tests.rs` |
/// | addresses remembered for that | `AdmissionLimits::remembered` | 65,536 | | `src/admission/tests.rs` |
/// | delay by the tarpit | `Tarpit` | 5 s, 1 min, 100 sessions | Exchange `TarpitInterval` | `src/driver/slowness/tests.rs` |
/// | PROXY header | fixed, [`SessionTimeouts::proxy_header`] | 107 octets or its own length, 5 s | Postfix `smtpd_upstream_proxy_timeout` | `src/driver/proxied/tests.rs` |
/// | spamd's reply | fixed | 64 KiB | | `src/scorers/spamd/tests.rs` |
///
/// [`SessionTimeouts::command`]: crate::SessionTimeouts::command
/// [`SessionTimeouts::mail_data`]: crate::SessionTimeouts::mail_data
/// [`SessionTimeouts::content`]: crate::SessionTimeouts::content
/// [`SessionTimeouts::data_rate`]: crate::SessionTimeouts::data_rate
/// [`SessionTimeouts::transmission`]: crate::SessionTimeouts::transmission
/// [`SessionTimeouts::verdict`]: crate::SessionTimeouts::verdict
/// [`SessionTimeouts::recipient`]: crate::SessionTimeouts::recipient
/// [`SessionTimeouts::outcome`]: crate::SessionTimeouts::outcome
/// [`SessionTimeouts::proxy_header`]: crate::SessionTimeouts::proxy_header
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
    /// Transactions in one session: 1,000. More: 421.
    pub transactions: u32,
    /// Faulty commands in one session: 20 (Postfix `smtpd_hard_error_limit`). Then 421.
    pub errors: u32,
    /// Commands without use (NOOP, RSET, VRFY, EXPN, HELP, repeated EHLO, empty chunks) since the
    /// last message: 100 (Postfix `smtpd_junk_command_limit`). Then 421.
    pub junk_commands: u32,
    /// Octets of mail data in a second, at least: 500 (Postfix `smtpd_min_data_rate`); 0 for any.
    /// Who has fallen behind by more than [`SessionTimeouts::data_rate`]: `421 4.4.2`.
    pub data_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_line: 2_048,
            content: 50 << 20,
            recipients: 1_000,
            transactions: 1_000,
            errors: 20,
            junk_commands: 100,
            data_rate: 500,
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
