//! TLS to an onward server, which is another gate.

use nobounce::Address;
use nobounce::onward::{OnwardSettings, TlsPolicy};
use nobounce::relay::Smtp;
use nobounce::tls::TlsClient;

use super::certificates::Certificates;
use super::client::Client;
use super::gate::{Server, Shelf};

const WIDE: usize = 65_536;
const TEXT: &str = "0123456789\r\n.\r\n";

/// Returns the number of lines that pass through the pipe within the test's time.
fn lines(width: usize) -> usize {
    if width < 10 { 100 } else { 20_000 }
}

/// Returns the replies to RCPT, and to the content if there was one, from a gate with this relay
/// target.
async fn relayed(server: &Server, width: usize, policy: TlsPolicy, tls: TlsClient) -> Vec<String> {
    let address: Address = "mx.example:25".parse().unwrap();
    let mut settings = OnwardSettings::new("gate.example");
    settings.tls = policy;
    let target = Smtp::with_tls(server.network(width), address, settings, tls);
    let gate = Server::new(target, None);
    let mut client = Client::new(gate.connect(WIDE));
    client.hears().await;
    client.says("EHLO client.example\r\n", 1).await;
    client.says("MAIL FROM:<a@client.example>\r\n", 1).await;
    let mut replies = vec![client.says("RCPT TO:<b@mx.example>\r\n", 1).await];
    if replies[0].starts_with('2') {
        client.says("DATA\r\n", 1).await;
        let text = TEXT.repeat(lines(width)).replace("\r\n.\r\n", "\r\n..\r\n");
        replies.push(client.says(&format!("Subject: x\r\n\r\n{text}.\r\n"), 1).await);
    }
    client.says("QUIT\r\n", 1).await;
    drop(client);
    gate.ended().await.unwrap();
    replies
}

const TAKEN: [&str; 2] = ["250 2.1.5 Ok\r\n", "250 2.0.0 Ok: queued as shelf\r\n"];

fn is_deferred(replies: &[String]) {
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert!(replies[0].starts_with("451 4."), "{replies:?}");
    assert!(!replies[0].to_ascii_lowercase().contains("certificate"), "{replies:?}");
}

#[tokio::test]
async fn server_with_a_verified_certificate_is_used() {
    let certificates = Certificates::new();
    // `Never` has no effect if there is a TLS client.
    for policy in [TlsPolicy::Must, TlsPolicy::May, TlsPolicy::Never] {
        for width in [1, 100, WIDE] {
            let shelf = Shelf::default();
            let server = Server::new(shelf.clone(), Some(certificates.server()));
            let client = certificates.client("mx.example");
            let replies = relayed(&server, width, policy, client).await;
            assert_eq!(replies[1], TAKEN[1], "{replies:?}");
            let message = shelf.only();
            assert!(message.starts_with("Received: from gate.example "), "{}", &message[..100]);
            assert!(message.contains(" with ESMTPS id "), "{}", &message[..500]);
            let text = TEXT.repeat(lines(width));
            assert!(message.ends_with(&text), "{} octets", message.len());
        }
    }
}

#[tokio::test]
async fn unverified_server_is_not_used_if_tls_is_required() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    for client in [certificates.client("other.example"), others.client("mx.example")] {
        let shelf = Shelf::default();
        let server = Server::new(shelf.clone(), Some(certificates.server()));
        is_deferred(&relayed(&server, WIDE, TlsPolicy::Must, client).await);
        assert!(shelf.messages().is_empty());
    }
}

#[tokio::test]
async fn unverified_server_is_used_in_plaintext_if_tls_is_optional() {
    let certificates = Certificates::new();
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(certificates.server()));
    let client = certificates.client("other.example");
    let replies = relayed(&server, WIDE, TlsPolicy::May, client).await;
    assert_eq!(replies[1], TAKEN[1], "{replies:?}");
    assert!(shelf.only().contains(" with ESMTP id "), "{}", shelf.only());
}

#[tokio::test]
async fn any_certificate_is_accepted_without_verification() {
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), Some(Certificates::new().server()));
    let client = TlsClient::unverified().unwrap();
    let replies = relayed(&server, WIDE, TlsPolicy::Must, client).await;
    assert_eq!(replies[1], TAKEN[1], "{replies:?}");
    assert!(shelf.only().contains(" with ESMTPS id "));
}

#[tokio::test]
async fn server_without_tls_follows_the_policy() {
    let shelf = Shelf::default();
    let server = Server::new(shelf.clone(), None);
    let client = TlsClient::unverified().unwrap();
    is_deferred(&relayed(&server, WIDE, TlsPolicy::Must, client.clone()).await);
    assert!(shelf.messages().is_empty());
    let replies = relayed(&server, WIDE, TlsPolicy::May, client).await;
    assert_eq!(replies[1], TAKEN[1], "{replies:?}");
    assert!(shelf.only().contains(" with ESMTP id "));
}

/// STARTTLS only concerns a gate and its client. The onward server's offer is not passed through.
#[tokio::test]
async fn starttls_of_the_onward_server_is_not_offered_to_clients() {
    let server = Server::new(Shelf::default(), Some(Certificates::new().server()));
    let address: Address = "mx.example:25".parse().unwrap();
    let gate = Server::new(Smtp::new(server.network(WIDE), address, "gate.example"), None);
    let mut client = Client::new(gate.connect(WIDE));
    client.hears().await;
    let offer = client.says("EHLO client.example\r\n", 1).await;
    assert!(offer.contains("PIPELINING") && !offer.contains("STARTTLS"), "{offer}");
    assert!(client.says("STARTTLS\r\n", 1).await.starts_with("502 "));
    assert_eq!(server.connections(), 1);
}
