//! What a session is told when it begins.

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
            capabilities: Capabilities::all(),
            limits: Limits::default(),
            budget: Budget::default(),
            timeouts: SessionTimeouts::default(),
            line_endings: LineEndings::default(),
            early_input: EarlyInput::default(),
            xclient_from: Networks::none(),
            xforward_from: Networks::none(),
        }
    }
}

/// Bounds on what one client can make grow in its session.
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
