//! Listening sockets, as both adapters make them.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Address;

/// Connections that wait in the kernel to be accepted. An SMTP client waits for the server to speak:
/// it does not notice that the kernel dropped the end of its handshake, and is lost for good. Of 1,000
/// clients at once, the 128 of the standard library lose 14 to 32 %. Linux allows 4,096 by default
/// (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4_096;

/// A TCP listener. One for IPv6 is for IPv6 alone, so that `[::]:25` and `0.0.0.0:25` can be open side
/// by side.
pub(super) fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Elsewhere it means that two processes can listen at one address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A listener at the path of a Unix socket. A file that an earlier process left behind there, and at
/// which nobody listens any more, is replaced.
#[cfg(unix)]
pub(super) fn unix(path: &std::path::Path) -> io::Result<Socket> {
    let address = socket2::SockAddr::unix(path)?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None);
    let mut socket = new()?;
    if let Err(error) = socket.bind(&address) {
        // To connect to a file of any other type is refused as well.
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

/// Raises the backlog of a listener that somebody else has made to what the system allows. A larger
/// one is never lowered. If this fails, the listener keeps the one that it has.
pub(super) fn raise_backlog(listener: SockRef<'_>) {
    let _ = listener.listen(i32::MAX);
}

/// Writes to a socket without waiting. A few octets fit into the buffer of a new connection.
pub(super) fn send_at_once(socket: SockRef<'_>, octets: &[u8]) {
    let _ = socket.send(octets);
}

/// The error with the address that it is about.
pub(super) fn at(address: &Address, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}
