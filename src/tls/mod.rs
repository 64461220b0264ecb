//! TLS at the edges: certificates and roots, and the channel that a connection becomes.
//!
//! rustls stays in this module; of its types only `ServerConfig` is in the public interface. Without the feature `tls` its two configurations cannot be made,
//! which leaves the channel in the clear.

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

/// Why TLS cannot be had with these certificates. The fault is the caller's.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// The text is not PEM (RFC 7468).
    #[error("not PEM: {0}")]
    Malformed(Box<dyn std::error::Error + Send + Sync>),
    /// There is no certificate in it.
    #[error("no certificate")]
    NoCertificate,
    /// There is no private key in it.
    #[error("no private key")]
    NoKey,
    /// They cannot be used: a key that is not the certificate's, an unknown algorithm, X.509 v1.
    #[error("of no use: {0}")]
    Unfit(Box<dyn std::error::Error + Send + Sync>),
    /// Neither a domain name nor an IP address.
    #[error("`{0}` is no name of a server")]
    BadName(Box<str>),
}

/// The certificates in a PEM text, which may hold other things. At least one.
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
