//! Settings of a session.

use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::deadline::SessionTimeouts;
use crate::host::HostName;
use crate::message::MimeLimits;
use crate::network::Networks;
use crate::wire::budget::Budget;
use crate::wire::content::LineEndings;

/// Settings of sessions. The defaults give a transparent relay with limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The server's name in the greeting, EHLO replies and trace header fields.
    pub host: HostName,
    /// The text of the greeting after the host name. Default: `ESMTP nobounce`. Octets that are not
    /// allowed in a reply are replaced. RFC 5321 section 4.3.1 requires the host name first, and
    /// clients look for `ESMTP`.
    pub greeting: String,
    /// The extensions offered to clients, as far as the relay target supports them.
    pub capabilities: Capabilities,
    /// Limits on the resources that a client can use.
    pub limits: Limits,
    /// The memory budget for mail data and large envelopes, shared by all sessions. When it is
    /// exhausted, the session replies `452 4.3.1` to RCPT, or at the end of the mail data.
    pub budget: Budget,
    /// Timeouts.
    pub timeouts: SessionTimeouts,
    /// The handling of bare CR and LF in mail data.
    pub line_endings: LineEndings,
    /// The handling of clients that do not wait for their turn.
    pub early_input: EarlyInput,
    /// The authentication service identifier of this server's `Authentication-Results` fields (RFC
    /// 8601 section 2.5). If a client's message has such fields with this identifier, they are
    /// forged and are removed (section 5). With `None`, no fields are removed.
    pub authserv_id: Option<HostName>,
    /// The delay of the greeting after the connection, to detect clients that send before it.
    /// Default: none. (Postfix `postscreen_greet_wait` is 6 seconds.) The time that the panel takes
    /// is included. The maximum is one minute; larger values are reduced to it. The delay does not
    /// apply to [`own_networks`](Self::own_networks) or to peers that may use XCLIENT or XFORWARD.
    pub greeting_delay: Duration,
    /// Stricter limits while the gate is under stress.
    pub stress: Stress,
    /// The networks of this site. Their clients have no greeting delay, no limits on transactions
    /// and refused recipients in a session, and no per-client share in `Admission`. Scorers can
    /// exempt them too ([`Peer::own`](crate::Peer::own)). Default: this machine,
    /// `127.0.0.0/8, ::1, local` (Postfix `mynetworks` with `mynetworks_style = host`).
    pub own_networks: Networks,
    /// The peers that may use XCLIENT (Postfix `smtpd_authorized_xclient_hosts`). The address at
    /// the start of the session decides. Default: none. For all other peers, XCLIENT is an unknown
    /// command.
    pub xclient_from: Networks,
    /// The peers that may use XFORWARD (Postfix `smtpd_authorized_xforward_hosts`). The address at
    /// the start of the session decides. Default: none. For all other peers, XFORWARD is an unknown
    /// command.
    pub xforward_from: Networks,
}

impl Settings {
    /// Returns the default settings for a server of this name. Octets that are not allowed in a
    /// domain name are replaced.
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

/// Limits on the resources that one client can use in its session. The table in
/// [`docs::bounds`](crate::docs::bounds) lists all limits of the crate, for every kind of peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum length of a command line in octets, including CRLF. Default: 2,048 (Postfix
    /// `line_length_limit`). RFC 5321 requires 512, plus the octets that extensions add. A longer
    /// line gets `500 5.5.2`.
    pub command_line: usize,
    /// Maximum size of the content in octets, counted as for SIZE. Default: 50 MiB (Exim
    /// `message_size_limit`). A larger message gets `552 5.3.4`.
    pub content: u64,
    /// Maximum number of RCPT commands in one transaction, accepted or refused. Default: 1,000
    /// (Postfix `smtpd_recipient_limit`). Further commands get `452 4.5.3`.
    pub recipients: usize,
    /// Number of RCPT commands above [`recipients`](Self::recipients) that do not count as errors.
    /// Default: 1,000 (Postfix `smtpd_recipient_overshoot_limit`). A client may have sent all of
    /// them in one pipelined group.
    pub recipients_overshoot: usize,
    /// Maximum number of servers that a message has passed, including this one, counted by
    /// `Received` fields. Default: 100 (RFC 5321 section 6.3; Postfix `hopcount_limit` is 50). A
    /// message with more is in a mail loop and gets `554 5.4.6`.
    pub hops: usize,
    /// Maximum number of consecutive recipients refused with 5yz in one session. Default: 20
    /// (Postfix `smtpd_hard_error_limit`). The last one gets `421 4.7.0`, and the session ends.
    /// Refusals with 4yz, such as greylisting, do not count. Recipients from
    /// [`Settings::own_networks`] and from clients named by XFORWARD do not count either.
    pub refused_in_a_row: u32,
    /// Maximum number of recipients refused with 5yz in one session. Default: 50. The last one gets
    /// `421 4.7.0`, and the session ends. The exceptions of
    /// [`refused_in_a_row`](Self::refused_in_a_row) apply.
    pub refused_recipients: u32,
    /// Maximum number of transactions in one session. Default: 1,000. Further transactions get 421.
    /// Clients in [`Settings::own_networks`] have no limit.
    pub transactions: u32,
    /// Maximum number of faulty commands in one session. Default: 20 (Postfix
    /// `smtpd_hard_error_limit`). The last one gets 421.
    pub errors: u32,
    /// Maximum number of junk commands (NOOP, RSET, VRFY, EXPN, HELP, repeated EHLO, empty chunks)
    /// since the last message. Default: 100 (Postfix `smtpd_junk_command_limit`). The next one gets
    /// 421.
    pub junk_commands: u32,
    /// The percentage of [`Settings::budget`] for large messages from one address. Default: 25. For
    /// IPv6, the /64 counts as one address. A message above this share gets `452 4.3.1` after its
    /// content. One message of the maximum size always fits. [`Settings::own_networks`] and trusted
    /// peers that forward for other clients have no limit.
    pub address_share: u8,
    /// The percentage of [`Settings::budget`] for large messages from one network (/24 or /48).
    /// Default: 50. The rules of [`address_share`](Self::address_share) apply.
    pub network_share: u8,
    /// Maximum size in octets of the header fields that scorers add to one message. Default: 14
    /// KiB. Fields that do not fit are left out. The SIZE offered to clients is smaller than the
    /// onward server's by this limit plus 2 KiB for the trace header field. A message of the
    /// offered size therefore still fits with these fields.
    pub added_fields: usize,
    /// The minimum rate of mail data in octets per second. Default: 500 (Postfix
    /// `smtpd_min_data_rate`). 0 means no minimum. A client that falls behind by more than
    /// [`SessionTimeouts::data_rate`] gets `421 4.4.2`.
    pub data_rate: u32,
    /// Limits on MIME parsing for scorers. When a message exceeds them, scorers see that parts are
    /// missing. The client is not affected.
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

/// Limits on one client while the gate is under stress (Postfix `stress`). They apply where they
/// are smaller than those of [`Limits`] and [`SessionTimeouts`]. Clients in
/// [`Settings::own_networks`] and peers that may use XCLIENT or XFORWARD keep the ordinary limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stress {
    /// The timeout for a command, for more mail data, for a TLS handshake and for writing a reply.
    /// Default: 10 seconds (Postfix `smtpd_timeout`).
    pub wait: Duration,
    /// The total time for a client since its last accepted message, or since stress began. Default:
    /// 1 minute. A client that sends single commands, each within [`wait`](Self::wait), cannot keep
    /// its connection slot any longer.
    pub commands: Duration,
    /// Maximum number of faulty commands in one session. Default: 1 (Postfix
    /// `smtpd_hard_error_limit`). The last one gets 421.
    pub errors: u32,
    /// Maximum number of junk commands since the last message. Default: 1 (Postfix
    /// `smtpd_junk_command_limit`). The next one gets 421.
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

/// The handling of clients that send input before the greeting, or mail data before 354.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EarlyInput {
    /// Replies `554 5.5.0` and closes the connection. Mail data is never read as commands.
    #[default]
    Refuse,
    /// Processes the input at its turn.
    Tolerate,
}
