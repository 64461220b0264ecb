//! TLS for clients and onward servers: certificates, roots, and the channel that wraps a
//! connection.
//!
//! Only this module uses rustls. Of the types of rustls, only `ServerConfig` is in the public
//! interface. Without the feature `tls`, neither TLS configuration can be created, and channels
//! remain plain.

mod channel;
#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod secure;
#[cfg(feature = "tls")]
mod server;
#[cfg(feature = "tls")]
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod turns;
#[cfg(not(feature = "tls"))]
mod without;

pub(crate) use channel::Channel;
#[cfg(feature = "tls")]
pub use client::TlsClient;
#[cfg(feature = "tls")]
pub use server::TlsServer;
#[cfg(feature = "tls")]
pub use turns::HandshakeLimits;
#[cfg(feature = "tls")]
pub(crate) use turns::Turns;
#[cfg(not(feature = "tls"))]
pub(crate) use without::{TlsClient, TlsServer};

/// The reason why TLS settings cannot be created from these certificates. Caller fault.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// The text is not PEM (RFC 7468).
    #[error("invalid PEM: {0}")]
    Malformed(Box<dyn std::error::Error + Send + Sync>),
    /// The text contains no certificate.
    #[error("no certificate")]
    NoCertificate,
    /// The text contains no private key.
    #[error("no private key")]
    NoKey,
    /// The certificates are unusable: the key does not match, the algorithm is unknown, or a
    /// certificate is X.509 v1.
    #[error("unusable certificate or key: {0}")]
    Unfit(Box<dyn std::error::Error + Send + Sync>),
    /// The name is neither a domain name nor an IP address.
    #[error("`{0}` is neither a domain name nor an IP address")]
    BadName(Box<str>),
}

/// Returns the certificates in a PEM text, at least one. The text may contain other items.
#[cfg(feature = "tls")]
fn certificates(
    pem: &[u8],
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, TlsConfigError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(TlsConfigError::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsConfigError::Malformed(error.into())),
    }
}

#[cfg(feature = "tls")]
fn unfit(error: rustls::Error) -> TlsConfigError {
    TlsConfigError::Unfit(error.into())
}
