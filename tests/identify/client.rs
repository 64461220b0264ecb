//! A client without pipelining, with an arbitrary address.

use futures::future::join;
use nobounce::{Gate, Peer, serve};
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::net::unix::UnixStream;

use super::Smol;

/// Runs a session of `peer` that sends these lines one by one. Returns the last line of each reply,
/// beginning with the greeting.
pub async fn converse(gate: &Gate<Smol>, peer: Peer, lines: &[&str]) -> Vec<String> {
    let (client, server) = UnixStream::pair().unwrap();
    let (served, replies) = join(serve(server, peer, gate), say(client, lines)).await;
    // The result is ignored: a client that leaves without QUIT causes an error, but has received
    // all replies.
    let _ = served;
    replies
}

/// Runs the client's side over any connection.
pub async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, lines: &[&str]) -> Vec<String> {
    let mut replies = vec![hear(&mut stream).await];
    for line in lines {
        stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        replies.push(hear(&mut stream).await);
    }
    replies
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut line = Vec::new();
    loop {
        let mut octet = [0];
        if stream.read(&mut octet).await.unwrap_or(0) == 0 {
            return "closed".into();
        }
        line.push(octet[0]);
        if line.ends_with(b"\r\n") {
            if line.get(3) == Some(&b' ') {
                return String::from_utf8(line).unwrap().trim_end().into();
            }
            line.clear();
        }
    }
}

/// Returns the queue ID in `250 2.0.0 Ok: queued as ID`.
pub fn queue_id(replies: &[String]) -> &str {
    let mut ids = replies.iter().filter_map(|reply| reply.split_once("queued as "));
    ids.next().unwrap_or_else(|| panic!("nothing queued: {replies:#?}")).1
}

pub const MAIL: &str = "MAIL FROM:<sender@example.com>";
pub const RCPT: &str = "RCPT TO:<alice@example.org>";
pub const CONTENT: &str = "Subject: x\r\n\r\ntext\r\n.";

/// Sender and recipient forms with which open relays have been found (those of nmap's
/// `smtp-open-relay`). The server is `mx.example.org`, `[127.0.0.1]`.
pub const RELAY_FORMS: [(&str, &str); 16] = [
    ("<>", "<relay@foreign.example>"),
    ("<test@foreign.example>", "<relay@foreign.example>"),
    ("<test@mx.example.org>", "<relay@foreign.example>"),
    ("<test@[127.0.0.1]>", "<relay@foreign.example>"),
    ("<test@[127.0.0.1]>", "<relay%foreign.example@[127.0.0.1]>"),
    ("<test@[127.0.0.1]>", "<relay%foreign.example@mx.example.org>"),
    ("<test@[127.0.0.1]>", "<\"relay@foreign.example\">"),
    ("<test@[127.0.0.1]>", "<\"relay%foreign.example\">"),
    ("<test@[127.0.0.1]>", "<relay@foreign.example@[127.0.0.1]>"),
    ("<test@[127.0.0.1]>", "<\"relay@foreign.example\"@[127.0.0.1]>"),
    ("<test@[127.0.0.1]>", "<relay@foreign.example@mx.example.org>"),
    ("<test@[127.0.0.1]>", "<@[127.0.0.1]:relay@foreign.example>"),
    ("<test@[127.0.0.1]>", "<@mx.example.org:relay@foreign.example>"),
    ("<test@[127.0.0.1]>", "<foreign.example!relay>"),
    ("<test@[127.0.0.1]>", "<foreign.example!relay@[127.0.0.1]>"),
    ("<test@[127.0.0.1]>", "<foreign.example!relay@mx.example.org>"),
];

/// Returns the relay forms whose recipient is accepted, each tried in a separate session.
pub async fn open_relay_forms(gate: &Gate<Smol>) -> Vec<&'static str> {
    let mut open = Vec::new();
    for (sender, recipient) in RELAY_FORMS {
        let peer = Peer::new(([192, 0, 2, 66], 6666).into());
        let (mail, rcpt) = (format!("MAIL FROM:{sender}"), format!("RCPT TO:{recipient}"));
        let replies = converse(gate, peer, &["EHLO relay.example.net", &mail, &rcpt]).await;
        assert!(replies[2].starts_with("250"), "{replies:?}");
        if replies[3].starts_with('2') {
            open.push(recipient);
        }
    }
    open
}
