//! Values chosen by others (in DNS, or by the client): Postfix accepts everything that it is sent.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use nobounce::Peer;
use nobounce::attributes::{Attribute, ClientAttributes};
use nobounce::onward::Identify;

use super::client::{MAIL, RCPT, converse};
use super::gate;
use super::postfix::Postfix;

/// A connection to a server after EHLO.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut connection = Self(BufReader::new(stream));
        connection.hear();
        connection.say("EHLO test.example\r\n");
        connection
    }

    fn say(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        self.hear()
    }

    /// Returns the last line of a reply.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }
}

/// Returns a client with this attribute set to a value.
fn with<T>(
    attribute: impl Fn(&mut ClientAttributes) -> &mut Attribute<T>,
    value: T,
) -> ClientAttributes {
    let mut client = ClientAttributes::new("192.0.2.1:25".parse().unwrap());
    *attribute(&mut client) = Attribute::Known(value);
    client
}

/// Returns every name of up to two unusual labels and some longer ones, with and without a trailing
/// dot.
fn names() -> Vec<String> {
    let long = ["x".repeat(63), "x".repeat(64)];
    let labels =
        ["a", "-", "-a", "a-", "a-b", "_", "1", "*", "", "0x1", "a b", "a+b", "a/b", "[1]"];
    let labels: Vec<&str> = labels.into_iter().chain(long.iter().map(String::as_str)).collect();
    let mut names: Vec<String> = labels.iter().map(ToString::to_string).collect();
    for one in &labels {
        names.extend(labels.iter().map(|other| format!("{one}.{other}")));
    }
    names.extend([127, 128].map(|count| "a.".repeat(count) + "a"));
    names.extend(["203.0.113.7", "host-.isp.example", "gr\u{fc}n.example", "::1"].map(Into::into));
    let dotted: Vec<_> = names.iter().map(|name| format!("{name}.")).collect();
    names.into_iter().chain(dotted).collect()
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn name_is_sent_only_if_postfix_accepts_it() {
    let postfix = Postfix::start();
    let mut connection = Connection::new(postfix.xforward);
    let mut told = 0;
    for name in names() {
        let command = with(|it| &mut it.name, (*name).into()).xforward("NAME").remove(0);
        let command = str::from_utf8(&command).unwrap();
        let reply = connection.say(command);
        assert!(reply.starts_with("250 "), "{name:?}: {command:?}: {reply:?}");
        // A name that Postfix accepts is not withheld.
        let plain = name.strip_suffix('.').unwrap_or(&name);
        let as_it_is = format!("XFORWARD NAME={plain}\r\n");
        if plain.is_empty() || !plain.bytes().all(|octet| octet.is_ascii_graphic()) {
            assert_ne!(command, as_it_is);
            continue;
        }
        let reply = connection.say(&as_it_is);
        assert_eq!(reply.starts_with("250 "), command == as_it_is, "{name:?}: {reply:?}");
        told += usize::from(command == as_it_is);
        if !reply.starts_with("250 ") {
            // Postfix counts errors, so reconnect.
            connection = Connection::new(postfix.xforward);
        }
    }
    assert!(told > 50, "{told}");
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn no_value_of_an_attribute_is_refused() {
    let postfix = Postfix::start();
    let texts =
        ["", "a", "a b", "a+b=c", "\u{fc}", "\r\nQUIT", "\0", "\x7f", "-", "*", "[UNAVAILABLE]"];
    let long = [64, 65, 255, 256, 1_000].map(|count| "x".repeat(count));
    let longer = [42, 43, 85, 86].map(|count| "\u{fc}".repeat(count));
    let texts = texts.into_iter().chain(long.iter().chain(&longer).map(String::as_str));
    let mut all = vec![ClientAttributes::default(), ClientAttributes::unavailable()];
    for text in texts.chain(["SMTP", "esmtp", "ESMTPS", "LMTP"]) {
        all.push(with(|it| &mut it.name, text.into()));
        all.push(with(|it| &mut it.reverse_name, text.into()));
        all.push(with(|it| &mut it.protocol, text.into()));
        all.push(with(|it| &mut it.helo, text.into()));
        all.push(with(|it| &mut it.login, text.into()));
        all.push(with(|it| &mut it.ident, text.into()));
    }
    let addresses =
        ["192.0.2.1", "0.0.0.0", "::1", "::", "::ffff:192.0.2.1", "::192.0.2.1", "fe80::1"];
    for address in addresses.map(|it| it.parse().unwrap()) {
        all.push(with(|it| &mut it.address, address));
        all.push(with(|it| &mut it.destination_address, address));
    }
    all.extend([0, 1, 65_535].map(|port| with(|it| &mut it.port, port)));
    all.extend([0, 25].map(|port| with(|it| &mut it.destination_port, port)));
    for client in all {
        // Postfix offers LOGIN with SASL only, but always accepts it.
        let offered = "NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
        let command = client.xclient(offered).unwrap();
        let command = str::from_utf8(&command).unwrap();
        let reply = Connection::new(postfix.xclient).say(command);
        assert!(reply.starts_with("220 "), "{command:?}: {reply:?}");
        let mut connection = Connection::new(postfix.xforward);
        for command in client.xforward("NAME ADDR PORT PROTO HELO IDENT SOURCE") {
            let command = str::from_utf8(&command).unwrap();
            let reply = connection.say(command);
            assert!(reply.starts_with("250 "), "{command:?}: {reply:?}");
        }
    }
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn a_client_with_an_odd_name_is_served() {
    let postfix = Postfix::start();
    for (port, identify) in
        [(postfix.xclient, Identify::XClient), (postfix.xforward, Identify::XForward)]
    {
        let gate = gate(port, identify);
        for name in ["203.0.113.7.", "host-.isp.example.", "*.example", "a..b", &"x".repeat(300)] {
            let mut peer = Peer::new(([192, 0, 2, 7], 4711).into());
            peer.name = Some(name.into());
            peer.reverse_name = Some(name.into());
            let hello = &*format!("EHLO {name}");
            let replies = smol::block_on(converse(&gate, peer, &[hello, MAIL, RCPT]));
            assert!(replies[3].starts_with("250 "), "{identify:?} {name}: {replies:?}");
        }
    }
}
