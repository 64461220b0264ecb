use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::Connection;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Channel, TlsClient, TlsConfigError, TlsServer};

/// Returns a turn that is always free.
fn free() -> std::future::Ready<io::Result<()>> {
    std::future::ready(Ok(()))
}

/// A stream to a peer that answers at once.
#[derive(Clone)]
struct Line(Arc<Mutex<End>>);

struct End {
    tls: Box<Connection>,
    /// The peer has closed: its output can be read, but nothing can be written to it.
    closed: bool,
}

fn server() -> TlsServer {
    let key = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
    let (chain, key) = (key.cert.pem(), key.signing_key.serialize_pem());
    TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

impl Line {
    fn to(tls: Box<Connection>) -> Self {
        Self(Arc::new(Mutex::new(End { tls, closed: false })))
    }

    fn to_server() -> Self {
        Self::to(server().begin().unwrap())
    }

    fn says(&self, octets: &[u8]) {
        self.0.lock().unwrap().tls.writer().write_all(octets).unwrap();
    }

    fn heard(&self) -> String {
        let mut octets = [0; 1_000];
        let length = self.0.lock().unwrap().tls.reader().read(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    fn closes(&self) {
        self.0.lock().unwrap().closed = true;
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let end = &mut *self.0.lock().unwrap();
        assert!(end.tls.wants_write() || end.closed, "no octets are written");
        if !end.tls.wants_write() {
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(end.tls.write_tls(&mut buffer))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = &mut *self.0.lock().unwrap();
        if end.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = end.tls.read_tls(&mut octets);
        end.tls.process_new_packets().unwrap();
        Poll::Ready(length)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns a TLS channel to a server.
async fn connected(line: &Line) -> Channel<Line> {
    let mut channel = Channel::new(line.clone());
    let tls = channel.connect(&TlsClient::unverified().unwrap()).await.unwrap();
    assert_eq!(&*tls.version, "TLSv1.3");
    channel
}

#[test]
fn data_before_close_is_read() {
    pollster::block_on(async {
        let line = Line::to_server();
        let mut channel = connected(&line).await;
        line.says(b"552 5.3.4 Too big\r\n");
        line.closes();
        let written = channel.write(b"more content").await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut heard = String::new();
        channel.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "552 5.3.4 Too big\r\n");
    });
}

#[test]
fn segments_arrive_in_order() {
    pollster::block_on(async {
        let line = Line::to_server();
        let mut channel = connected(&line).await;
        let segments = ["MAIL FROM:<>\r\n", "", "RCPT TO:<b@mx.example>\r\n"];
        let slices = segments.map(|segment| IoSlice::new(segment.as_bytes()));
        let written = channel.write_vectored(&slices).await.unwrap();
        assert_eq!(written, segments.concat().len());
        channel.flush().await.unwrap();
        assert_eq!(line.heard(), segments.concat());
    });
}

/// A channel is never used in plain text once an upgrade has begun, even if the handshake failed.
#[test]
fn channel_is_never_plaintext_after_an_upgrade() {
    pollster::block_on(async {
        let line = Line::to_server();
        let mut channel = Channel::new(line.clone());
        line.closes();
        channel.connect(&TlsClient::unverified().unwrap()).await.unwrap_err();
        line.0.lock().unwrap().closed = false;
        // The server accepts a ClientHello and would fail on anything else.
        let _ = channel.write(b"MAIL FROM:<>\r\n").await;
        let _ = channel.flush().await;
        assert!(line.0.lock().unwrap().tls.is_handshaking());
    });
}

/// A ClientHello that was read together with a preceding PROXY header.
#[test]
fn a_handshake_may_have_been_read_ahead() {
    pollster::block_on(async {
        for all in [true, false] {
            let mut client = TlsClient::unverified().unwrap().begin().unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            let line = Line::to(client);
            let (ahead, _) = hello.split_at(if all { hello.len() } else { 100 });
            let mut channel = Channel::new(line.clone());
            if !all {
                // The rest is never sent.
                line.closes();
            }
            let accepted = channel.accept(&server(), ahead, free).await;
            assert_eq!(accepted.is_ok(), all, "{accepted:?}");
        }
        let mut channel = Channel::new(Line::to_server());
        channel.accept(&server(), b"EHLO client.example\r\n", free).await.unwrap_err();
    });
}

/// Returns the certificate that a client gets in a complete handshake.
fn shown(server: &TlsServer, client: &TlsClient) -> CertificateDer<'static> {
    let (mut server, mut client) = (server.begin().unwrap(), client.begin().unwrap());
    while server.is_handshaking() || client.is_handshaking() {
        for _ in 0..2 {
            let mut octets = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut octets).unwrap();
            }
            let mut octets = &octets[..];
            while !octets.is_empty() {
                server.read_tls(&mut octets).unwrap();
                server.process_new_packets().unwrap();
            }
            std::mem::swap(&mut server, &mut client);
        }
    }
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn certificate_is_selected_by_server_name() {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pems = [&["mx.example"][..], &["mx.example.net", "*.example.com"], &["mx.example.net"]];
    let pems = pems.map(|names| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority);
        (certificate.unwrap().pem(), key.serialize_pem())
    });
    let server = TlsServer::from_pems(pems.clone()).unwrap();
    let certificate = |n: usize| CertificateDer::from_pem_slice(pems[n].0.as_bytes()).unwrap();
    let verified = |name| TlsClient::verified(name, authority.pem().as_bytes()).unwrap();
    for (name, number) in
        [("mx.example", 0), ("MX.example.net", 1), ("mx.example.com", 1), ("mx.example.net", 1)]
    {
        assert!(shown(&server, &verified(name)) == certificate(number), "{name}");
    }
    // No name, and names without a certificate.
    assert!(shown(&server, &TlsClient::unverified().unwrap()) == certificate(0));
    let none = TlsServer::from_pems([] as [(&str, &str); 0]).unwrap_err();
    assert!(matches!(none, TlsConfigError::NoCertificate));
    let mixed =
        TlsServer::from_pems([&pems[0], &(pems[1].0.clone(), pems[0].1.clone())].map(Clone::clone));
    assert!(
        matches!(mixed.unwrap_err(), TlsConfigError::Unfit(_)),
        "the key of another certificate"
    );
}

#[test]
fn a_configuration_of_rustls_is_taken_without_early_data() {
    let key = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
    let chain = vec![key.cert.der().clone()];
    let pkcs8 = key.signing_key.serialize_der().try_into().unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, pkcs8)
        .unwrap();
    config.max_early_data_size = 1_000;
    let server = TlsServer::from_config(config);
    assert_eq!(server.config().max_early_data_size, 0);
    assert!(shown(&server, &TlsClient::unverified().unwrap()) == *key.cert.der());
}
