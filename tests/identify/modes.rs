//! The client as Postfix sees it.

use nobounce::Peer;
use nobounce::onward::{Identify, ProxyVersion};

use super::client::{CONTENT, MAIL, RCPT, converse, open_relay_forms, queue_id};
use super::gate;
use super::postfix::Postfix;

struct Client {
    address: &'static str,
    name: Option<&'static str>,
    hello: &'static str,
    /// Postfix's name for the address.
    known_as: &'static str,
}

const CLIENTS: [Client; 7] = [
    Client {
        address: "192.0.2.7:4321",
        name: Some("mail.example.com"),
        hello: "EHLO client.example.com",
        known_as: "192.0.2.7",
    },
    Client { address: "192.0.2.8:25", name: None, hello: "HELO here", known_as: "192.0.2.8" },
    Client {
        address: "[2001:db8::5]:65535",
        name: Some("six.example.com"),
        hello: "EHLO [IPv6:2001:db8::5]",
        known_as: "2001:db8::5",
    },
    Client {
        address: "[2001:db8:0:1::]:1024",
        name: None,
        hello: "EHLO six",
        known_as: "2001:db8:0:1::",
    },
    Client {
        address: "[::ffff:192.0.2.9]:1024",
        name: None,
        hello: "EHLO mapped.example.com",
        known_as: "192.0.2.9",
    },
    Client {
        address: "198.51.100.1:9",
        name: Some("under_score.example.com"),
        hello: "EHLO a_b+c=2D.[x]%s'`",
        known_as: "198.51.100.1",
    },
    Client {
        address: "198.51.100.2:9",
        name: None,
        hello: "EHLO NAME=[UNAVAILABLE]",
        known_as: "198.51.100.2",
    },
];

impl Client {
    fn peer(&self) -> Peer {
        let peer = Peer::new(self.address.parse().unwrap());
        match self.name {
            Some(name) => peer.named(name),
            None => peer,
        }
    }

    fn helo(&self) -> &'static str {
        self.hello.split_once(' ').unwrap().1
    }

    fn protocol(&self) -> &'static str {
        if self.hello.starts_with("EHLO") { "ESMTP" } else { "SMTP" }
    }

    /// Returns the client as in Postfix's log.
    fn logged_as(&self) -> String {
        let mark = if self.known_as.contains(':') { "IPv6:" } else { "" };
        format!("{mark}{}", self.known_as)
    }

    fn port(&self) -> &'static str {
        self.address.rsplit_once(':').unwrap().1
    }
}

/// Each client sends a message. The held message contains each of the client's `facts` exactly
/// once, and nothing else by these names.
fn every_client_is_told(
    postfix: &Postfix,
    port: u16,
    identify: Identify,
    facts: fn(&Client) -> Vec<(&'static str, String)>,
) {
    smol::block_on(async {
        let gate = gate(port, identify);
        for client in &CLIENTS {
            let lines = [client.hello, MAIL, RCPT, "DATA", CONTENT, "QUIT"];
            let replies = converse(&gate, client.peer(), &lines).await;
            let held = postfix.held(queue_id(&replies));
            for (name, value) in facts(client) {
                let start = format!("named_attribute: {name}=");
                let said: Vec<_> =
                    held.lines().filter_map(|line| line.strip_prefix(&start)).collect();
                assert_eq!(said, [value], "{name} of {} in\n{held}", client.address);
            }
        }
    });
}

/// Returns the facts that Postfix knows about a client that has connected directly. Its log has
/// attributes next to those of its milters.
fn connected(client: &Client, name: &str) -> Vec<(&'static str, String)> {
    let helo = client.helo().to_owned();
    let address = client.known_as.to_owned();
    vec![
        ("log_client_name", name.to_owned()),
        ("log_client_address", client.logged_as()),
        ("log_client_port", client.port().to_owned()),
        ("log_helo_name", helo.clone()),
        ("log_protocol_name", client.protocol().to_owned()),
        ("client_name", name.to_owned()),
        ("client_address", address),
        ("client_port", client.port().to_owned()),
        ("helo_name", helo),
        ("protocol_name", client.protocol().to_owned()),
    ]
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn by_xclient_postfix_sees_the_client() {
    let postfix = Postfix::start();
    every_client_is_told(&postfix, postfix.xclient, Identify::XClient, |client| {
        let mut facts = connected(client, client.name.unwrap_or("unknown"));
        facts.push(("reverse_client_name", client.name.unwrap_or("unknown").into()));
        facts
    });
    // The trace field also contains the client.
    smol::block_on(async {
        let gate = gate(postfix.xclient, Identify::XClient);
        let peer = Peer::new(([192, 0, 2, 7], 4321).into()).named("mail.example.com");
        let lines =
            ["EHLO one", MAIL, RCPT, "DATA", CONTENT, "EHLO two", MAIL, RCPT, "DATA", CONTENT];
        let replies = converse(&gate, peer, &lines).await;
        let held = postfix.held(queue_id(&replies));
        assert!(
            held.contains("Received: from one (mail.example.com [192.0.2.7])\n\tby mx."),
            "{held}"
        );
        let held = postfix.held(queue_id(&replies[6..]));
        assert!(
            held.contains("Received: from two (mail.example.com [192.0.2.7])\n\tby mx."),
            "{held}"
        );
        assert_eq!(open_relay_forms(&gate).await, [""; 0]);
    });
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn by_proxy_header_postfix_sees_the_client() {
    let postfix = Postfix::start();
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        // Postfix looks up names itself.
        let identify = Identify::Proxy(version);
        every_client_is_told(&postfix, postfix.proxy, identify, |client| {
            connected(client, "unknown")
        });
        let gate = gate(postfix.proxy, identify);
        assert_eq!(smol::block_on(open_relay_forms(&gate)), [""; 0]);
    }
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn by_xforward_postfix_logs_the_client() {
    let postfix = Postfix::start();
    every_client_is_told(&postfix, postfix.xforward, Identify::XForward, |client| {
        vec![
            ("log_client_name", client.name.unwrap_or("unknown").into()),
            ("log_client_address", client.logged_as()),
            ("log_client_port", client.port().into()),
            ("log_helo_name", client.helo().into()),
            ("log_protocol_name", client.protocol().into()),
            ("client_address", "127.0.0.1".into()),
            ("helo_name", "gate.example.com".into()),
        ]
    });
    let gate = gate(postfix.xforward, Identify::XForward);
    assert_eq!(smol::block_on(open_relay_forms(&gate)), [""; 0]);
}

/// The client gets Postfix's reply to its address or name.
#[test]
#[ignore = "needs root and an installed Postfix"]
fn the_clients_own_refusals_reach_it() {
    let postfix = Postfix::start();
    smol::block_on(async {
        let gate = gate(postfix.strict, Identify::XClient);
        let peer = || Peer::new(([203, 0, 113, 9], 4321).into());
        let replies = converse(&gate, peer(), &["EHLO a.example.com", MAIL, RCPT, RCPT]).await;
        let expected = "554 5.7.1 <unknown[203.0.113.9]>: Client host rejected: Not from there";
        assert_eq!(replies[3..], [expected, expected]);

        let peer = Peer::new(([192, 0, 2, 9], 4321).into());
        let lines = ["EHLO forged.example", MAIL, RCPT, "EHLO honest.example", MAIL, RCPT];
        let replies = converse(&gate, peer, &lines).await;
        assert_eq!(
            replies[3],
            "554 5.7.1 <forged.example>: Helo command rejected: That is not your name"
        );
        assert_eq!(replies[6], "250 2.1.5 Ok");
    });
}

/// If Postfix does not trust the gate, no mail is forwarded: every client gets 451.
#[test]
#[ignore = "needs root and an installed Postfix"]
fn refused_identity_sends_no_mail() {
    let postfix = Postfix::start();
    for (port, identify) in [
        (postfix.closed, Identify::XClient),
        (postfix.closed, Identify::XForward),
        (postfix.trusting, Identify::XClient),
        (postfix.trusting, Identify::XForward),
        (postfix.closed, Identify::Proxy(ProxyVersion::V1)),
    ] {
        let gate = gate(port, identify);
        let peer = Peer::new(([192, 0, 2, 9], 4321).into());
        let replies = smol::block_on(converse(&gate, peer, &["EHLO a.example.com", MAIL, RCPT]));
        assert!(replies[3].starts_with("451 4.3."), "{identify:?}: {replies:?}");
    }
}
