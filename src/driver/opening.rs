//! The start of a client's connection, before SMTP: a PROXY header, a TLS handshake, or neither.

use std::time::Duration;

use bytes::BytesMut;
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::handshake::handshake;
use super::input::Stash;
use super::{ServeError, proxied};
#[cfg(any(feature = "smol", feature = "tokio"))]
use crate::admission::ProxyError;
use crate::admission::{AdmissionError, AdmissionGuard};
use crate::deadline::{Awaiting, Deadline};
use crate::gate::{Gate, Terms};
use crate::observer::Event;
use crate::peer::Peer;
use crate::runtime::{Runtime, within};
use crate::tls::Channel;

#[cfg(test)]
mod tests;

/// Timeout for the reply to a client that is turned away. The reply fits into any socket buffer.
const TURNING: Duration = Duration::from_secs(1);

/// The reason why a client is not served.
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(super) enum Refused {
    TurnedAway(AdmissionError),
    Unproxied(ProxyError),
}

/// Admits a client that has just connected. Counts it for its address, unless a PROXY header must
/// be read first.
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(super) fn admit<R: Runtime>(gate: &Gate<R>, peer: &Peer) -> Result<AdmissionGuard, Refused> {
    let proxies = &gate.terms().proxies;
    if proxies.as_ref().is_some_and(|proxies| !proxies.include(peer)) {
        return Err(Refused::Unproxied(ProxyError::Stranger));
    }
    // Behind a proxy, the client is unknown until the header was read.
    let place = match proxies {
        Some(_) => gate.admission.enter(),
        None => gate.admit(peer),
    };
    place.map_err(Refused::TurnedAway)
}

/// Start of a client's connection.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Opening {
    Clear,
    #[cfg(feature = "tls")]
    Tls,
}

impl Opening {
    /// Returns the connection, the client, the input read so far, and the client's place. The place
    /// is `place` if the client was admitted before.
    pub(super) async fn of<C, R>(
        self,
        client: C,
        peer: Peer,
        gate: &Gate<R>,
        terms: &Terms<R>,
        place: Option<AdmissionGuard>,
    ) -> Result<(Channel<C>, Peer, Stash, AdmissionGuard), ServeError>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send,
        R: Runtime,
    {
        let mut client = Channel::new(client);
        // The client may not be known yet, but its connection counts from the start.
        let mut place = match place.map_or_else(|| gate.admission.enter(), Ok) {
            Ok(place) => place,
            Err(reason) => return Err(self.turn_away(client, &peer, reason, gate).await),
        };
        let (mut peer, mut stash) =
            match proxied::client_behind(&mut client, peer, &place, gate, terms).await {
                Ok(behind) => behind,
                Err((peer, error)) => {
                    gate.observe(&Event::Unproxied { peer: &peer, error: &error });
                    return Err(error.into());
                }
            };
        if let Err(reason) = gate.count(&mut place, &peer) {
            // The place is needed by connections that wait for their PROXY header.
            drop(place);
            return Err(self.turn_away(client, &peer, reason, gate).await);
        }
        if self != Self::Clear {
            let wait = terms.settings.timeouts.tls;
            let wait = match place.is_stressed() {
                true => wait.min(terms.settings.stress.wait),
                false => wait,
            };
            let deadline = Deadline::after(gate.runtime.now(), wait, Awaiting::Tls);
            let ahead = std::mem::take(&mut stash.octets);
            let shaken = handshake(gate, terms, &mut client, &peer, &ahead, Some(deadline)).await;
            let tls = shaken.inspect_err(|error| {
                gate.observe(&Event::HandshakeFailed { peer: &peer, error });
            })?;
            peer.tls = Some(tls);
        }
        Ok((client, gate.named(terms, peer).await, stash, place))
    }

    /// Sends the reason to a client that can read it, and does not wait for a client that does not
    /// read.
    async fn turn_away<C, R>(
        self,
        mut client: Channel<C>,
        peer: &Peer,
        reason: AdmissionError,
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
