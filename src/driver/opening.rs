//! How a client's connection begins, before SMTP does: a PROXY header, a TLS handshake, or neither.

use std::time::Duration;

use bytes::BytesMut;
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::handshake::handshake;
use super::input::Stash;
use super::{ServeError, proxied};
#[cfg(any(feature = "smol", feature = "tokio"))]
use crate::admission::ProxyError;
use crate::admission::{Place, TurnedAway};
use crate::deadline::{Awaiting, Deadline};
use crate::gate::Gate;
use crate::observer::Event;
use crate::peer::Peer;
use crate::runtime::{Runtime, within};
use crate::tls::Channel;

#[cfg(test)]
mod tests;

/// How long a client that is turned away is given to take its answer: it fits into any buffer.
const TURNING: Duration = Duration::from_secs(1);

/// Why a client is not served.
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(super) enum Refused {
    TurnedAway(TurnedAway),
    Unproxied(ProxyError),
}

/// Admits a client that has just connected, as far as its address tells.
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(super) fn admit<R: Runtime>(gate: &Gate<R>, peer: &Peer) -> Result<Place, Refused> {
    if gate.proxies.as_ref().is_some_and(|proxies| !proxies.include(peer)) {
        return Err(Refused::Unproxied(ProxyError::Stranger));
    }
    let mut place = gate.admission.enter().map_err(Refused::TurnedAway)?;
    // The client of a proxy is not known before its header.
    if gate.proxies.is_none() {
        settle(&mut place, peer, gate).map_err(Refused::TurnedAway)?;
    }
    Ok(place)
}

/// The client is known now. Does nothing the second time.
fn settle<R: Runtime>(place: &mut Place, peer: &Peer, gate: &Gate<R>) -> Result<(), TurnedAway> {
    let now = gate.runtime.now();
    let settled = match gate.counted(peer) {
        Some(address) => place.count_for(address, now),
        None => place.count_in_all(now),
    };
    gate.report_overload();
    settled
}

/// How a client begins.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Opening {
    Clear,
    #[cfg(feature = "tls")]
    Tls,
}

impl Opening {
    /// The connection, the client at its end, what it has said already, and its place among the
    /// others: `place`, if it was admitted before.
    pub(super) async fn of<C, R>(
        self,
        client: C,
        peer: Peer,
        gate: &Gate<R>,
        place: Option<Place>,
    ) -> Result<(Channel<C>, Peer, Stash, Place), ServeError>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send,
        R: Runtime,
    {
        let mut client = Channel::new(client);
        // Whom it speaks for may not be known yet, but that it is here counts from the beginning.
        let mut place = match place.map_or_else(|| gate.admission.enter(), Ok) {
            Ok(place) => place,
            Err(reason) => return Err(self.turn_away(client, &peer, reason, gate).await),
        };
        let (mut peer, mut stash) =
            match proxied::client_behind(&mut client, peer, &place, gate).await {
                Ok(behind) => behind,
                Err((peer, error)) => {
                    gate.observe(&Event::Unproxied { peer: &peer, error: &error });
                    return Err(error.into());
                }
            };
        if let Err(reason) = settle(&mut place, &peer, gate) {
            // Others are waiting to say who they are.
            drop(place);
            return Err(self.turn_away(client, &peer, reason, gate).await);
        }
        if self != Self::Clear {
            let wait = gate.settings.timeouts.tls;
            let wait = match place.is_stressed() {
                true => wait.min(gate.settings.stress.wait),
                false => wait,
            };
            let deadline = Deadline::after(gate.runtime.now(), wait, Awaiting::Tls);
            let ahead = std::mem::take(&mut stash.octets);
            peer.tls = Some(handshake(gate, &mut client, &peer, &ahead, Some(deadline)).await?);
        }
        Ok((client, gate.named(peer).await, stash, place))
    }

    /// Says why, to those who can read it, and does not wait for those who do not listen.
    async fn turn_away<C, R>(
        self,
        mut client: Channel<C>,
        peer: &Peer,
        reason: TurnedAway,
        gate: &Gate<R>,
    ) -> ServeError
    where
        C: AsyncRead + AsyncWrite + Unpin + Send,
        R: Runtime,
    {
        if self == Self::Clear {
            let mut reply = BytesMut::new();
            reason.reply().write(&mut reply);
            let deadline = Deadline::after(gate.runtime.now(), TURNING, Awaiting::Transmission);
            let tell = async {
                let _ = client.write_all(&reply).await;
                let _ = client.close().await;
            };
            within(&gate.runtime, Some(deadline), tell).await;
        }
        gate.observe(&Event::TurnedAway { peer, reason });
        reason.into()
    }
}
