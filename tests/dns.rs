//! DNS lists and authentication against real programs: unbound serves the zones, OpenDKIM makes the
//! keys, and dkimpy signs. The scorers must agree with dkimpy and pyspf about the same mail.
//!
//! Needs Debian's unbound, opendkim-tools, python3-dkim, python3-dnspython and python3-spf;
//! `.ci/run` installs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "real servers use the wall clock")]

#[path = "dns/servers.rs"]
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use nobounce::dns::{Cache, Client, DomainName, Hickory, Record, RecordKind, Resolver};
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::panel::Seat;
use nobounce::panel::{FailurePolicy, Sitting};
use nobounce::peer::Helo;
use nobounce::scorers::{Authentication, DnsList, Dnsbl, HeloNames, ReverseNames, Rhsbl, Uribl};
use nobounce::tally::Tally;
use nobounce::tokio::Tokio;
use nobounce::verdict::Subject;
use nobounce::{
    ConnectContext, DataContext, Envelope, ForwardPath, Gate, Message, Opinion, Panel, RcptContext,
};
use nobounce::{Peer, ReversePath, Score, Scorer, ScorerError, Settings};
use nobounce::{Verdict, relay, serve};
use servers::{Misbehaviour, Unbound, misbehaving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::TokioAsyncReadCompatExt;

const REASON: &str = "needs unbound, opendkim-tools, python3-spf: see .ci/run";

/// Records that unbound serves in addition to the DKIM keys.
const ZONES: &str = r#"
1.2.0.192.zen.test. A 127.0.0.2
1.2.0.192.zen.test. A 127.0.0.4
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.test. A 127.0.0.3
9.2.0.192.zen.test. A 127.255.255.254
8.2.0.192.zen.test. A 203.0.113.1
1.2.0.192.good.test. A 127.0.9.3
spam.example.dbl.test. A 127.0.1.2
bad.com.uri.test. A 127.0.0.10
1.2.0.192.in-addr.arpa. PTR mx.example.org.
2.2.0.192.in-addr.arpa. PTR elsewhere.example.org.
mx.example.org. A 192.0.2.1
elsewhere.example.org. A 192.0.2.77
example.org. TXT "v=spf1 a:mx.example.org include:inc.example.org exists:%{ir}.ok.example.org -all"
inc.example.org. TXT "v=spf1 ip4:198.51.100.0/24 -all"
7.2.0.192.ok.example.org. A 127.0.0.2
soft.example.org. TXT "v=spf1 mx ~all"
soft.example.org. MX 10 mx.example.org.
loop.example.org. TXT "v=spf1 include:loop.example.org -all"
twice.example.org. TXT "v=spf1 -all"
twice.example.org. TXT "v=spf1 +all"
_dmarc.example.org. TXT "v=DMARC1; p=reject"
"#;

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn peer(address: &str) -> Peer {
    Peer::new(SocketAddr::new(address.parse().unwrap(), 4711))
}

fn envelope(address: &str, helo: &str, sender: &str) -> Envelope {
    let mut peer = peer(address);
    peer.helo = Some(Helo { extended: true, name: helo.into() });
    let id = SessionId::new("test").transaction(1);
    Envelope::new(id, Arc::new(peer), ReversePath::parse(format!("<{sender}>")).unwrap())
}

fn recipient() -> ForwardPath {
    ForwardPath::parse("<bob@example.net>").unwrap()
}

fn message(envelope: &Envelope, content: &[u8]) -> Message {
    let content = MailData::normalise(content);
    Message::new("mx.example.net", envelope, SystemTime::now(), content)
}

fn session() -> SessionId {
    SessionId::new("test")
}

/// Returns the symbols of an opinion, or the failure.
fn told(answer: Result<Opinion, ScorerError>) -> String {
    match answer {
        Ok(opinion) => {
            let symbols: Vec<_> = opinion.findings.iter().map(|it| it.symbol()).collect();
            symbols.join(" ")
        }
        Err(error) => format!("failed: {error}"),
    }
}

type Known = Arc<Cache<Client<Tokio>, Tokio>>;

fn client(server: SocketAddr) -> Known {
    Arc::new(Cache::new(Tokio, Client::new(Tokio, [server])))
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn dns_scorers_query_a_real_server() {
    let folder = tempfile::tempdir().unwrap();
    let unbound = Unbound::start(folder.path(), ZONES);
    let resolver = client(unbound.address);

    let zen = DnsList::new("zen.test").unwrap();
    let zen = zen.codes("127.0.0.[2;3]", "SBL", Score::points(4)).unwrap();
    let zen = zen.codes("127.0.0.[4..7]", "XBL", Score::points(6)).unwrap();
    let good = DnsList::new("good.test").unwrap();
    let good = good.codes("127.0.[0..255].[1..3]", "GOOD", Score::points(-2)).unwrap();
    let dnsbl = Dnsbl::new(resolver.clone()).list(zen.clone()).list(good);
    for (address, expected) in [
        ("192.0.2.1", "SBL XBL GOOD"),
        ("192.0.2.2", ""),
        ("2001:db8::1", "SBL"),
        ("192.0.2.9", "failed: zen.test refuses to answer our queries: 127.255.255.254"),
        ("192.0.2.8", "failed: zen.test is not a DNS list: it returned 203.0.113.1"),
    ] {
        assert_eq!(
            told(dnsbl.on_connect(&ConnectContext::new(&session(), &peer(address))).await),
            expected,
            "{address}"
        );
    }

    let dbl = DnsList::new("dbl.test").unwrap().symbol("DBL");
    let rhsbl = Rhsbl::new(resolver.clone()).list(dbl);
    let spam = envelope("192.0.2.1", "mx.example.org", "a@spam.example");
    assert_eq!(told(rhsbl.on_rcpt(&RcptContext::new(&spam, &recipient())).await), "DBL");

    let uri = DnsList::new("uri.test").unwrap().bits(2, "URI", Score::points(5)).unwrap();
    let uribl = Uribl::new(resolver.clone()).list(uri);
    let mail = message(&spam, b"Subject: x\n\nhttp://www.bad.com/ http://good.com/\n");
    assert_eq!(told(uribl.on_data(&DataContext::new(&spam, &mail)).await), "URI");

    let names = ReverseNames::new(resolver.clone());
    for (address, expected) in
        [("192.0.2.1", ""), ("192.0.2.2", "RDNS_UNCONFIRMED"), ("192.0.2.3", "RDNS_NONE")]
    {
        assert_eq!(
            told(names.on_connect(&ConnectContext::new(&session(), &peer(address))).await),
            expected
        );
    }
    let helo = HeloNames::new(resolver);
    for (said, expected) in [("mx.example.org", ""), ("no.example.org", "HELO_UNRESOLVED")] {
        let envelope = envelope("192.0.2.1", said, "a@example.org");
        assert_eq!(told(helo.on_rcpt(&RcptContext::new(&envelope, &recipient())).await), expected);
    }
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn long_answers_use_tcp_and_agree_with_hickory() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("\"{}\"", "x".repeat(250)) + &" \"0123456789\"".repeat(60);
    let zones = format!("{ZONES}long.test. TXT {long}\n");
    let unbound = Unbound::start(folder.path(), &zones);
    let ours = Client::new(Tokio, [unbound.address]);

    let mut connection = ConnectionConfig::udp();
    connection.port = unbound.address.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = unbound.address.port();
    let server = NameServerConfig::new(unbound.address.ip(), true, vec![connection, tcp]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let hickory = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let hickory = Hickory::new(hickory.build().unwrap());

    for (text, kind) in [
        ("long.test", RecordKind::Txt),
        ("1.2.0.192.zen.test", RecordKind::A),
        ("nothing.zen.test", RecordKind::A),
        ("mx.example.org", RecordKind::Aaaa),
        ("soft.example.org", RecordKind::Mx),
        ("1.2.0.192.in-addr.arpa", RecordKind::Ptr),
        ("twice.example.org", RecordKind::Txt),
    ] {
        let answers = [
            ours.lookup(&name(text), kind).await.unwrap(),
            hickory.lookup(&name(text), kind).await.unwrap(),
        ];
        let [ours, theirs] = answers.map(|answer| {
            let mut records: Vec<_> = answer.records.iter().map(|it| format!("{it:?}")).collect();
            records.sort();
            records
        });
        assert_eq!(ours, theirs, "{text}");
        if text == "long.test" {
            assert_eq!(ours.len(), 1);
        }
    }
    let Record::Txt(text) =
        ours.lookup(&name("long.test"), RecordKind::Txt).await.unwrap().records[0].clone()
    else {
        panic!("no text")
    };
    assert_eq!(text.len(), 850);
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn spf_agrees_with_pyspf() {
    let folder = tempfile::tempdir().unwrap();
    let unbound = Unbound::start(folder.path(), ZONES);
    let authentication = Authentication::new(client(unbound.address), "mx.example.net");
    let mut seen = std::collections::BTreeSet::new();
    for (address, sender) in [
        ("192.0.2.1", "a@example.org"),
        ("198.51.100.7", "a@example.org"),
        ("192.0.2.7", "a@example.org"),
        ("192.0.2.8", "a@example.org"),
        ("2001:db8::1", "a@example.org"),
        ("192.0.2.1", "a@soft.example.org"),
        ("192.0.2.2", "a@soft.example.org"),
        ("192.0.2.1", "a@loop.example.org"),
        ("192.0.2.1", "a@twice.example.org"),
        ("192.0.2.1", "a@nothing.example.org"),
    ] {
        let envelope = envelope(address, "mx.example.org", sender);
        let ours = told(authentication.on_rcpt(&RcptContext::new(&envelope, &recipient())).await);
        let theirs = pyspf(unbound.address, address, sender);
        assert_eq!(ours, format!("SPF_{}", theirs.to_uppercase()), "{address} {sender}");
        seen.insert(theirs);
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

/// Beginning of a Python program that uses the server in its first two arguments instead of the
/// system's.
const RESOLVER: &str = "import sys, dns.resolver\n\
                        ours = dns.resolver.Resolver(configure=False)\n\
                        ours.nameservers, ours.port = [sys.argv[1]], int(sys.argv[2])\n\
                        dns.resolver.default_resolver = ours\n";

/// Returns the result of python3-spf with this DNS server.
fn pyspf(server: SocketAddr, address: &str, sender: &str) -> String {
    let program = RESOLVER.to_owned()
        + "import spf\nprint(spf.check2(i=sys.argv[3], s=sys.argv[4], h='mx.example.org')[0])";
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    run(Command::new("/usr/bin/python3").args(["-c", &program, &host, &port, address, sender]))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}. {REASON}"));
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Makes a key with opendkim-genkey. Returns the zone record that it wrote.
fn key(folder: &Path, selector: &str) -> String {
    run(Command::new("opendkim-genkey").current_dir(folder).args([
        "--bits=1024",
        "--domain=example.org",
        "--selector",
        selector,
    ]));
    let text = std::fs::read_to_string(folder.join(format!("{selector}.txt"))).unwrap();
    let strings: Vec<_> = text.split('"').skip(1).step_by(2).collect();
    format!("{selector}._domainkey.example.org. TXT \"{}\"\n", strings.concat())
}

/// Returns the mail signed by dkimpy.
fn signed(folder: &Path, selector: &str, mail: &str) -> String {
    let mut signer = Command::new("dkimsign");
    signer.args([selector, "example.org"]).arg(folder.join(format!("{selector}.private")));
    servers::filter(&mut signer, &mail.replace('\n', "\r\n"))
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn signatures_agree_with_dkimpy() {
    let folder = tempfile::tempdir().unwrap();
    let keys = key(folder.path(), "one") + &key(folder.path(), "gone").replace("gone.", "other.");
    let unbound = Unbound::start(folder.path(), &(ZONES.to_owned() + &keys));
    let authentication = Authentication::new(client(unbound.address), "mx.example.net");
    let mail = "From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: signed\n\
                Date: Sat, 28 Nov 2026 00:00:00 +0000\nMessage-ID: <1@example.org>\n\nHello!\n..dots\n";
    let good = signed(folder.path(), "one", mail);
    let keyless = signed(folder.path(), "gone", mail);
    assert!(good.contains("DKIM-Signature:") && keyless.contains("s=gone"));
    for (mail, expected) in [
        (good.clone(), "DKIM_PASS DMARC_PASS"),
        (good.replace("Hello!", "Hullo!"), "DKIM_FAIL DMARC_FAIL_REJECT"),
        (good.replace("Subject: signed", "Subject: forged"), "DKIM_FAIL DMARC_FAIL_REJECT"),
        (keyless, "DKIM_PERMERROR DMARC_FAIL_REJECT"),
        (mail.to_owned(), "DKIM_NONE DMARC_FAIL_REJECT"),
    ] {
        let envelope = envelope("192.0.2.99", "mx.example.com", "list@other.example");
        let ours = told(
            authentication
                .on_data(&DataContext::new(&envelope, &message(&envelope, mail.as_bytes())))
                .await,
        );
        assert_eq!(ours, format!("SPF_NONE {expected}"));
        if mail.contains("DKIM-Signature:") {
            let theirs = dkimpy(unbound.address, &mail);
            assert_eq!(theirs, if expected.contains("DKIM_PASS") { "True" } else { "False" });
        }
    }
}

/// Returns the result of verifying the mail with python3-dkim and this DNS server.
fn dkimpy(server: SocketAddr, mail: &str) -> String {
    let program = RESOLVER.to_owned() + "import dkim\nprint(dkim.verify(sys.stdin.buffer.read()))";
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let mut verifier = Command::new("/usr/bin/python3");
    verifier.args(["-c", &program, &host, &port]);
    servers::filter(&mut verifier, mail).trim().to_owned()
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn arc_chains_agree_with_dkimpy() {
    let folder = tempfile::tempdir().unwrap();
    let unbound = Unbound::start(folder.path(), &(ZONES.to_owned() + &key(folder.path(), "one")));
    let authentication = Authentication::new(client(unbound.address), "mx.example.net");
    let mail = "From: Alice <alice@example.org>\nTo: list@example.org\nSubject: signed\n\
                Date: Sat, 28 Nov 2026 00:00:00 +0000\nMessage-ID: <1@example.org>\n\nHello!\n";
    let sealed = |mail: &str, found: &str| sealed(unbound.address, folder.path(), mail, found);
    let signed = signed(folder.path(), "one", mail);
    // The list changes the subject, which breaks the signature but not the chain. This is the
    // purpose of ARC.
    let changed = signed.replace("Subject: signed", "Subject: [list] signed");
    let once = sealed(&changed, "list.example.org; dkim=pass");
    let twice = sealed(&once, "forward.example.org; arc=pass");
    let given_up = sealed(&once.replace("Hello!", "Hullo!"), "forward.example.org; arc=fail");
    assert!(once.contains("cv=none") && !once.contains("i=2"), "{once}");
    assert!(twice.contains("ARC-Seal: i=2; cv=pass"), "{twice}");
    assert!(given_up.contains("ARC-Seal: i=2; cv=fail"), "{given_up}");

    let kept = |line: &&str| !(line.starts_with("ARC-") && line.contains(" i=1;"));
    let fields = twice.replace("\r\n ", "\n ");
    let without_first: Vec<_> = fields.split_inclusive("\r\n").filter(kept).collect();
    let without_first = without_first.concat().replace("\n ", "\r\n ");
    for (mail, dkim, expected) in [
        (signed, "DKIM_PASS", None),
        (once.clone(), "DKIM_FAIL", Some("ARC_PASS")),
        (twice.clone(), "DKIM_FAIL", Some("ARC_PASS")),
        (once.replace("Hello!", "Hullo!"), "DKIM_FAIL", Some("ARC_FAIL")),
        (twice.replace("Hello!", "Hullo!"), "DKIM_FAIL", Some("ARC_FAIL")),
        (twice.replace("[list]", "[lost]"), "DKIM_FAIL", Some("ARC_FAIL")),
        // The seals cover the results that the list reports.
        (
            twice.replace("i=1; list.example.org; dkim=pass", "i=1; list.example.org; spf=pass"),
            "DKIM_FAIL",
            Some("ARC_FAIL"),
        ),
        (given_up, "DKIM_FAIL", Some("ARC_FAIL")),
        (without_first, "DKIM_FAIL", Some("ARC_FAIL")),
    ] {
        let envelope = envelope("192.0.2.99", "mx.example.com", "list@other.example");
        let answer = authentication
            .on_data(&DataContext::new(&envelope, &message(&envelope, mail.as_bytes())))
            .await;
        let Opinion { findings, fields, .. } = answer.unwrap();
        let symbols: Vec<_> = findings.iter().map(|it| it.symbol()).collect();
        let chain = symbols.iter().copied().find(|it| it.starts_with("ARC_"));
        assert_eq!((symbols[1], chain), (dkim, expected), "{mail}");
        let field = str::from_utf8(fields[0].octets()).unwrap().replace("\r\n", "");
        let result = expected.map(|it| it.replace("ARC_", "arc=").to_lowercase());
        assert!(field.contains(result.as_deref().unwrap_or("dkim=pass")), "{field}");
        let theirs = arc_by_dkimpy(unbound.address, &mail);
        assert_eq!(theirs == "pass", expected == Some("ARC_PASS"), "{theirs}: {mail}");
    }
}

/// Returns the mail as forwarded by a host that has checked it: with its name and its results,
/// sealed by dkimpy.
fn sealed(server: SocketAddr, folder: &Path, mail: &str, found: &str) -> String {
    let program = RESOLVER.to_owned()
        + "import dkim\nmail, key = sys.stdin.buffer.read(), open(sys.argv[3], 'rb').read()\n\
           chain = dkim.arc_sign(mail, b'one', b'example.org', key, sys.argv[4].encode())\n\
           sys.stdout.buffer.write(b''.join(chain) + mail)";
    let (address, port) = (server.ip().to_string(), server.port().to_string());
    let host = found.split(';').next().unwrap();
    let mut signer = Command::new("/usr/bin/python3");
    signer.args(["-c", &program, &address, &port]).arg(folder.join("one.private")).arg(host);
    servers::filter(&mut signer, &format!("Authentication-Results: {found}\r\n{mail}"))
}

/// Returns python3-dkim's result for the chain: `pass`, or anything else.
fn arc_by_dkimpy(server: SocketAddr, mail: &str) -> String {
    let program = RESOLVER.to_owned()
        + "import dkim\nresult = dkim.arc_verify(sys.stdin.buffer.read())[0]\n\
           print((result or b'none').decode())";
    let (address, port) = (server.ip().to_string(), server.port().to_string());
    let mut verifier = Command::new("/usr/bin/python3");
    verifier.args(["-c", &program, &address, &port]);
    servers::filter(&mut verifier, mail).trim().to_owned()
}

#[tokio::test]
#[ignore = "needs unbound, opendkim-tools, python3-spf: see .ci/run"]
async fn a_whole_session_is_named_checked_and_annotated() {
    let folder = tempfile::tempdir().unwrap();
    let unbound = Unbound::start(folder.path(), &(ZONES.to_owned() + &key(folder.path(), "one")));
    let resolver = client(unbound.address);
    let maildir = folder.path().join("maildir");
    let mut settings = Settings::new("mx.example.net");
    settings.authserv_id = Some("mx.example.net".into());
    let gate = Gate::new(Tokio, settings, relay::Maildir::new(&maildir))
        .name_clients(resolver.clone(), Duration::from_secs(5))
        .panel(Panel::new().scorer(Authentication::new(resolver, "mx.example.net")));
    let (mut client, server) = tokio::io::duplex(65_536);
    let session = tokio::spawn(async move {
        serve(server.compat(), peer("192.0.2.1"), &gate).await.unwrap();
    });
    let mail = signed(
        folder.path(),
        "one",
        "From: Alice <alice@example.org>\nDate: Sat, 28 Nov 2026 00:00:00 +0000\nSubject: signed\n\nHello!\n",
    );
    let forged = "Authentication-Results: mx.example.net; spf=pass (forged)\r\n";
    for (say, expected) in [
        (String::new(), "220 "),
        ("EHLO mx.example.org\r\n".to_owned(), "250 "),
        ("MAIL FROM:<alice@example.org>\r\n".to_owned(), "250 "),
        ("RCPT TO:<bob@example.net>\r\n".to_owned(), "250 "),
        ("DATA\r\n".to_owned(), "354 "),
        (format!("{forged}{mail}.\r\n"), "250 "),
        ("QUIT\r\n".to_owned(), "221 "),
    ] {
        client.write_all(say.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") || last_line(&reply).as_bytes().get(3) != Some(&b' ') {
            let count = client.read_buf(&mut reply).await.unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&reply));
        }
        let reply = last_line(&reply);
        assert!(reply.starts_with(expected), "{reply}");
    }
    session.await.unwrap();

    let [entry] = &std::fs::read_dir(maildir.join("new")).unwrap().collect::<Vec<_>>()[..] else {
        panic!("not one message")
    };
    let kept = std::fs::read_to_string(entry.as_ref().unwrap().path()).unwrap();
    let unfolded = kept.replace("\r\n", "\n").replace("\n ", " ");
    assert!(unfolded.contains("from mx.example.org (mx.example.org [192.0.2.1])"), "{kept}");
    let results =
        unfolded.lines().find(|line| line.starts_with("Authentication-Results:")).unwrap();
    for expected in ["mx.example.net; spf=pass", "dkim=pass", "header.s=one", "dmarc=pass"] {
        assert!(results.contains(expected), "{expected}: {results}");
    }
    assert!(!kept.contains("(forged)"), "{kept}");
}

fn last_line(reply: &[u8]) -> &str {
    let text = str::from_utf8(reply).unwrap().trim_end();
    text.rsplit("\r\n").next().unwrap()
}

/// Every failure of a DNS server ends within the budget, follows the failure policy, is recorded,
/// and leaves no socket open.
#[tokio::test]
async fn servers_that_misbehave_are_failures() {
    use Misbehaviour::*;
    let policies = [FailurePolicy::Ignore, FailurePolicy::Defer];
    for behaviour in [
        Absent,
        Silent,
        WrongId,
        WrongQuestion,
        Garbage,
        Loops,
        Huge,
        Truncates,
        TruncatesAndCloses,
        TruncatesAndHangs,
        TruncatesAndFloods,
        Endless,
    ] {
        let server = misbehaving(behaviour);
        let before = servers::open_files();
        for policy in policies {
            let resolver = Client::new(Tokio, [server]).patience(Duration::from_secs(1), 1);
            let list = DnsList::new("zen.test").unwrap().weight(Score::points(9));
            let seat = Seat::new(Dnsbl::new(resolver).list(list));
            let panel =
                Panel::new().seat(seat.budget(Duration::from_millis(700)).on_failure(policy));
            let (mut tally, peer) = (Tally::new(), peer("192.0.2.1"));
            let began = Instant::now();
            let verdict = panel
                .ask(
                    &Tokio,
                    Subject::Connection(&session(), &peer),
                    &mut tally,
                    &mut Sitting::new(),
                )
                .await;
            let took = began.elapsed();
            assert!(took < Duration::from_millis(2_500), "{behaviour:?}: {took:?}");
            match (policy, verdict) {
                (FailurePolicy::Ignore, Verdict::Pass) => {}
                (_, Verdict::Refuse(refusal)) => assert!(refusal.is_transient()),
                (_, verdict) => panic!("{behaviour:?}: {verdict:?}"),
            }
            assert_eq!(tally.failures().count(), 1, "{behaviour:?}");
            assert_eq!(tally.entries().count(), 0, "{behaviour:?}");
        }
        // The server's end of a connection is a file of this process, too.
        let patience = Instant::now() + Duration::from_secs(10);
        while servers::open_files() > before {
            assert!(Instant::now() < patience, "{behaviour:?} leaves sockets open");
            tokio::task::yield_now().await;
        }
    }
    // The resolver stops reading an oversized response, so the server could send no more of it than
    // the buffers hold.
    let flood = servers::FLOOD.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1..400).contains(&flood), "{flood} blocks of 64 KiB");
}
