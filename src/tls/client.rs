//! The client side of TLS, towards an onward server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Connection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{TlsConfigError, certificates, unfit};

/// TLS settings for an onward server, with or without verification of its certificate. Supports TLS
/// 1.2 and 1.3. Cheap to clone. All clones share one configuration, also after
/// [`replace`](Self::replace).
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<RwLock<Arc<ClientConfig>>>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Creates settings that require the server to prove that it is `name`, a domain name or an IP
    /// address. Its certificate must chain to one of these roots, given as PEM text. The roots can
    /// be the server's own certificate authority or all roots of the system (on Debian
    /// `/etc/ssl/certs/ca-certificates.crt`).
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is malformed, or if `roots` has no usable certificate.
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
        Ok(Self::from_config(config, name))
    }

    /// Creates settings that accept any certificate, as is usual between mail servers (RFC 7435).
    /// This protects against passive eavesdropping, but not against a man in the middle.
    pub fn unverified() -> Result<Self, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        // An IP address is not sent as the server name, and the verifier ignores it.
        let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into());
        Ok(Self::from_config(config, name))
    }

    fn from_config(config: ClientConfig, name: ServerName<'static>) -> Self {
        Self { config: Arc::new(RwLock::new(config.into())), name }
    }

    /// Replaces the roots by those of `renewed`, in every relay target that uses these settings. The
    /// name stays. Connections and handshakes that have already begun continue with the old roots.
    pub fn replace(&self, renewed: &Self) {
        let renewed = renewed.config();
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    fn config(&self) -> Arc<ClientConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn begin(&self) -> Result<Box<Connection>, rustls::Error> {
        let connection = ClientConnection::new(self.config(), self.name.clone())?;
        Ok(Box::new(connection.into()))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A verifier that accepts every certificate. Signatures are not checked either. They would prove
/// possession of a key that anybody can generate. The check would also fail for the X.509 v1
/// certificates of some servers.
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
