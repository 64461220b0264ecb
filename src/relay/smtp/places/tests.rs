use std::sync::Mutex;

use futures::future::{BoxFuture, join, join_all};

use super::*;
use crate::envelope::Envelope;
use crate::outcome::{Outcome, RelayError};
use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn, envelope, recipient};
use crate::relay::{Smtp, Target};

fn client(address: [u8; 4]) -> Peer {
    Peer::new((address, 25).into())
}

/// Returns a server that greets, gives one of these replies to each line, and is silent after that.
fn server(replies: &[&str]) -> Script {
    let greeting = Turn { cue: Cue::Octets(0), says: b"220 onward.example\r\n".to_vec() };
    let mut script = Script::turns(b"\r\n", replies, Then::Hang);
    script.turns.insert(0, greeting);
    script
}

const EHLO: &str = "250 onward.example\r\n";
const OK: &str = "250 2.0.0 Ok\r\n";
const NO: &str = "550 5.1.1 No such user\r\n";

fn smtp(runtime: &Rehearsal) -> Smtp<Rehearsal> {
    let address = "192.0.2.25:25".parse().unwrap();
    Smtp::new(runtime.clone(), address, "mx.example").connections(1)
}

#[test]
fn networks_take_turns_for_connections() {
    let runtime = Rehearsal::new();
    let places = Arc::new(Places::<()>::new(1));
    let order = Mutex::new(Vec::new());
    runtime.run(async {
        let first = places.take(&runtime, &client([192, 0, 2, 1])).await;
        let visit = async |n: u8, address: [u8; 4]| {
            let place = places.take(&runtime, &client(address)).await;
            assert!(place.is_some());
            order.lock().unwrap().push(n);
        };
        let visits: Vec<BoxFuture<'_, ()>> = vec![
            Box::pin(visit(1, [192, 0, 2, 1])),
            Box::pin(visit(2, [192, 0, 2, 2])),
            Box::pin(visit(3, [192, 0, 2, 3])),
            Box::pin(visit(4, [198, 51, 100, 1])),
            Box::pin(visit(5, [198, 51, 100, 2])),
            Box::pin(visit(6, [203, 0, 113, 1])),
            Box::pin(async { drop(first) }),
        ];
        join_all(visits).await;
    });
    assert_eq!(*order.lock().unwrap(), [1, 4, 6, 2, 5, 3]);
    assert_eq!(places.lock().taken, 0);
    assert!(!places.are_short());
}

#[test]
fn abandoned_requests_leave_the_queue() {
    let runtime = Rehearsal::new();
    let places = Arc::new(Places::<()>::new(1));
    runtime.run(async {
        let first = places.take(&runtime, &client([192, 0, 2, 1])).await;
        let began = runtime.now();
        let waits = (0..100).map(|_| async {
            assert!(places.take(&runtime, &client([192, 0, 2, 1])).await.is_none());
        });
        join_all(waits).await;
        assert_eq!(runtime.now() - began, PATIENCE);
        drop(first);
        assert!(places.take(&runtime, &client([192, 0, 2, 1])).await.is_some());
    });
    assert!(places.lock().waiting.is_empty());
    assert_eq!(places.lock().taken, 0);
}

/// Runs two clients. The first is idle after RCPT while the second needs the only place. Then the
/// first sends DATA.
fn idle_behind_rcpt(second_connection: &[&str], third_connection: &[&str]) -> Outcome {
    let runtime = Rehearsal::with_each([
        server(&[EHLO, OK, OK]),
        server(second_connection),
        server(third_connection),
    ]);
    let smtp = smtp(&runtime);
    let mut envelope: Envelope = envelope("<a@example.com>");
    let recipient = recipient();
    let outcome = runtime.run(async {
        let mut idle = smtp.open(&client([192, 0, 2, 1]));
        let mut other = smtp.open(&client([192, 0, 2, 2]));
        assert!(matches!(idle.rcpt(&envelope, &recipient).await, Outcome::Accepted(_)));
        assert!(!idle.has_given_up());
        let began = runtime.now();
        let asked = other.rcpt(&envelope, &recipient).await;
        assert!(matches!(asked, Outcome::Accepted(_)), "{asked:?}");
        assert_eq!(runtime.now() - began, GRACE);
        assert!(idle.has_given_up());
        envelope.forward_paths.push(recipient.clone());
        let outcome = idle.renew(&envelope).await;
        assert!(other.has_given_up(), "the connection is idle now");
        outcome
    });
    assert_eq!(runtime.connections(), (3, 0));
    outcome
}

#[test]
fn idle_client_after_rcpt_loses_its_connection_and_resends_recipients() {
    let outcome = idle_behind_rcpt(&[EHLO, OK, OK], &[EHLO, OK, OK]);
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    let outcome = idle_behind_rcpt(&[EHLO, OK, OK], &[EHLO, OK, NO]);
    assert!(matches!(outcome, Outcome::Failed(RelayError::TransactionLost)), "{outcome:?}");
    assert_eq!(outcome.reply().code().value(), 451);
}

#[test]
fn client_in_a_command_keeps_its_connection_and_the_next_gets_451() {
    // The server delays its answer to the first RCPT.
    let runtime = Rehearsal::with(server(&[EHLO, OK]));
    let smtp = smtp(&runtime);
    let (envelope, recipient) = (envelope("<a@example.com>"), recipient());
    runtime.run(async {
        let mut busy = smtp.open(&client([192, 0, 2, 1]));
        let mut other = smtp.open(&client([192, 0, 2, 2]));
        let began = runtime.now();
        let first = busy.rcpt(&envelope, &recipient);
        let second = async {
            let outcome = other.rcpt(&envelope, &recipient).await;
            let reply = outcome.reply().to_string();
            assert_eq!(reply, "451 4.3.2 Too many connections to the next server, try again later");
            assert_eq!(runtime.now() - began, PATIENCE);
        };
        let (first, ()) = join(first, second).await;
        assert!(matches!(first, Outcome::Failed(RelayError::Late(_))), "{first:?}");
    });
    assert_eq!(runtime.connections(), (1, 0));
}

#[test]
fn disconnected_client_frees_its_connection() {
    let runtime = Rehearsal::with(server(&[EHLO, OK, OK]));
    let smtp = smtp(&runtime);
    let (envelope, recipient) = (envelope("<a@example.com>"), recipient());
    runtime.run(async {
        for _ in 0..3 {
            let mut relay = smtp.open(&client([192, 0, 2, 1]));
            assert!(matches!(relay.rcpt(&envelope, &recipient).await, Outcome::Accepted(_)));
            drop(relay);
        }
    });
    assert_eq!(runtime.connections(), (3, 0));
    assert_eq!(runtime.elapsed(), Duration::ZERO, "no session had to wait");
}

#[test]
fn recipients_are_resent_at_most_five_times_without_an_accepted_message() {
    let runtime = Rehearsal::with(server(&[EHLO, OK, OK]));
    let smtp = smtp(&runtime);
    let mut envelope = envelope("<a@example.com>");
    let recipient = recipient();
    runtime.run(async {
        let mut idle = smtp.open(&client([192, 0, 2, 1]));
        assert!(matches!(idle.rcpt(&envelope, &recipient).await, Outcome::Accepted(_)));
        let bare = envelope.clone();
        envelope.forward_paths.push(recipient.clone());
        for n in 1..=6 {
            let mut other = smtp.open(&client([192, 0, 2, 2]));
            assert!(matches!(other.rcpt(&bare, &recipient).await, Outcome::Accepted(_)));
            drop(other);
            let outcome = idle.renew(&envelope).await;
            assert_eq!(matches!(outcome, Outcome::Accepted(_)), n <= 5, "{n}: {outcome:?}");
        }
    });
}
