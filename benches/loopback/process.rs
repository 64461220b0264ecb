//! The processes between source and sink.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

/// A process that listens on loopback. It is killed on drop.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: Option<TempDir>,
}

impl Process {
    /// Starts the example `on_tokio`, built as benchmarks are, in front of this server. It writes
    /// a record of each message to a pipe.
    pub(crate) fn on_tokio(server: SocketAddr) -> Self {
        let mut command = Command::new(example("on_tokio"));
        command.args(["--listen", "127.0.0.1:0", "--relay", &server.to_string()]);
        Self::that_tells(command)
    }

    /// Starts this benchmark as a sink in a separate process, so that it has its own file
    /// descriptors.
    pub(crate) fn sink() -> Self {
        let mut command = Command::new(env::current_exe().expect("we run"));
        command.arg("--sink");
        Self::that_tells(command)
    }

    /// Starts HAProxy as a TCP proxy to this server, with one thread and no log. Returns `None` if
    /// it is not installed.
    pub(crate) fn haproxy(server: SocketAddr, connections: usize) -> Option<Self> {
        let binary = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
        let binary = binary.iter().find(|binary| Path::new(binary).exists())?;
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let address = free_address();
        let configuration = folder.path().join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 1\n  maxconn {connections}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 300s\n  \
             timeout server 300s\n\
             listen smtp\n  bind {address} backlog 4096\n  server sink {server}\n"
        );
        fs::write(&configuration, text).expect("it is our folder");
        let child = Command::new(binary)
            .args(["-q", "-db", "-f"])
            .arg(&configuration)
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let process = Self { child, address, _folder: Some(folder) };
        for _ in 0..1_000 {
            // Without a listener, a loopback connection can connect to itself.
            let connected = TcpStream::connect(address).and_then(|stream| stream.local_addr());
            if connected.is_ok_and(|own| own != address) {
                return Some(process);
            }
            #[allow(clippy::disallowed_methods, reason = "it does not report when it listens")]
            thread::sleep(Duration::from_millis(10));
        }
        panic!("HAProxy does not listen");
    }

    /// Starts a process that prints `listening on ADDRESS`. All other output is discarded.
    fn that_tells(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{}: {error}", command.get_program().display());
        });
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
        let address = address.expect("it exited before it listened");
        thread::spawn(move || lines.for_each(drop));
        Self { child, address, _folder: None }
    }

    /// Returns the CPU time of all its threads. Ended threads are not included, but these
    /// processes end no thread during a measurement.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let nanoseconds = tasks.expect("it runs").filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Returns the resident memory in octets.
    pub(crate) fn resident(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.expect("Linux says so") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises the limit of file descriptors for this process and its children to the hard limit.
/// Returns the limit.
pub(crate) fn raise_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .expect("raising a limit up to the hard limit is allowed");
    usize::try_from(hard).unwrap_or(usize::MAX)
}

/// Builds the example and returns its path.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = env::current_exe().expect("we run");
    // target/release/deps/gate-0123, or the same below another target folder
    let profile = own.parent().and_then(Path::parent).expect("cargo's folder layout");
    let target = profile.parent().expect("cargo's folder layout");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--quiet",
            "--profile",
            "bench",
            "--features",
            "tokio",
            "--example",
            name,
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{name} cannot be built");
    target.join("release/examples").join(name)
}

/// Returns an unused address for programs that do not report the port they got.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).expect("a port is free")
}
