//! Where clients come in: ports of our own, and sockets that systemd holds for us.

use std::env;
use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

use crate::options::Options;

pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    /// Whether clients begin with TLS.
    pub(crate) tls: bool,
}

/// Opens them all. A socket of systemd's outlives us: while we are started anew, clients wait.
pub(crate) fn open(options: &Options) -> io::Result<Vec<Door>> {
    let mut doors = handed_over()?;
    for (addresses, tls) in [(&options.listen, false), (&options.tls_listen, true)] {
        for address in addresses {
            let listener = TcpListener::bind(address)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            doors.push(Door { listener, tls });
        }
    }
    if doors.is_empty() {
        return Err(io::Error::other("no --listen, and no socket from systemd"));
    }
    for door in &doors {
        door.listener.set_nonblocking(true)?;
    }
    Ok(doors)
}

/// The sockets are ours if `LISTEN_PID` says so, which listenfd looks at; their names stand in
/// `LISTEN_FDNAMES` in the same order (`FileDescriptorName=` in the unit).
fn handed_over() -> io::Result<Vec<Door>> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    let mut doors = Vec::new();
    for n in 0..sockets.len() {
        let tls = names.next() == Some("smtps");
        if let Some(listener) = sockets.take_tcp_listener(n)? {
            doors.push(Door { listener, tls });
        }
    }
    Ok(doors)
}
