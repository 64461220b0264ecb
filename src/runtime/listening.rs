//! Listening sockets, shared by both adapters.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Address;

/// The backlog: connections that wait in the kernel to be accepted. If the backlog is full, the
/// kernel drops the last packet of the client's handshake. An SMTP client does not notice this,
/// because it waits for the server to speak first, and its connection is lost. With 1,000 clients
/// at once, the standard library's backlog of 128 loses 14 to 32 % of them. Linux allows 4,096 by
/// default (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4_096;

/// Creates a TCP listener. An IPv6 listener accepts only IPv6, so that `[::]:25` and `0.0.0.0:25`
/// can be open at the same time.
pub(super) fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On other systems this option lets two processes listen at one address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Creates a listener at the path of a Unix socket. A stale socket file of an earlier process, at
/// which no process listens any more, is replaced.
#[cfg(unix)]
pub(super) fn unix(path: &std::path::Path) -> io::Result<Socket> {
    let address = socket2::SockAddr::unix(path)?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None);
    let mut socket = new()?;
    if let Err(error) = socket.bind(&address) {
        // Connecting to a file of any other type is refused as well.
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
        if !is_in_use || !is_socket || !new()?.connect(&address).is_err_and(refused) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket = new()?;
        socket.bind(&address)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Raises the backlog of a listener that was created elsewhere to the system's maximum. A larger
/// backlog is never lowered. If this fails, the backlog remains unchanged.
pub(super) fn raise_backlog(listener: SockRef<'_>) {
    let _ = listener.listen(i32::MAX);
}

/// Writes to a socket without waiting. A few octets fit into the buffer of a new connection.
pub(super) fn send_at_once(socket: SockRef<'_>, octets: &[u8]) {
    let _ = socket.send(octets);
}

/// Adds the address to an error.
pub(super) fn at(address: &Address, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}
