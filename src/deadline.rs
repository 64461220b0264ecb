//! Deadlines: until when something is waited for, and what it is.

use std::time::{Duration, Instant};

/// Until when a machine waits, and for what. Call `handle_timeout` once it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The moment it passes.
    pub at: Instant,
    /// What is waited for until then.
    pub awaiting: Awaiting,
}

impl Deadline {
    /// `wait` from `now`, for this. A wait beyond what the clock can count to, `Duration::MAX` for
    /// one, is thirty years.
    pub(crate) fn after(now: Instant, wait: Duration, awaiting: Awaiting) -> Self {
        const EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
        Self { at: now + wait.min(EVER), awaiting }
    }
}

/// What is waited for. Sections are those of RFC 5321 where not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaiting {
    /// Input before the greeting, from a client that is to wait for it: when this passes, it has
    /// waited, and all is well.
    EarlyInput,
    /// A proxy's header, before anything else (PROXY protocol).
    ProxyHeader,
    /// The client's next command (4.5.3.2.7).
    Command,
    /// More mail data from the client (4.5.3.2.5).
    MailData,
    /// Mail data at the least rate that is set.
    DataRate,
    /// The end of the mail data, however much of it comes: a bound on the whole content.
    EndOfMailData,
    /// The client's TLS handshake, or the onward server's with its reply to STARTTLS before it
    /// (RFC 3207).
    Tls,
    /// The panel's verdict.
    Verdict,
    /// The relay's answer to a recipient.
    RecipientOutcome,
    /// The relay's answer to the content (shorter than the client's patience, 4.5.3.2.6).
    ContentOutcome,
    /// The peer to take what is written to it.
    Transmission,
    /// A connection to the onward server.
    Connection,
    /// The onward server's greeting (4.5.3.2.1).
    Greeting,
    /// Its reply to EHLO, LHLO or HELO.
    Hello,
    /// Its reply to XCLIENT or XFORWARD.
    Identification,
    /// Its reply to RSET.
    Reset,
    /// Its reply to MAIL (4.5.3.2.2).
    Mail,
    /// Its reply to RCPT (4.5.3.2.3).
    Recipient,
    /// Its 354 (4.5.3.2.4).
    DataInitiation,
    /// Its reply to the end of the mail data (4.5.3.2.6).
    DataTermination,
    /// Its reply to QUIT.
    Quit,
}

/// How long a [`Session`](crate::Session) waits for what. The defaults are the minima of RFC 5321
/// section 4.5.3.2, and for the relay a little less than a client must wait for us.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionTimeouts {
    /// For a proxy to say for whom it speaks: 5 seconds (Postfix `smtpd_upstream_proxy_timeout`).
    pub proxy_header: Duration,
    /// For a whole command: 5 minutes. Octets that trickle in do not prolong it.
    pub command: Duration,
    /// For the client, in all, since its session began or since its last message was taken: 1 hour.
    /// It is closed when this has passed and a command is waited for, so a content is never cut short.
    /// The time that the panel and the relay target take does not count.
    pub commands: Duration,
    /// For more mail data: 3 minutes from the last octet. The next BDAT of a content is mail data, too;
    /// other commands before it gain no time.
    pub mail_data: Duration,
    /// How far a client may fall behind the least data rate ([`Limits::data_rate`]): 5 minutes
    /// (Postfix `smtpd_timeout`). That is the credit which every content begins with, in chunks or
    /// not, and more than that is never earned.
    ///
    /// [`Limits::data_rate`]: crate::Limits::data_rate
    pub data_rate: Duration,
    /// For the content from its first octet to its last: 1 hour. Chunks and what comes between them
    /// are one content.
    pub content: Duration,
    /// For a TLS handshake: 1 minute.
    pub tls: Duration,
    /// For the panel at one stage: 2 minutes. Panels keep shorter budgets of their own.
    pub verdict: Duration,
    /// For the relay's answer to a recipient: 4 minutes 45 seconds from RCPT, of which the panel may
    /// have taken some.
    pub recipient: Duration,
    /// For the relay's answer to the content: 9 minutes 30 seconds from its end, likewise.
    pub outcome: Duration,
    /// For the client to take a reply: 5 minutes.
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

/// How long an [`Onward`](crate::Onward) waits for what: the client time-outs of RFC 5321 section
/// 4.5.3.2, cut where the client of the session, who waits meanwhile, has no more patience.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnwardTimeouts {
    /// For a connection: 30 seconds (Postfix `smtp_connect_timeout`).
    pub connect: Duration,
    /// For the greeting: 1 minute.
    pub greeting: Duration,
    /// For the reply to a command before the content: 4 minutes.
    pub command: Duration,
    /// For the reply to STARTTLS, and for the TLS handshake behind it: 1 minute each, so that there
    /// is time to go on without where the policy lets it.
    pub tls: Duration,
    /// For 354: 2 minutes.
    pub data_initiation: Duration,
    /// For the server to take a block of mail data: 3 minutes.
    pub data_block: Duration,
    /// For the reply to the end of the mail data: 9 minutes.
    pub data_termination: Duration,
    /// For the reply to QUIT: 5 seconds; nothing depends on it.
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
