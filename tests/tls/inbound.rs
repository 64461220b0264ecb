//! Clients with TLS.

use std::time::Duration;

use nobounce::Settings;
use nobounce::driver::ServeError;
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::certificates::Certificates;
use super::client::Client;
use super::gate::{Server, Shelf};

const ENVELOPE: &str = "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n";
const WIDE: usize = 65_536;

/// Returns a client that has sent EHLO and STARTTLS and got a positive reply.
async fn ready(server: &Server, width: usize) -> Client {
    let mut client = Client::new(server.connect(width));
    assert!(client.hears().await.starts_with("220 mx.example"));
    let offer = client.says("EHLO client.example\r\n", 1).await;
    assert!(offer.contains("STARTTLS"), "{offer}");
    assert_eq!(client.says("STARTTLS\r\n", 1).await, "220 2.0.0 Ready to start TLS\r\n");
    client
}

/// Sends a message, from EHLO to QUIT.
async fn sends(client: &mut Client, text: &str) {
    let offer = client.says("EHLO client.example\r\n", 1).await;
    assert!(!offer.contains("STARTTLS"), "{offer}");
    assert!(client.says(ENVELOPE, 3).await.starts_with("354 "));
    let message = format!("Subject: x\r\n\r\n{text}.\r\n");
    assert_eq!(client.says(&message, 1).await, "250 2.0.0 Ok: queued as shelf\r\n");
    assert_eq!(client.says("QUIT\r\n", 1).await, "221 2.0.0 Bye\r\n");
}

#[tokio::test]
async fn starttls_encrypts_the_session() {
    let certificates = Certificates::new();
    let versions = [
        (&TLS12, ProtocolVersion::TLSv1_2, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        (&TLS13, ProtocolVersion::TLSv1_3, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ];
    for (version, agreed, name, cipher) in versions {
        for (width, lines) in [(1, 10), (7, 100), (512, 10_000), (WIDE, 100_000)] {
            let text = "0123456789\r\n".repeat(lines);
            let shelf = Shelf::default();
            let server = Server::new(shelf.clone(), Some(certificates.server()));
            let mut client = ready(&server, width).await;
            assert_eq!(client.upgrades(&certificates, version).await.unwrap(), agreed);
            sends(&mut client, &text).await;
            assert_eq!(client.hears().await, "", "the gate closes TLS first");
            client.closes().await;
            drop(client);
            server.ended().await.unwrap();

            let message = shelf.only();
            let trace = format!(
                "Received: from client.example ([192.0.2.1]) (using {name} with cipher \
                 {cipher}) by mx.example (nobounce) with ESMTPS id"
            );
            assert!(message.starts_with(&trace), "{}", &message[..300]);
            assert!(message.ends_with(&format!("\r\nSubject: x\r\n\r\n{text}")), "{message}");
            let records = server.records.lock().unwrap();
            assert!(records[0].contains(&format!(" tls={name}")), "{}", records[0]);
        }
    }
}

#[tokio::test]
async fn tls_from_the_first_octet() {
    let certificates = Certificates::new();
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(certificates.server()));
    let mut client = Client::new(server.connect_tls(WIDE));
    client.upgrades(&certificates, &TLS13).await.unwrap();
    assert!(client.hears().await.starts_with("220 mx.example"));
    sends(&mut client, "text\r\n").await;
    // Closing the connection without closing TLS is not an error.
    drop(client);
    server.ended().await.unwrap();
    assert!(shelf.only().contains(" with ESMTPS id "));
}

#[tokio::test]
async fn without_a_certificate_there_is_no_tls_at_all() {
    let server = Server::new(Shelf::default(), None);
    let _client = server.connect_tls(WIDE);
    assert!(matches!(server.ended().await, Err(ServeError::NoTls)));

    // Offered by mistake.
    let mut settings = Settings::new("mx.example");
    settings.capabilities.start_tls = true;
    let server = Server::with_settings(settings, Shelf::default(), None);
    let _client = ready(&server, WIDE).await;
    assert!(matches!(server.ended().await, Err(ServeError::NoTls)));
}

#[tokio::test]
async fn a_certificate_is_renewed_while_clients_come_and_go() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let tls = old.server();
    let server = Server::new(Shelf::default(), Some(tls.clone()));
    let mut before = ready(&server, WIDE).await;
    before.upgrades(&old, &TLS13).await.unwrap();
    tls.replace(&new.server());

    sends(&mut before, "goes on\r\n").await;
    let mut behind = ready(&server, WIDE).await;
    behind.upgrades(&new, &TLS13).await.unwrap();
    sends(&mut behind, "renewed\r\n").await;
    ready(&server, WIDE).await.upgrades(&old, &TLS13).await.unwrap_err();
}

/// Plaintext in one segment with STARTTLS.
#[tokio::test]
async fn commands_after_starttls_are_not_executed() {
    let certificates = Certificates::new();
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(certificates.server()));
    let mut client = Client::new(server.connect(WIDE));
    client.hears().await;
    client.says("EHLO client.example\r\n", 1).await;
    let injected = format!("STARTTLS\r\nEHLO evil.example\r\n{ENVELOPE}evil\r\n.\r\n");
    assert_eq!(
        client.says(&injected, 1).await,
        "554 5.5.0 SMTP protocol synchronization error\r\n"
    );
    assert_eq!(client.hears().await, "", "nothing more");
    drop(client);
    server.ended().await.unwrap();
    assert!(shelf.messages().is_empty());
}

/// Plaintext in separate segments before the handshake. It is an invalid beginning of the
/// handshake.
#[tokio::test]
async fn commands_instead_of_a_handshake_are_not_executed() {
    let certificates = Certificates::new();
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(certificates.server()));
    let mut client = ready(&server, WIDE).await;
    client.raw(format!("EHLO evil.example\r\n{ENVELOPE}evil\r\n.\r\n").as_bytes()).await;
    let _ = client.upgrades(&certificates, &TLS13).await;
    let ended = server.ended().await;
    assert!(matches!(ended, Err(ServeError::Handshake(_))), "{ended:?}");
    assert!(shelf.messages().is_empty());
}

#[tokio::test]
async fn client_with_another_ca_does_not_affect_the_gate() {
    let server = Server::new(Shelf::default(), Some(Certificates::new().server()));
    let mut client = ready(&server, WIDE).await;
    client.upgrades(&Certificates::new(), &TLS13).await.unwrap_err();
    drop(client);
    assert!(matches!(server.ended().await, Err(ServeError::Handshake(_))));
}

#[tokio::test]
async fn client_that_leaves_in_the_handshake_does_not_affect_the_gate() {
    let certificates = Certificates::new();
    let server = Server::new(Shelf::default(), Some(certificates.server()));
    drop(ready(&server, WIDE).await);
    assert!(matches!(server.ended().await, Err(ServeError::Handshake(_))));
    drop(server.connect_tls(WIDE));
    assert!(matches!(server.ended().await, Err(ServeError::Handshake(_))));
}

/// The handshake has a deadline with STARTTLS and with implicit TLS.
#[tokio::test]
async fn silent_client_times_out_in_the_handshake() {
    let mut settings = Settings::new("mx.example");
    settings.timeouts.tls = Duration::from_millis(1);
    let tls = Some(Certificates::new().server());
    let server = Server::with_settings(settings, Shelf::default(), tls);
    let _client = ready(&server, WIDE).await;
    assert!(matches!(server.ended().await, Err(ServeError::ClientStuck)));
    let _client = server.connect_tls(WIDE);
    assert!(matches!(server.ended().await, Err(ServeError::ClientStuck)));
}

/// Plaintext after the handshake breaks the connection.
#[tokio::test]
async fn plaintext_within_tls_is_not_executed() {
    let certificates = Certificates::new();
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(certificates.server()));
    let mut client = ready(&server, WIDE).await;
    client.upgrades(&certificates, &TLS13).await.unwrap();
    client.says("EHLO client.example\r\n", 1).await;
    client.raw(format!("{ENVELOPE}evil\r\n.\r\n").as_bytes()).await;
    assert!(matches!(server.ended().await, Err(ServeError::ClientLost(_))));
    assert!(shelf.messages().is_empty());
}
