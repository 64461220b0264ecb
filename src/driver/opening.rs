//! How a client's connection begins, before SMTP does: a PROXY header, a TLS handshake, or neither.

use futures::io::{AsyncRead, AsyncWrite};

use super::handshake::handshake;
use super::{ServeError, Stash, proxied};
use crate::deadline::{Awaiting, Deadline};
use crate::gate::Gate;
use crate::observer::Event;
use crate::peer::Peer;
use crate::runtime::Runtime;
use crate::tls::Channel;

/// How a client begins.
#[derive(PartialEq)]
pub(super) enum Opening {
    Clear,
    #[cfg(feature = "tls")]
    Tls,
}

impl Opening {
    /// The connection, the client at its end, and what it has said already.
    pub(super) async fn of<C, R>(
        self,
        client: C,
        peer: Peer,
        gate: &Gate<R>,
    ) -> Result<(Channel<C>, Peer, Stash), ServeError>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send,
        R: Runtime,
    {
        let mut client = Channel::new(client);
        let (mut peer, mut stash) = match proxied::client_behind(&mut client, peer, gate).await {
            Ok(behind) => behind,
            Err((peer, error)) => {
                gate.observe(&Event::Unproxied { peer: &peer, error: &error });
                return Err(error.into());
            }
        };
        if self != Self::Clear {
            let wait = gate.settings.timeouts.tls;
            let deadline = Deadline::after(gate.runtime.now(), wait, Awaiting::Tls);
            let ahead = std::mem::take(&mut stash.octets);
            peer.tls = Some(handshake(gate, &mut client, &ahead, Some(deadline)).await?);
        }
        Ok((client, gate.named(peer).await, stash))
    }
}
