#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::envelope::SessionId;
use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn, envelope, peer, recipient};
use crate::relay::{Relay, Smtp, Target};
use std::time::Duration;

/// Returns a target with one place and a server that accepts everything.
fn smtp(runtime: &Rehearsal) -> Smtp<Rehearsal> {
    Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example").connections(1)
}

/// Repeats the recipient of a transaction that the server does not know.
async fn renew(relay: &mut dyn Relay, n: u32) -> Outcome {
    let mut envelope = envelope("<a@example.com>");
    envelope.id = SessionId::new("test").transaction(n);
    envelope.forward_paths.push(recipient());
    relay.renew(&envelope).await
}

#[test]
fn renewals_of_one_client_do_not_count_for_the_next_client_of_its_connection() {
    let runtime = Rehearsal::with(Script::smtp_server());
    let smtp = smtp(&runtime);
    runtime.run(async {
        for client in 1..=2 {
            let mut relay = smtp.open(&peer());
            for n in 1..=6 {
                let outcome = renew(&mut *relay, n).await;
                let is_accepted = matches!(outcome, Outcome::Accepted(_));
                assert_eq!(is_accepted, n <= 5, "client {client}, renewal {n}: {outcome:?}");
            }
            relay.close().await;
        }
    });
    assert_eq!(runtime.connections().0, 1, "the connection was pooled");
}

#[test]
fn renewals_count_on_pooled_connections_too() {
    let runtime = Rehearsal::with(Script::smtp_server());
    let smtp = smtp(&runtime);
    runtime.run(async {
        let mut relay = smtp.open(&peer());
        for n in 1..=6 {
            // Takes the place of the idle client and leaves a connection in the pool.
            let mut other = smtp.open(&peer());
            let outcome = other.rcpt(&envelope("<b@example.com>"), &recipient()).await;
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
            other.close().await;
            let connections = runtime.connections().0;
            let outcome = renew(&mut *relay, n).await;
            assert_eq!(matches!(outcome, Outcome::Accepted(_)), n <= 5, "{n}: {outcome:?}");
            assert_eq!(runtime.connections().0, connections, "the pooled connection was used");
        }
    });
}

#[test]
fn an_uncounted_connection_needs_no_place_after_a_disconnect() {
    // The server disconnects at MAIL.
    let greeting = Turn { cue: Cue::Octets(0), says: b"220 onward.example\r\n".to_vec() };
    let ehlo = "250-onward.example\r\n250 DSN\r\n";
    let mut script = Script::turns(b"\r\n", &[ehlo], Then::Close);
    script.turns.insert(0, greeting);
    let runtime = Rehearsal::with(script);
    let server = smtp(&runtime).server;
    runtime.run(async {
        let place = server.places.take(&runtime, &peer()).await;
        assert!(place.is_some());
        let mut connection = Connection::beyond_the_bound(server.clone(), Arc::new(peer()));
        assert!(!connection.comes_back(&recipient()).await);
    });
    assert_eq!(runtime.elapsed(), Duration::ZERO, "it did not queue for a slot");
    assert_eq!(runtime.connections().0, 2, "both tokens were sent");
}

#[test]
fn an_uncounted_connection_is_never_pooled_or_parked() {
    let runtime = Rehearsal::with(Script::smtp_server());
    let smtp = smtp(&runtime);
    runtime.run(async {
        let mut client = smtp.open(&peer());
        let asked = envelope("<a@example.com>");
        assert!(matches!(client.rcpt(&asked, &recipient()).await, Outcome::Accepted(_)));
        client.close().await;
        let mut connection = Connection::beyond_the_bound(smtp.server.clone(), Arc::new(peer()));
        let outcome = connection.ask_onward(Request::Recipient(&asked, &recipient())).await;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        assert_eq!(runtime.connections(), (2, 2), "it did not take the pooled connection");
        assert!(matches!(connection.lies, Lies::Here(_)), "its place cannot be taken back");
        connection.hang_up().await;
        drop(connection);
        assert_eq!(runtime.connections(), (2, 1), "it was closed");
    });
}

#[test]
fn futures_of_requests_fit_the_cache_of_the_allocator() {
    // glibc caches freed blocks of up to 1,032 octets for each thread. Larger blocks cost three
    // times as many instructions.
    let runtime = Rehearsal::with(Script::smtp_server());
    let mut relay = smtp(&runtime).open(&peer());
    let (envelope, recipient) = (envelope("<a@example.com>"), recipient());
    let message = crate::rehearsal::message("Subject: x\n\ntext\n");
    for request in [Request::Recipient(&envelope, &recipient), Request::Content(&envelope, message)]
    {
        let kind = request.kind();
        let octets = size_of_val(&*relay.ask(request));
        assert!(octets <= 1_032, "{kind:?}: {octets}");
    }
}
