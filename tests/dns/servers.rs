//! A private unbound, and misbehaving servers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A private unbound with only these records on a free port. It is stopped on drop.
pub(crate) struct Unbound {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Unbound {
    pub(crate) fn start(folder: &Path, zones: &str) -> Self {
        // A port that was just free may be taken by now.
        let mut said = String::new();
        let started = (0..5).find_map(|_| Self::try_start(folder, zones, &mut said));
        started.unwrap_or_else(|| panic!("unbound: {said}"))
    }

    /// Starts it. Returns `None` if it exits before it serves; `said` then has its output.
    fn try_start(folder: &Path, zones: &str, said: &mut String) -> Option<Self> {
        let address = free();
        let data: String = zones
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let [owner, kind, data] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                format!("    local-data: '{owner} 300 IN {kind} {data}'\n")
            })
            .collect();
        let config = format!(
            "server:\n    interface: {}\n    port: {}\n    username: \"\"\n    chroot: \"\"\n\
             \x20   directory: \"{}\"\n    pidfile: \"\"\n    use-syslog: no\n    logfile: \"\"\n\
             \x20   do-daemonize: no\n    module-config: iterator\n    num-threads: 1\n\
             \x20   local-zone: . static\n\
             \x20   local-data: '. 300 IN SOA ns.test. hostmaster.test. 1 3600 900 86400 300'\n{data}\
             remote-control:\n    control-enable: no\n",
            address.ip(),
            address.port(),
            folder.display()
        );
        let file = folder.join("unbound.conf");
        fs::write(&file, config).unwrap();
        let child = Command::new("unbound").arg("-dc").arg(&file).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("unbound: {error}: see .ci/run"));
        // unbound writes a log line when it is ready. Do not test its port by connecting: without a
        // listener, a loopback connection can connect to itself and occupy the port.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serves =
            lines.by_ref().inspect(|line| *said += line).any(|it| it.contains("start of service"));
        if !serves {
            child.wait().unwrap();
            return None;
        }
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { address, child })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address that is free for UDP and TCP.
fn free() -> SocketAddr {
    let (_, _, address) = both();
    address
}

fn both() -> (UdpSocket, TcpListener, SocketAddr) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp, address);
        }
    }
}

/// Runs `command` with this input and returns its output.
pub(crate) fn filter(command: &mut Command, input: &str) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}: see .ci/run"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the number of open files and sockets of this process.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    Absent,
    Silent,
    WrongId,
    WrongQuestion,
    Garbage,
    /// Names that refer to themselves.
    Loops,
    /// Datagrams of maximum size.
    Huge,
    /// Truncated responses over UDP and TCP.
    Truncates,
    TruncatesAndCloses,
    TruncatesAndHangs,
    /// A hundred megabytes over TCP.
    TruncatesAndFloods,
    /// Datagrams without end.
    Endless,
}

/// Maximum number of 64 KiB blocks (out of 1,600) that one connection of `TruncatesAndFloods` could
/// send.
pub(crate) static FLOOD: AtomicUsize = AtomicUsize::new(0);

/// Starts a server with this misbehaviour until the end of the test.
pub(crate) fn misbehaving(how: Misbehaviour) -> SocketAddr {
    use Misbehaviour::*;
    if how == Absent {
        return free();
    }
    let (udp, tcp, address) = both();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            let query = &buffer[..length];
            // Without the OPT record at the end.
            let mut reply = query[..length - 11].to_vec();
            (reply[2], reply[3], reply[11]) = (0x81, 0x80, 0);
            let a = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x02";
            reply[7] = 1;
            reply.extend_from_slice(a);
            match how {
                Absent | Silent => continue,
                WrongId => reply[1] ^= 0xff,
                WrongQuestion => reply[13] ^= 1,
                Garbage => reply = (0..200).map(|n: u8| n.wrapping_mul(37)).collect(),
                Loops => {
                    let at = reply.len() - a.len();
                    let itself = 0xc000 | u16::try_from(at).unwrap();
                    reply[at..at + 2].copy_from_slice(&itself.to_be_bytes());
                }
                Huge => reply = vec![0xff; 65_507],
                Truncates | TruncatesAndCloses | TruncatesAndHangs | TruncatesAndFloods => {
                    reply[2] |= 2
                }
                Endless => reply[0] ^= 0xff,
            }
            let times = if how == Endless { 5_000 } else { 1 };
            for _ in 0..times {
                let _ = udp.send_to(&reply, client);
            }
        }
    });
    std::thread::spawn(move || {
        for mut client in tcp.incoming().flatten() {
            let mut query = [0; 512];
            let length = client.read(&mut query).unwrap_or(0);
            match how {
                Truncates if length > 4 => {
                    (query[4], query[5]) = (0x83, 0x80);
                    let _ = client.write_all(&query[..length]);
                }
                TruncatesAndCloses => {
                    let _ = client.write_all(&[1, 0, 7]);
                }
                TruncatesAndFloods => {
                    let chunk = [0xff; 1 << 16];
                    let sent = (0..1_600).take_while(|_| client.write_all(&chunk).is_ok()).count();
                    FLOOD.fetch_max(sent, Ordering::Relaxed);
                }
                // Until the client disconnects.
                _ => drop(client.read_to_end(&mut Vec::new())),
            }
        }
    });
    address
}
