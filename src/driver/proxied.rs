//! Clients behind a proxy: reads the PROXY header before everything else.

use std::task::Poll;

use futures::future::poll_fn;
use futures::io::AsyncRead;

use super::READ;
use super::input::{End, Stash, read};
use crate::admission::{AdmissionGuard, ProxyError};
use crate::deadline::{Awaiting, Deadline};
use crate::gate::{Gate, Terms};
use crate::peer::Peer;
use crate::runtime::{Runtime, within};
use crate::wire::proxy::ProxyHeader;

#[cfg(test)]
mod tests;

/// Reads the PROXY header that `proxy` sends. Returns the client and the client's input read so
/// far.
pub(super) async fn client_behind<C, R>(
    connection: &mut C,
    proxy: Peer,
    place: &AdmissionGuard,
    gate: &Gate<R>,
    terms: &Terms<R>,
) -> Result<(Peer, Stash), (Peer, ProxyError)>
where
    C: AsyncRead + Unpin,
    R: Runtime,
{
    let Some(proxies) = &terms.proxies else {
        return Ok((proxy, Stash::default()));
    };
    if !proxies.include(&proxy) {
        return Err((proxy, ProxyError::Stranger));
    }
    let at = gate.runtime.now() + terms.settings.timeouts.proxy_header;
    let deadline = Deadline { at, awaiting: Awaiting::ProxyHeader };
    match within(&gate.runtime, Some(deadline), header(connection, place)).await {
        Some(Ok((header, octets))) => {
            Ok((proxy.behind(&header), Stash { octets, ..Stash::default() }))
        }
        Some(Err(error)) => Err((proxy, error)),
        None => Err((proxy, ProxyError::Late)),
    }
}

/// Returns the header and the octets after it, which are input of the client.
async fn header<C: AsyncRead + Unpin>(
    connection: &mut C,
    place: &AdmissionGuard,
) -> Result<(ProxyHeader, Vec<u8>), ProxyError> {
    let mut input = Vec::new();
    loop {
        let end = poll_fn(|context| {
            match read(connection, context, READ, |octets| input.extend_from_slice(octets)) {
                Poll::Pending => place.poll_displaced(context).map(|()| Err(ProxyError::Displaced)),
                ready => ready.map(Ok),
            }
        });
        match end.await? {
            Some(End::Orderly) => return Err(ProxyError::Closed),
            Some(End::Broken(error)) => return Err(ProxyError::Lost(error)),
            None => {}
        }
        if let Some((header, length)) = ProxyHeader::read(&input)? {
            return Ok((header, input.split_off(length)));
        }
    }
}
