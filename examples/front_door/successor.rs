//! Restart without a refused client: on SIGUSR2 a new process inherits the listeners. This process
//! ends when the new one is ready. No connection is lost, since the accept queue belongs to the
//! listener in the kernel.

use std::env;
use std::error::Error;
use std::os::fd::RawFd;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, close, getpid, getppid};
use tokio::process::{Child, Command};

use crate::doors::{Door, Service};
use crate::status::Listening;

/// Environment variable that names the process which the successor replaces.
const REPLACES: &str = "FRONT_DOOR_REPLACES";

/// The process that this one replaces, as long as that process lives.
pub(crate) struct Predecessor(Pid);

impl Predecessor {
    /// Finds the predecessor, which must be our parent process. A variable of other origin is
    /// ignored.
    pub(crate) fn find() -> Option<Self> {
        let pid = Pid::from_raw(env::var(REPLACES).ok()?.parse().ok()?);
        (pid == getppid()).then_some(Self(pid))
    }

    /// Ends the predecessor: it closes its listeners, finishes its transactions and releases the
    /// store.
    pub(crate) fn dismiss(&self) {
        if self.0 == getppid() {
            let _ = kill(self.0, Signal::SIGTERM);
        }
    }
}

/// The listeners to hand over to a successor.
pub(crate) struct Heritage(Vec<(Listening, Service)>);

impl Heritage {
    pub(crate) fn of(doors: &[Door]) -> std::io::Result<Self> {
        let kept = doors.iter().map(|door| Ok((door.listener.try_clone()?, door.service)));
        kept.collect::<std::io::Result<_>>().map(Self)
    }

    /// Starts the same program with the same arguments and these listeners. The new process ends
    /// this one with SIGTERM when it is ready. If the new process exits first, it has failed.
    pub(crate) fn hand_over(&self) -> Result<Child, Box<dyn Error>> {
        if env::var_os("NOTIFY_SOCKET").is_some() {
            return Err(
                "systemd manages this process; use `systemctl restart`, during which the systemd \
                 socket keeps clients waiting"
                    .into(),
            );
        }
        let mut arguments = env::args_os();
        let program = arguments.next().ok_or("the command line has no program name")?;
        let (first, descriptors) = self.inheritable()?;
        let names = self.0.iter().map(|(_, service)| service.name());
        let child = Command::new(program)
            .args(arguments)
            .env("LISTEN_FDS", self.0.len().to_string())
            .env("LISTEN_FDS_FIRST_FD", first.to_string())
            .env("LISTEN_FDNAMES", names.collect::<Vec<_>>().join(":"))
            .env_remove("LISTEN_PID")
            .env(REPLACES, getpid().to_string())
            .spawn();
        close_all(descriptors);
        Ok(child?)
    }

    /// Duplicates the descriptors to consecutive numbers, as the successor expects them, without
    /// close-on-exec.
    fn inheritable(&self) -> Result<(RawFd, Vec<RawFd>), Box<dyn Error>> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let count = self.0.len() as RawFd;
        let limit = RawFd::try_from(limit).unwrap_or(RawFd::MAX).min(1 << 16);
        // The highest numbers are the least likely to be in use.
        for first in (3..limit - count).rev().step_by(self.0.len()).take(64) {
            let mut copies = Vec::new();
            for ((listener, _), wanted) in self.0.iter().zip(first..) {
                copies.push(fcntl(listener, FcntlArg::F_DUPFD(wanted))?);
                if copies.last() != Some(&wanted) {
                    break;
                }
            }
            if copies.iter().zip(first..).filter(|(copy, wanted)| *copy == wanted).count()
                == self.0.len()
            {
                return Ok((first, copies));
            }
            close_all(copies);
        }
        Err("no free file descriptors; expected a higher `ulimit -n`".into())
    }
}

fn close_all(descriptors: Vec<RawFd>) {
    for descriptor in descriptors {
        let _ = close(descriptor);
    }
}
