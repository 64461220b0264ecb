//! Deadlines and timeouts of both state machines.

use std::time::{Duration, Instant};

/// The time at which a state machine stops waiting, and the event that it waits for. Call
/// `handle_timeout` after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The time at which the timeout expires.
    pub at: Instant,
    /// The event that must occur before that time.
    pub awaiting: Awaiting,
}

impl Deadline {
    /// Returns the deadline `wait` after `now`. A `wait` of more than 30 years, such as
    /// `Duration::MAX`, is reduced to 30 years, so that the clock does not overflow.
    pub(crate) fn after(now: Instant, wait: Duration, awaiting: Awaiting) -> Self {
        const EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
        Self { at: now + wait.min(EVER), awaiting }
    }
}

/// The event that a deadline applies to. Section numbers without an RFC refer to RFC 5321.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaiting {
    /// Input before the greeting, from a client that must wait for the greeting. When this deadline
    /// passes, the client has waited correctly and gets the greeting.
    EarlyInput,
    /// The PROXY protocol header, which must come first on the connection.
    ProxyHeader,
    /// The client's next command (4.5.3.2.7).
    Command,
    /// More mail data from the client (4.5.3.2.5).
    MailData,
    /// Mail data at the configured minimum rate.
    DataRate,
    /// The end of the mail data. This bounds the time for the whole content, at any data rate.
    EndOfMailData,
    /// The TLS handshake with the client or the onward server (RFC 3207). For the onward server,
    /// also its reply to STARTTLS.
    Tls,
    /// The panel's verdict.
    Verdict,
    /// The relay target's answer to a recipient.
    RecipientOutcome,
    /// The relay target's answer to the content. The timeout is shorter than the client's own
    /// (4.5.3.2.6).
    ContentOutcome,
    /// The completion of a write to the peer.
    Transmission,
    /// A connection to the onward server.
    Connection,
    /// The onward server's greeting (4.5.3.2.1).
    Greeting,
    /// The onward server's reply to EHLO, LHLO or HELO.
    Hello,
    /// The onward server's reply to XCLIENT or XFORWARD.
    Identification,
    /// The onward server's reply to RSET.
    Reset,
    /// The onward server's reply to MAIL (4.5.3.2.2).
    Mail,
    /// The onward server's reply to RCPT (4.5.3.2.3).
    Recipient,
    /// The onward server's 354 reply to DATA (4.5.3.2.4).
    DataInitiation,
    /// The onward server's reply to the end of the mail data (4.5.3.2.6).
    DataTermination,
    /// The onward server's reply to QUIT.
    Quit,
}

/// Timeouts of a [`Session`](crate::Session). The defaults for the client are the minima of RFC
/// 5321 section 4.5.3.2. The defaults for the relay target are a little shorter than the time that
/// a client waits for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionTimeouts {
    /// Timeout for the PROXY protocol header. Default: 5 seconds (Postfix
    /// `smtpd_upstream_proxy_timeout`).
    pub proxy_header: Duration,
    /// Timeout for a complete command line. Default: 5 minutes. Receiving part of a line does not
    /// extend it.
    pub command: Duration,
    /// Timeout for the client in total, since its session began or its last message was accepted.
    /// Default: 1 hour. The session is closed only while it waits for a command, so mail data is
    /// never interrupted. The time that the panel and the relay target take does not count.
    pub commands: Duration,
    /// Timeout for more mail data, counted from the last octet. Default: 3 minutes. Between chunks,
    /// the next BDAT counts as mail data. Other commands between chunks do not extend this timeout.
    pub mail_data: Duration,
    /// The time by which a client may fall behind the minimum data rate ([`Limits::data_rate`]).
    /// Default: 5 minutes (Postfix `smtpd_timeout`). Every content starts with this much credit,
    /// with DATA or BDAT. The credit never exceeds this value.
    ///
    /// [`Limits::data_rate`]: crate::session::Limits::data_rate
    pub data_rate: Duration,
    /// Timeout for the content, from its first octet to its last. Default: 1 hour. With BDAT, this
    /// includes all chunks and the time between them.
    pub content: Duration,
    /// Timeout for a TLS handshake. Default: 1 minute.
    pub tls: Duration,
    /// Timeout for the panel at one stage. Default: 2 minutes. The default budget of a panel for a
    /// stage is shorter: 1 minute.
    pub verdict: Duration,
    /// Timeout for the relay target's answer to a recipient, counted from RCPT. Default: 4 minutes
    /// 45 seconds. The time that the panel took is included.
    pub recipient: Duration,
    /// Timeout for the relay target's answer to the content, counted from the end of the content.
    /// Default: 9 minutes 30 seconds. The time that the panel took is included.
    pub outcome: Duration,
    /// Timeout for writing a reply to the client. Default: 5 minutes.
    pub transmission: Duration,
}

impl Default for SessionTimeouts {
    fn default() -> Self {
        Self {
            proxy_header: Duration::from_secs(5),
            command: Duration::from_secs(300),
            commands: Duration::from_secs(3600),
            mail_data: Duration::from_secs(180),
            data_rate: Duration::from_secs(300),
            content: Duration::from_secs(3600),
            tls: Duration::from_secs(60),
            verdict: Duration::from_secs(120),
            recipient: Duration::from_secs(285),
            outcome: Duration::from_secs(570),
            transmission: Duration::from_secs(300),
        }
    }
}

/// Timeouts of an [`Onward`](crate::Onward): the client timeouts of RFC 5321 section 4.5.3.2. Some
/// are shorter, because the session's client waits at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnwardTimeouts {
    /// Timeout for connecting. Default: 30 seconds (Postfix `smtp_connect_timeout`).
    pub connect: Duration,
    /// Timeout for the greeting. Default: 1 minute.
    pub greeting: Duration,
    /// Timeout for the reply to each command before the content. Default: 4 minutes.
    pub command: Duration,
    /// Timeout for the reply to STARTTLS, and again for the TLS handshake. Default: 1 minute. This
    /// leaves time to retry without TLS if the policy allows it.
    pub tls: Duration,
    /// Timeout for the 354 reply to DATA. Default: 2 minutes.
    pub data_initiation: Duration,
    /// Timeout for writing a block of mail data to the server. Default: 3 minutes.
    pub data_block: Duration,
    /// Timeout for the reply to the end of the mail data. Default: 9 minutes.
    pub data_termination: Duration,
    /// Timeout for the reply to QUIT. Default: 5 seconds. Nothing depends on this reply.
    pub quit: Duration,
}

impl Default for OnwardTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_secs(60),
            command: Duration::from_secs(240),
            tls: Duration::from_secs(60),
            data_initiation: Duration::from_secs(120),
            data_block: Duration::from_secs(180),
            data_termination: Duration::from_secs(540),
            quit: Duration::from_secs(5),
        }
    }
}
