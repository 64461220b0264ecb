//! A gate between two Postfixes, as in SMTPD_PROXY_README: the first decides who may send, the
//! second trusts the gate.

use std::sync::Arc;

use nobounce::onward::Identify;
use nobounce::scorers::Gtube;
use nobounce::{Gate, Panel, Peer, Settings, serve};
use smol::Async;
use smol::net::{TcpListener, TcpStream};

use super::client::{CONTENT, MAIL, RCPT, RELAY_FORMS, queue_id, say};
use super::postfix::Postfix;
use super::{Smol, target};

const GTUBE: &str =
    "Subject: x\r\n\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n.";

#[test]
#[ignore = "needs root and an installed Postfix"]
fn between_two_postfixes() {
    let postfix = Postfix::start();
    let target = target(postfix.inner, Identify::XForward);
    let gate = Gate::new(Smol, Settings::new("gate.example.com"), target);
    let gate = Arc::new(gate.panel(Panel::new().scorer(Gtube)));
    smol::block_on(async {
        let listener = Async::new(postfix.filter.try_clone().unwrap()).unwrap();
        let listener = TcpListener::from(listener);
        let shared = gate.clone();
        let accepting = smol::spawn(async move {
            while let Ok((client, address)) = listener.accept().await {
                let gate = shared.clone();
                smol::spawn(async move {
                    let _ = serve(client, Peer::new(address), &gate).await;
                })
                .detach();
            }
        });
        let outside = || async { TcpStream::connect(("127.0.0.1", postfix.outer)).await.unwrap() };
        let hello = "EHLO client.example.com";

        let replies = say(outside().await, &[hello, MAIL, RCPT, "DATA", CONTENT, "QUIT"]).await;
        let held = postfix.held(queue_id(&replies));
        for fact in ["log_client_address=127.0.0.1", "log_protocol_name=ESMTP"] {
            assert!(held.contains(&format!("named_attribute: {fact}\n")), "{fact} in\n{held}");
        }

        // A refusal reaches the client, and the next message is still accepted.
        let lines = [hello, MAIL, RCPT, "DATA", GTUBE, MAIL, RCPT, "DATA", CONTENT, "QUIT"];
        let replies = say(outside().await, &lines).await;
        assert!(replies[5].starts_with("550 5.7.1"), "{replies:#?}");
        assert!(
            replies[9].starts_with("250 2.0.0 Ok") && replies[9].contains("queued as"),
            "{replies:#?}"
        );

        for (sender, recipient) in RELAY_FORMS {
            let (mail, rcpt) = (format!("MAIL FROM:{sender}"), format!("RCPT TO:{recipient}"));
            let replies = say(outside().await, &[hello, &mail, &rcpt]).await;
            assert!(replies[3].starts_with(['4', '5']), "{recipient}: {replies:?}");
        }
        gate.shut_down();
        gate.drained().await;
        accepting.cancel().await;
    });
}
