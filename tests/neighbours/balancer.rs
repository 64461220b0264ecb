//! Behind HAProxy, which names the client with the PROXY protocol.

use std::fs;
use std::net::{SocketAddr, TcpListener as Probe};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nobounce::peer::Voucher;
use nobounce::{Event, Gate, Settings, relay};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::{PATIENCE, Tokio, listen};

#[test]
#[ignore = "needs an installed HAProxy"]
fn haproxy_identifies_the_client() {
    // HAProxy's own health checks have no client. Only version 2 of the protocol can say so.
    let cases = [("send-proxy", Voucher::Proxy(None)), ("send-proxy-v2", Voucher::Socket)];
    for (option, checks) in cases {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { timeout(PATIENCE, serves(option, checks)).await.unwrap() });
    }
}

async fn serves(option: &str, checks: Voucher) {
    let folder = tempfile::tempdir().unwrap();
    let (sender, mut peers) = unbounded_channel();
    let gate =
        Gate::new(Tokio, Settings::new("gate.example.com"), relay::Maildir::new(folder.path()))
            .expect_proxy("127.0.0.1".parse().unwrap())
            .observer(move |event| match event {
                Event::Connected { peer, .. } => sender.send((*peer).clone()).unwrap(),
                Event::Unproxied { error, .. } => panic!("{error}"),
                _ => {}
            });
    let gate = Arc::new(gate);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen(listener, gate.clone()));

    let haproxy = HaProxy::start(folder.path(), address, option);
    // HAProxy checks the server before it forwards clients.
    let check = peers.recv().await.unwrap();
    match checks {
        Voucher::Socket => assert_eq!(check.vouched.address, Voucher::Socket, "{check:?}"),
        _ => assert!(matches!(check.vouched.address, Voucher::Proxy(Some(_))), "{check:?}"),
    }
    let client = haproxy.connect("127.0.0.5").await;
    let own = client.local_addr().unwrap();
    let mut client = BufReader::new(client);
    let mut greeting = String::new();
    client.read_line(&mut greeting).await.unwrap();
    assert!(greeting.starts_with("220 gate.example.com ESMTP nobounce "), "{greeting}");
    loop {
        let peer = peers.recv().await.unwrap();
        if peer.address == Some(own) {
            let Voucher::Proxy(Some(by)) = peer.vouched.address else { panic!("{peer:?}") };
            assert_eq!(by.ip(), address.ip());
            break;
        }
    }
    client.write_all(b"QUIT\r\n").await.unwrap();
    let mut bye = String::new();
    client.read_line(&mut bye).await.unwrap();
    assert_eq!(bye, "221 2.0.0 Bye\r\n");
}

/// A private HAProxy, stopped on drop.
struct HaProxy {
    process: Child,
    address: SocketAddr,
}

impl HaProxy {
    fn start(folder: &std::path::Path, server: SocketAddr, option: &str) -> Self {
        let address = Probe::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
             listen smtp\n bind {address}\n server gate {server} {option} check\n"
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().expect("HAProxy is installed"), address }
    }

    /// Connects a client from this local address.
    async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from.parse::<std::net::IpAddr>().unwrap(), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
