#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::envelope::SessionId;
use crate::rehearsal::{Rehearsal, Script, envelope, peer, recipient};
use crate::relay::{Relay, Smtp, Target};

/// A target with one place in front of a server that accepts everything.
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
