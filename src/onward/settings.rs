//! Settings of the SMTP and LMTP client.

use super::identify::Identify;
use super::recipients::OneRecipient;
use crate::deadline::OnwardTimeouts;
use crate::host::HostName;
use crate::wire::reply::ReplyLimits;

/// Settings of an [`Onward`](super::Onward).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnwardSettings {
    /// The host name in EHLO or LHLO.
    pub host: HostName,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The policy for STARTTLS.
    pub tls: TlsPolicy,
    /// The policy for one recipient per transaction.
    pub one_recipient: OneRecipient,
    /// The method of passing the client's identity to the server.
    pub identify: Identify,
    /// Timeouts.
    pub timeouts: OnwardTimeouts,
    /// Size limits for one reply of the server.
    pub replies: ReplyLimits,
}

impl OnwardSettings {
    /// Returns settings for SMTP with the default timeouts and this host name in EHLO.
    pub fn new(host: &str) -> Self {
        Self {
            host: HostName::new(host),
            protocol: Protocol::Smtp,
            tls: TlsPolicy::Never,
            one_recipient: OneRecipient::default(),
            identify: Identify::None,
            timeouts: OnwardTimeouts::default(),
            replies: ReplyLimits::default(),
        }
    }
}

/// The protocol of the onward server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    #[default]
    Smtp,
    /// LMTP (RFC 2033). An LMTP server replies to the content once for each recipient, so each
    /// transaction has only one recipient. Further recipients get `452 4.5.3`, and the client sends
    /// to them in another transaction. If the client supports a reply for each recipient (PRDR), a
    /// transaction can have several.
    Lmtp,
}

/// The policy for TLS on the connection to an onward server (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// No TLS. For a server on the same machine.
    #[default]
    Never,
    /// TLS if the server offers it. If the server does not offer it, or if TLS fails, a connection
    /// without TLS is used. After a failure, that is a new connection. This is opportunistic
    /// security (RFC 7435; Postfix `may`). An active attacker can remove the server's offer, so it
    /// protects only against passive eavesdropping.
    May,
    /// TLS is required. Without it, every outcome is 451. The caller does the handshake and decides
    /// whether to verify the server's certificate.
    Must,
}
