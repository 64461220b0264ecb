//! Between two halves of Postfix: internet → `smtpd_proxy_filter` → nobounce. Postfix names the
//! client with XFORWARD. Scorers see that client, and it gets their verdict during its session.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nobounce::peer::Voucher;
use nobounce::scorers::Gtube;
use nobounce::{
    ConnectContext, DataContext, Event, Gate, Opinion, Panel, Peer, RcptContext, Refusal, Scorer,
    ScorerError, Settings, relay,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{PATIENCE, Tokio, listen};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

#[test]
#[ignore = "needs root and an installed Postfix"]
fn xforward_client_is_scored_and_gets_the_reply() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let maildir = folder.path().join("maildir");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let gate = Gate::new(Tokio, settings(), relay::Maildir::new(&maildir))
        .panel(Panel::new().scorer(Gtube).scorer(Witness(seen.clone())))
        .observer({
            let seen = seen.clone();
            move |event: &Event<'_>| {
                if let Event::Ended(record) = event {
                    seen.lock().unwrap().records.push(record.to_string());
                }
            }
        });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Arc::new(gate);
    runtime.spawn(listen(listener, gate.clone()));
    let postfix = Postfix::start(&folder, address);
    let kept = || fs::read_dir(maildir.join("new")).map_or(0, Iterator::count);

    // Two clients. Postfix learns of them through XCLIENT, so they need no addresses on this
    // machine.
    let mut spike = postfix.connect("ADDR=198.51.100.7 NAME=spike.example.org PORT=4711");
    spike.say("EHLO helo.example.org", "250 ");
    spike.say("MAIL FROM:<a@example.org>", "250 ");
    spike.say("RCPT TO:<alice@example.com>", "250 ");
    let refused = spike.say("RCPT TO:<trap@example.com>", "550 5.7.1 No mail for traps, spike");
    assert!(refused.ends_with(".1)"), "no reference: {refused}");
    spike.say("DATA", "354 ");
    let mail = "From: a@example.org\r\nSubject: ham\r\n\r\ntext\r\n.";
    let taken = spike.say(mail, "250 2.0.0 Ok: queued as ");
    assert_eq!(kept(), 1, "{taken}");

    spike.say("MAIL FROM:<a@example.org>", "250 ");
    spike.say("RCPT TO:<alice@example.com>", "250 ");
    spike.say("DATA", "354 ");
    let spam = format!("From: a@example.org\r\nSubject: spam\r\n\r\n{GTUBE}\r\n.");
    spike.say(&spam, "550 5.7.1 Message refused: GTUBE");
    spike.say("QUIT", "221 ");
    assert_eq!(kept(), 1);

    let mut other = postfix.connect("ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE]");
    other.say("HELO [192.0.2.1]", "250 ");
    other.say("MAIL FROM:<>", "250 ");
    other.say("RCPT TO:<trap@example.com>", "550 5.7.1 No mail for traps, [192.0.2.1]");
    other.say("QUIT", "221 ");

    // Postfix disconnects after its client has disconnected. The last record follows after that.
    gate.shut_down();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, gate.drained()).await }).unwrap();
    let seen = seen.lock().unwrap();
    let spike = |peer: &Peer| {
        let helo = peer.helo.as_ref().unwrap();
        peer.address == Some("198.51.100.7:4711".parse().unwrap())
            && peer.name.as_deref() == Some("spike.example.org")
            && (helo.extended, &*helo.name) == (true, "helo.example.org")
    };
    // RCPT, RCPT, content; RCPT, content; RCPT.
    assert_eq!(seen.peers.len(), 6, "{:#?}", seen.peers);
    assert!(seen.peers[..5].iter().all(spike), "{:#?}", seen.peers);
    let last = &seen.peers[5];
    assert_eq!(last.address.map(|it| it.ip()), Some("2001:db8::7".parse().unwrap()), "{last:#?}");
    assert_eq!(last.name, None);
    assert!(!last.helo.as_ref().unwrap().extended);
    for Peer { vouched, .. } in &seen.peers {
        let Voucher::XForward(by) = vouched.address else { panic!("{vouched:?}") };
        assert!(seen.connected.contains(&by), "{vouched:?} is not one of {:?}", seen.connected);
        assert_eq!((vouched.name, vouched.helo), (vouched.address, vouched.address));
    }
    assert_eq!(seen.records.len(), 3, "{:#?}", seen.records);
    for record in &seen.records[..2] {
        let client = "client=spike.example.org[198.51.100.7] via=xforward[127.0.0.1]";
        assert!(record.contains(&format!(" {client} helo=\"helo.example.org\" ")), "{record}");
    }

    // The trace contains both hops in order.
    let message = fs::read_dir(maildir.join("new")).unwrap().next().unwrap().unwrap();
    let message = fs::read_to_string(message.path()).unwrap().replace("\r\n", "\n");
    let received: Vec<_> = message.split("Received: from ").skip(1).collect();
    assert!(received[0].starts_with("front.example.com ([127.0.0.1])"), "{message}");
    assert!(received[0].contains("(nobounce)"), "{message}");
    assert!(received[1].starts_with("helo.example.org (spike.example.org [198.51.100.7])"));
    assert!(received[1].contains("(Postfix)"), "{message}");
}

fn settings() -> Settings {
    let mut settings = Settings::new("gate.example.com");
    settings.xforward_from = "127.0.0.1".parse().unwrap();
    settings
}

/// The clients that the scorers saw.
#[derive(Default)]
struct Seen {
    connected: Vec<Option<SocketAddr>>,
    peers: Vec<Peer>,
    records: Vec<String>,
}

/// A scorer that records what it sees and refuses spam traps.
struct Witness(Arc<Mutex<Seen>>);

#[async_trait]
impl Scorer for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.0.lock().unwrap().connected.push(at.peer.address);
        Ok(Opinion::silent())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        self.0.lock().unwrap().peers.push((*at.peer).clone());
        if !at.recipient.path.address().starts_with(b"trap@") {
            return Ok(Opinion::silent());
        }
        let helo = at.peer.helo.as_ref().map(|helo| &*helo.name);
        let name = at.peer.name.as_deref().or(helo).unwrap_or("nobody");
        let status = nobounce::reply::EnhancedStatus::new(7, 1);
        Ok(Refusal::permanent(550, status, &format!("No mail for traps, {name}")).into())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        self.0.lock().unwrap().peers.push((*at.peer).clone());
        Ok(Opinion::silent())
    }
}

/// A private Postfix on a Unix socket. Its `smtpd_proxy_filter` is the gate.
struct Postfix<'f> {
    folder: &'f Path,
}

impl<'f> Postfix<'f> {
    fn start(folder: &'f TempDir, filter: SocketAddr) -> Self {
        let folder = folder.path();
        for new in ["postfix", "data", "queue"] {
            fs::create_dir(folder.join(new)).unwrap();
        }
        let (user, group) = owner("postfix");
        chown(folder.join("data"), Some(user), Some(group)).unwrap();
        let here = folder.display();
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {here}/queue\n\
             data_directory = {here}/data\n\
             maillog_file = {here}/mail.log\n\
             maillog_file_prefixes = {here}\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = all\n\
             myhostname = front.example.com\n\
             mydestination =\n\
             mynetworks =\n\
             alias_maps =\n\
             alias_database =\n\
             smtpd_relay_restrictions = reject_unauth_destination\n\
             relay_domains = example.com\n\
             relay_recipient_maps =\n\
             smtpd_authorized_xclient_hosts = 127.0.0.1\n\
             smtpd_proxy_filter = inet:{filter}\n\
             default_transport = nowhere:\n\
             relay_transport = nowhere:\n"
        );
        let mut master = String::from("front unix n - n - - smtpd\n");
        for (name, program) in [
            ("pickup", "60 1 pickup"),
            ("qmgr", "300 1 qmgr"),
            ("cleanup", "- 0 cleanup"),
            ("rewrite", "- - trivial-rewrite"),
            ("proxymap", "- - proxymap"),
            ("bounce", "- 0 bounce"),
            ("defer", "- 0 bounce"),
            ("error", "- - error"),
            ("retry", "- - error"),
            ("anvil", "- 1 anvil"),
        ] {
            let private = if ["pickup", "qmgr", "cleanup"].contains(&name) { "n" } else { "-" };
            master += &format!("{name} unix {private} - n {program}\n");
        }
        master += "postlog unix-dgram n - n - 1 postlogd\n";
        fs::write(folder.join("postfix/main.cf"), main).unwrap();
        fs::write(folder.join("postfix/master.cf"), master).unwrap();
        let postfix = Self { folder };
        assert!(postfix.run("start"), "Postfix does not start: {}", postfix.log());
        postfix
    }

    /// Connects a client with these XCLIENT attributes.
    fn connect(&self, xclient: &str) -> Client<'_> {
        let stream = UnixStream::connect(self.folder.join("queue/public/front")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { postfix: self, stream: BufReader::new(stream) };
        client.hear("220 ");
        client.say("EHLO tester.example", "250 ");
        client.say(&format!("XCLIENT {xclient}"), "220 ");
        client
    }

    fn run(&self, what: &str) -> bool {
        let config = self.folder.join("postfix");
        let mut command = Command::new("postfix");
        command.arg("-c").arg(config).arg(what).output().expect("postfix runs").status.success()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("mail.log")).unwrap_or_default()
    }
}

impl Drop for Postfix<'_> {
    fn drop(&mut self) {
        self.run("stop");
    }
}

/// Returns the IDs of a user and its group.
fn owner(name: &str) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    let mut fields = user.expect("Postfix is installed").split(':').skip(1).map(str::parse);
    let mut id = || fields.next().unwrap().unwrap();
    (id(), id())
}

/// A client of Postfix.
struct Client<'p> {
    postfix: &'p Postfix<'p>,
    stream: BufReader<UnixStream>,
}

impl Client<'_> {
    /// Sends a line and returns the last line of the reply, which must begin like this.
    fn say(&mut self, line: &str, beginning: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.hear(beginning)
    }

    fn hear(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.as_bytes().get(3) != Some(&b'-') {
                assert!(line.starts_with(beginning), "{line}\n{}", self.postfix.log());
                return line.into();
            }
        }
    }
}
