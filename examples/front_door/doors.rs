//! Listeners: ports that front_door opens, and sockets that systemd or a previous process hands
//! over.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::options::Options;
use crate::status::{Listening, StatusAddress};

/// Length of the accept queue. With the standard library's 128, a third of 1,000 simultaneous
/// clients is lost: an SMTP client waits for the server to speak first, so it does not repeat a
/// lost handshake.
const BACKLOG: i32 = 4_096;

pub(crate) struct Door {
    pub(crate) listener: Listening,
    pub(crate) service: Service,
}

/// The service of a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Smtp,
    /// SMTP with implicit TLS.
    Smtps,
    /// Metrics and the status page.
    Status,
}

impl Service {
    /// Returns the service of a socket with this name.
    fn named(name: &str) -> Self {
        [Self::Smtps, Self::Status].into_iter().find(|it| it.name() == name).unwrap_or(Self::Smtp)
    }

    /// Returns the name of sockets with this service, in `FileDescriptorName=`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Smtps => "smtps",
            Self::Status => "status",
        }
    }
}

/// Opens the ports from the options, in addition to the sockets that systemd holds. A process that
/// replaces another one takes over the listeners of that process instead and opens none.
pub(crate) fn open(options: &Options, replaces: bool) -> Result<Vec<Door>, String> {
    let mut doors = handed_over()?;
    if !replaces {
        for (option, addresses, service) in [
            ("--listen", &*options.listen, Service::Smtp),
            ("--tls-listen", &*options.tls_listen, Service::Smtps),
        ] {
            for address in addresses {
                let listener =
                    listen(*address).map_err(|error| refused(option, *address, &error))?;
                doors.push(Door { listener: Listening::Tcp(listener), service });
            }
        }
        if let Some(address) = &options.status {
            doors.push(Door { listener: page(address)?, service: Service::Status });
        }
    }
    if doors.iter().all(|door| door.service == Service::Status) {
        return Err(
            "nothing to listen on; expected --listen, such as --listen 0.0.0.0:25 --listen [::]:25, or a \
             socket from systemd"
                .to_owned(),
        );
    }
    for door in &doors {
        let ready = door.listener.set_nonblocking();
        ready.map_err(|error| format!("making a listener non-blocking failed: {error}"))?;
    }
    Ok(doors)
}

/// Opens the listener of the status server.
fn page(address: &StatusAddress) -> Result<Listening, String> {
    match address {
        StatusAddress::Tcp(address) => {
            let listener = listen(*address).map_err(|error| refused("--status", *address, &error));
            listener.map(Listening::Tcp)
        }
        StatusAddress::Unix(path) => Listening::at_path(path).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "another process listens there, or it is no socket",
                _ => "expected a file in a folder that exists and that the user who starts front_door may write",
            };
            format!("--status {address}: {error}; {remedy}")
        }),
    }
}

/// Opens a listener. An IPv6 listener accepts only IPv6, so that `[::]:25` and `0.0.0.0:25` can be
/// open at the same time.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(option: &str, address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; `ss -ltnp` shows which. If it is a front_door, send it SIGUSR2 to \
             make it start a new process that takes over the port"
        }
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs root; start as root with --user NAME, or let systemd open the socket"
        }
        io::ErrorKind::AddrNotAvailable => {
            "expected an address of this machine; `ip address` shows them"
        }
        _ => "expected ADDRESS:PORT of this machine, such as 0.0.0.0:25 or [::]:25",
    };
    format!("{option} {address}: {error}; {remedy}")
}

/// Checks whether the address can be bound, with any port. Leaves no listener open.
pub(crate) fn try_address(option: &str, address: SocketAddr) -> Result<(), String> {
    let probe = TcpListener::bind(SocketAddr::new(address.ip(), 0));
    probe.map(drop).map_err(|error| refused(option, address, &error))
}

/// Takes over the sockets if `LISTEN_PID` is our process; listenfd checks this. `LISTEN_FDNAMES`
/// contains their names in the same order (`FileDescriptorName=` in the unit).
fn handed_over() -> Result<Vec<Door>, String> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    let mut doors = Vec::new();
    for n in 0..sockets.len() {
        let name = names.next().unwrap_or_default();
        let service = Service::named(name);
        if service == Service::Status
            && let Ok(Some(listener)) = sockets.take_unix_listener(n)
        {
            doors.push(Door { listener: Listening::Unix(listener), service });
            continue;
        }
        let taken = sockets.take_tcp_listener(n).map_err(|error| {
            format!(
                "socket {n} (`{name}`) from systemd: {error}; expected ListenStream=PORT in the socket unit"
            )
        })?;
        let Some(listener) = taken else { continue };
        if !SockRef::from(&listener).is_listener().unwrap_or(false) {
            return Err(format!(
                "socket {n} (`{name}`) from systemd is the connection of a client, because the socket unit has \
                 Accept=yes; expected Accept=no, the default"
            ));
        }
        doors.push(Door { listener: Listening::Tcp(listener), service });
    }
    Ok(doors)
}
