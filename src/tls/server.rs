//! The gate's side of TLS.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{Connection, ServerConfig, ServerConnection};

use super::{TlsConfigError, certificates, unfit};

/// TLS towards clients: a certificate and its key. TLS 1.2 and 1.3 with forward secrecy; clients
/// are not asked for certificates. Cheap to clone; all clones are the same one, also when it is
/// [replaced](Self::replace).
#[derive(Clone)]
pub struct TlsServer(Arc<RwLock<Arc<ServerConfig>>>);

impl TlsServer {
    /// From PEM texts as certificate authorities and `certbot` write them: the certificate with
    /// those between it and the root, in this order, and the private key (PKCS #8, PKCS #1 or SEC 1).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsConfigError::NoKey,
            error => TlsConfigError::Malformed(error.into()),
        })?;
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(unfit)?;
        Ok(Self(Arc::new(RwLock::new(config.into()))))
    }

    /// From now on it has the certificate and the key of `renewed`, in every gate that it was given
    /// to: for a certificate that comes to its end. Handshakes that have begun, and connections,
    /// go on with the old one.
    pub fn replace(&self, renewed: &Self) {
        let renewed = renewed.config();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn begin(&self) -> Result<Box<Connection>, rustls::Error> {
        Ok(Box::new(ServerConnection::new(self.config())?.into()))
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer")
    }
}
