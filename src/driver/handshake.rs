//! The TLS handshake with the client.

use futures::io::{AsyncRead, AsyncWrite};

use super::ServeError;
use crate::deadline::Deadline;
use crate::gate::{Gate, Terms};
use crate::peer::{Peer, TlsInfo};
use crate::runtime::{Runtime, within};
use crate::tls::Channel;

/// Upgrades the connection. `ahead` is the part of the handshake that was already read.
pub(super) async fn handshake<C, R>(
    gate: &Gate<R>,
    terms: &Terms<R>,
    client: &mut Channel<C>,
    peer: &Peer,
    ahead: &[u8],
    deadline: Option<Deadline>,
) -> Result<TlsInfo, ServeError>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    let tls = terms.tls.as_ref().ok_or(ServeError::NoTls)?;
    #[cfg(not(feature = "tls"))]
    let (turn, _) = (|| std::future::ready(std::io::Result::Ok(())), peer);
    #[cfg(feature = "tls")]
    let network = gate.network(peer);
    #[cfg(feature = "tls")]
    let turn = || gate.turns.take(&gate.runtime, network);
    let tls = within(&gate.runtime, deadline, client.accept(tls, ahead, turn)).await;
    let tls = tls.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()));
    #[cfg(feature = "tls")]
    if tls.is_err() {
        gate.turns.failed(network, gate.runtime.now());
    }
    tls.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => ServeError::ClientStuck,
        _ => ServeError::Handshake(error),
    })
}
