//! Certificates for one test run.

use nobounce::tls::{TlsClient, TlsConfigError, TlsServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and a certificate that it issued for `mx.example`.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["mx.example".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        Self { authority: authority.pem(), chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn server(&self) -> TlsServer {
        TlsServer::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn client(&self, name: &str) -> TlsClient {
        TlsClient::verified(name, self.authority.as_bytes()).unwrap()
    }
}

#[test]
fn unusable_certificates_are_reported_immediately() {
    let Certificates { authority, chain, key } = Certificates::new();
    let server = |chain: &str, key: &str| {
        TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).map(|_| ()).unwrap_err()
    };
    let broken = chain.replace("-----END", "----END");
    let garbled = chain.replacen("MI", "M!", 1);
    assert!(matches!(server("", &key), TlsConfigError::NoCertificate));
    assert!(matches!(server(&key, &key), TlsConfigError::NoCertificate));
    assert!(matches!(server(&broken, &key), TlsConfigError::Malformed(_)));
    assert!(matches!(server(&garbled, &key), TlsConfigError::Malformed(_)));
    assert!(matches!(server(&chain, ""), TlsConfigError::NoKey));
    assert!(matches!(server(&chain, &chain), TlsConfigError::NoKey));
    assert!(matches!(server(&authority, &key), TlsConfigError::Unfit(_)), "another's key");

    let client = |name: &str, roots: &str| {
        TlsClient::verified(name, roots.as_bytes()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(client("mx.example", ""), TlsConfigError::NoCertificate));
    assert!(matches!(client("mx.example", &broken), TlsConfigError::Malformed(_)));
    assert!(matches!(client("mx example", &authority), TlsConfigError::BadName(_)));
    assert!(matches!(client("", &authority), TlsConfigError::BadName(_)));
    assert!(TlsClient::verified("192.0.2.1", authority.as_bytes()).is_ok());
    // One file with both is common.
    TlsServer::from_pem(format!("{key}{chain}").as_bytes(), format!("{chain}{key}").as_bytes())
        .unwrap();
}

#[test]
fn nothing_secret_is_printed() {
    let certificates = Certificates::new();
    assert_eq!(format!("{:?}", certificates.server()), "TlsServer");
    let client = format!("{:?}", certificates.client("mx.example"));
    assert!(client.contains("mx.example") && client.len() < 100, "{client}");
}
