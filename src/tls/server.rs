//! The server side of TLS, towards clients.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Connection, ServerConfig, ServerConnection};

use super::{TlsConfigError, certificates, unfit};

/// TLS settings for clients: a certificate and its key. Supports TLS 1.2 and 1.3 with forward
/// secrecy. Client certificates are not requested. Cheap to clone. All clones share one
/// configuration, also after [`replace`](Self::replace).
#[derive(Clone)]
pub struct TlsServer(Arc<RwLock<Arc<ServerConfig>>>);

impl TlsServer {
    /// Creates the settings from PEM texts, as certificate authorities and `certbot` write them.
    /// `chain` holds the certificate, followed by the intermediate certificates. `key` is the
    /// private key (PKCS #8, PKCS #1 or SEC 1).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        Self::from_pems([(chain, key)])
    }

    /// Creates the settings from several certificates, each as a chain and its key in PEM. A client
    /// gets the first certificate that is valid for the requested name (SNI, RFC 6066 section 3)
    /// and whose key type it can verify. Without a requested name, or with an unknown one, a client
    /// gets the first certificate. Few clients of MX hosts check the name, and RFC 7672 section
    /// 8.2.2 asks for exactly this.
    ///
    /// ```no_run
    /// # use nobounce::tls::TlsServer;
    /// # fn read(name: &str) -> std::io::Result<Vec<u8>> { std::fs::read(name) }
    /// let tls = TlsServer::from_pems([
    ///     (read("mx.example.org.pem")?, read("mx.example.org.key")?),
    ///     (read("mx.example.net.pem")?, read("mx.example.net.key")?),
    /// ])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a certificate is missing, or if a certificate or its key cannot be used.
    pub fn from_pems<T: AsRef<[u8]>>(
        certificates: impl IntoIterator<Item = (T, T)>,
    ) -> Result<Self, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let keys = certificates.into_iter();
        let keys = keys.map(|(chain, key)| certified(chain.as_ref(), key.as_ref(), &provider));
        let by_name = ByName(keys.collect::<Result<_, _>>()?);
        if by_name.0.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(by_name));
        Ok(Self::from_config(config))
    }

    /// Creates the settings from a rustls configuration. Use it for your own certificate selection
    /// ([`ResolvesServerCert`]), another cryptography provider, or client certificates.
    ///
    /// Early data of TLS 1.3 is turned off: SMTP does not use it, and it can be replayed.
    ///
    /// ```
    /// # fn tls(config: nobounce::rustls::ServerConfig) -> nobounce::tls::TlsServer {
    /// nobounce::tls::TlsServer::from_config(config)
    /// # }
    /// ```
    pub fn from_config(config: impl Into<Arc<ServerConfig>>) -> Self {
        let mut config = config.into();
        if config.max_early_data_size > 0 {
            Arc::make_mut(&mut config).max_early_data_size = 0;
        }
        Self(Arc::new(RwLock::new(config)))
    }

    /// Replaces the certificate and the key by those of `renewed`, in every gate that uses these
    /// settings. Use it before a certificate expires. Connections and handshakes that have already
    /// begun continue with the old one.
    pub fn replace(&self, renewed: &Self) {
        let renewed = renewed.config();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn begin(&self) -> Result<Box<Connection>, rustls::Error> {
        Ok(Box::new(ServerConnection::new(self.config())?.into()))
    }
}

/// Creates a certified key from a chain and its key.
fn certified(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsConfigError> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsConfigError::NoKey,
        error => TlsConfigError::Malformed(error.into()),
    })?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(unfit)
}

/// A selector of certificates by the requested name. There is at least one certificate.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let usable =
            |it: &&Arc<CertifiedKey>| it.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = name.as_ref().and_then(|name| {
            let valid = |it: &&Arc<CertifiedKey>| is_valid_for(it, name);
            self.0.iter().filter(usable).find(valid)
        });
        named.or_else(|| self.0.iter().find(usable)).or(self.0.first()).cloned()
    }
}

fn is_valid_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|it| verify_server_name(&it, name).is_ok())
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer")
    }
}
