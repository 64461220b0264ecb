//! The client's TLS handshake.

use futures::io::{AsyncRead, AsyncWrite};

use super::ServeError;
use crate::deadline::Deadline;
use crate::gate::Gate;
use crate::peer::Tls;
use crate::runtime::{Runtime, within};
use crate::tls::Channel;

/// Upgrades the connection; `ahead` is what was read of the handshake before.
pub(super) async fn handshake<C, R>(
    gate: &Gate<R>,
    client: &mut Channel<C>,
    ahead: &[u8],
    deadline: Option<Deadline>,
) -> Result<Tls, ServeError>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    let tls = gate.tls.as_ref().ok_or(ServeError::NoTls)?;
    let tls = within(&gate.runtime, deadline, client.accept(tls, ahead)).await;
    tls.ok_or(ServeError::ClientStuck)?.map_err(ServeError::Handshake)
}
