//! An example as a process with its own temporary folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::{env, fs, thread};

use tempfile::TempDir;

use super::PATIENCE;

pub(crate) struct Gate {
    child: Child,
    /// Lines of its standard output up to its end.
    output: Receiver<String>,
    pub(crate) address: SocketAddr,
    /// Its output before it listened.
    pub(crate) preface: Vec<String>,
    folder: TempDir,
}

impl Gate {
    /// Starts an example on a free port.
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        Self::run(example, &[&["--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts an example and returns when it listens.
    pub(crate) fn run(example: &str, arguments: &[&str]) -> Self {
        Self::run_by(Command::new(binary(example)), &binary(example), arguments)
    }

    /// Starts an example on a free port with a limit of file descriptors.
    #[cfg(any(feature = "smol", feature = "tokio"))]
    pub(crate) fn start_with_descriptors(example: &str, descriptors: usize) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""));
        let binary = binary(example);
        shell.arg(&binary);
        Self::run_by(shell, &binary, &["--listen", "127.0.0.1:0"])
    }

    /// Starts an example that reports its address on standard error, and returns both.
    #[cfg(feature = "front-door")]
    pub(crate) fn start_reporting_on_standard_error(
        example: &str,
        arguments: &[&str],
    ) -> (Self, SocketAddr) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary(example));
        command.args(arguments).current_dir(folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = errors.find_map(|line| {
            line.unwrap().strip_prefix("listening on ").map(|address| address.parse().unwrap())
        });
        let output = lines_of(child.stdout.take().unwrap());
        let address = address.unwrap();
        (Self { child, output, address, preface: Vec::new(), folder }, address)
    }

    pub(crate) fn run_by(mut command: Command, binary: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command
            .args(arguments)
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; `cargo build --examples` makes it", binary.display())
            });
        let output = lines_of(child.stdout.take().unwrap());
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gate = Self { child, output, address, preface: Vec::new(), folder };
        gate.address = loop {
            let line = gate.line().expect("it exited before it listened");
            match line.strip_prefix("listening on ") {
                Some(address) => break address.parse().unwrap(),
                None => gate.preface.push(line),
            }
        };
        assert_ne!(gate.address.port(), 0, "the real port");
        gate
    }

    /// Returns the next line of its output; `None` after it has exited.
    pub(crate) fn line(&self) -> Option<String> {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it neither reports its port nor exits"),
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }

    #[cfg(feature = "front-door")]
    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it exits by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        while self.line().is_some() {}
        self.child.wait().unwrap()
    }

    /// Stops it with a signal and checks that it exits cleanly.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}");
    }

    /// Returns the mail in its Maildir.
    pub(crate) fn maildir(&self) -> Vec<Vec<u8>> {
        let new = self.folder.path().join("maildir/new");
        let entries = fs::read_dir(new).into_iter().flatten();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, output) = channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    output
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of an example's binary: `examples/NAME` next to the folder of this test's
/// binary.
pub(crate) fn binary(example: &str) -> PathBuf {
    let own = env::current_exe().unwrap();
    let profile = own.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(example).with_extension(env::consts::EXE_EXTENSION)
}
