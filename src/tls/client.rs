//! The relay target's side of TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Connection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{TlsConfigError, certificates, unfit};

/// TLS towards an onward server: whether it must prove who it is. TLS 1.2 and 1.3. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// The server must prove to be `name`, a domain name or an IP address, with a certificate that
    /// leads to one of these roots, a PEM text: the server's own certificate authority, or all of
    /// the system's (on Debian `/etc/ssl/certs/ca-certificates.crt`).
    pub fn verified(name: &str, roots: &[u8]) -> Result<Self, TlsConfigError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsConfigError::BadName(name.into()))?;
        let mut store = RootCertStore::empty();
        for root in certificates(roots)? {
            store.add(root).map_err(unfit)?;
        }
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { config: config.into(), name })
    }

    /// The server may be anybody: any certificate will do, as most servers' do between mail servers
    /// (RFC 7435). This hides mail from listeners, not from who stands between.
    pub fn unverified() -> Result<Self, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        // An address is not sent as the name of the server, and nobody looks at it here.
        let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into());
        Ok(Self { config: config.into(), name })
    }

    pub(super) fn begin(&self) -> Result<Box<Connection>, rustls::Error> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone())?;
        Ok(Box::new(connection.into()))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Takes every certificate. Its signatures are not checked either: that would prove possession of a
/// key that anybody can make, and fail for the X.509 v1 certificates that some servers have.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
