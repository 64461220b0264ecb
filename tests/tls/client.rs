//! A client in plaintext or with TLS, which it implements by driving rustls directly.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::certificates::Certificates;

pub(crate) struct Client {
    stream: DuplexStream,
    tls: Option<ClientConnection>,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self { stream, tls: None, heard: Vec::new() }
    }

    /// Sends octets in one segment and reads this many replies. Returns the last one.
    pub(crate) async fn says(&mut self, octets: &str, replies: usize) -> String {
        self.send(octets).await;
        let mut last = String::new();
        for _ in 0..replies {
            last = self.hears().await;
        }
        last
    }

    /// Reads a complete reply, or what arrived before the end of the connection.
    pub(crate) async fn hears(&mut self) -> String {
        loop {
            let text = str::from_utf8(&self.heard).unwrap();
            let lines = text.split_inclusive("\r\n");
            let end = lines
                .clone()
                .position(|line| line.ends_with("\r\n") && line.as_bytes().get(3) != Some(&b'-'));
            if let Some(end) = end {
                let length: usize = lines.take(end + 1).map(str::len).sum();
                let reply = self.heard.drain(..length).collect();
                return String::from_utf8(reply).unwrap();
            }
            if !self.read().await {
                return String::from_utf8(std::mem::take(&mut self.heard)).unwrap();
            }
        }
    }

    pub(crate) async fn send(&mut self, octets: &str) {
        match &mut self.tls {
            None => self.raw(octets.as_bytes()).await,
            Some(_) => {
                for octets in octets.as_bytes().chunks(8_192) {
                    self.tls.as_mut().unwrap().writer().write_all(octets).unwrap();
                    self.flush().await;
                }
            }
        }
    }

    /// Sends raw octets, with or without TLS.
    pub(crate) async fn raw(&mut self, octets: &[u8]) {
        // The other end may have closed.
        let _ = self.stream.write_all(octets).await;
    }

    /// Upgrades to TLS. There must be no plaintext after the last reply.
    pub(crate) async fn upgrades(
        &mut self,
        certificates: &Certificates,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<ProtocolVersion> {
        assert!(self.heard.is_empty(), "octets after 220: {:?}", self.heard);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(certificates.authority.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "mx.example".try_into().unwrap();
        self.tls = Some(ClientConnection::new(Arc::new(config), name).unwrap());
        while self.tls.as_ref().unwrap().is_handshaking() {
            self.flush().await;
            if self.tls.as_ref().unwrap().is_handshaking() && !self.gather().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush().await;
        Ok(self.tls.as_ref().unwrap().protocol_version().unwrap())
    }

    /// Closes with a TLS close notification.
    pub(crate) async fn closes(&mut self) {
        self.tls.as_mut().unwrap().send_close_notify();
        self.flush().await;
    }

    async fn read(&mut self) -> bool {
        if self.tls.is_none() {
            return self.stream.read_buf(&mut self.heard).await.unwrap() > 0;
        }
        let more = self.gather().await.unwrap();
        let mut buffer = [0; 16_384];
        while let Ok(length) = self.tls.as_mut().unwrap().reader().read(&mut buffer) {
            self.heard.extend_from_slice(&buffer[..length]);
            if length == 0 {
                return false;
            }
        }
        more
    }

    async fn gather(&mut self) -> io::Result<bool> {
        let mut octets = [0; 4_096];
        let length = self.stream.read(&mut octets).await?;
        let tls = self.tls.as_mut().unwrap();
        let mut octets = &octets[..length];
        while !octets.is_empty() {
            tls.read_tls(&mut octets)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(length > 0)
    }

    async fn flush(&mut self) {
        let tls = self.tls.as_mut().unwrap();
        let mut octets = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut octets).unwrap();
        }
        self.raw(&octets).await;
    }
}
