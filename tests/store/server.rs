//! A private Redis server: on a Unix socket in a temporary folder, without persistence and without
//! a port.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use async_io::{Async, Timer};
use async_trait::async_trait;
use nobounce::{Address, Runtime};
use tempfile::TempDir;

/// The minimal runtime for a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting;

#[async_trait]
impl Runtime for Waiting {
    type Stream = Async<UnixStream>;

    async fn sleep_until(&self, at: Instant) {
        Timer::at(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        match address {
            Address::Unix(path) => Async::<UnixStream>::connect(path).await,
            Address::Tcp(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

pub(crate) struct Server {
    folder: TempDir,
    child: Child,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = run(&folder, options);
        Self { folder, child }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("redis.sock"))
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it `STOP`, which makes it hang, or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Restarts it without data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.child = run(&self.folder, &[]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it and waits until it accepts connections.
fn run(folder: &TempDir, options: &[&str]) -> Child {
    let socket = folder.path().join("redis.sock");
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(&socket)
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("needs redis-server: apt-get install redis-server");
    let mut output = child.stdout.take().unwrap();
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while !said.contains("now ready to accept connections") && !said.contains("The server is now") {
        let count = output.read(&mut buffer).unwrap();
        assert!(count > 0, "redis-server does not start:\n{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    // Reads its further log output, so that it never blocks.
    std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    child
}
