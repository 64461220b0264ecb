//! The start of a session of a gate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Gate, GateSession, Terms};
use crate::admission::{AdmissionError, AdmissionGuard};
use crate::observer::Event;
use crate::peer::Peer;
use crate::runtime::Runtime;
use crate::session::Session;

impl<R: Runtime> Gate<R> {
    /// Opens a session with a client that has just connected, for a loop of your own over
    /// [`GateSession::poll`]. The client is admitted, counted in [`sessions`](Self::sessions), looked
    /// up in DNS, tarpitted and drained, as in [`serve`](crate::serve).
    ///
    /// It reads nothing from the connection. A loop behind a proxy reads the PROXY header first
    /// ([`ProxyHeader`](crate::proxy::ProxyHeader)) and passes the client that it names.
    ///
    /// # Errors
    ///
    /// The client is not [admitted](Self::admission). This was observed already. Write
    /// [`AdmissionError::reply`] and close the connection.
    pub async fn open(&self, peer: Peer) -> Result<GateSession<'_, R>, AdmissionError> {
        let admitted = self.count_session();
        let began = self.runtime.now();
        let place = self.admit(&peer).inspect_err(|reason| {
            self.observe(&Event::TurnedAway { peer: &peer, reason: *reason });
        })?;
        let terms = self.terms();
        let peer = self.named(&terms, peer).await;
        let mut session = self.begin(terms, peer, place, admitted, began);
        session.introduce().await;
        Ok(session)
    }

    /// Begins the session of an admitted client. `began` is the time at which it connected.
    pub(crate) fn begin<'g>(
        &'g self,
        terms: Arc<Terms<R>>,
        peer: Peer,
        place: AdmissionGuard,
        admitted: Admitted<'g, R>,
        began: Instant,
    ) -> GateSession<'g, R> {
        let (now, time_of_day) = (self.runtime.now(), self.runtime.time_of_day());
        let session = Session::new(terms.settings.clone(), self.next_id(), peer, now, time_of_day);
        GateSession::new(self, terms, session, place, admitted, began)
    }

    /// Counts the client, which is now known. A second call does nothing.
    pub(crate) fn count(
        &self,
        place: &mut AdmissionGuard,
        peer: &Peer,
    ) -> Result<(), AdmissionError> {
        let now = self.runtime.now();
        let counted = match self.counted(peer) {
            Some(address) => place.count_for(address, now),
            None => place.count_in_all(now),
        };
        self.report_overload();
        counted
    }

    /// Admits a client that has just connected, and counts it for its address.
    pub(crate) fn admit(&self, peer: &Peer) -> Result<AdmissionGuard, AdmissionError> {
        let mut place = self.admission.enter()?;
        self.count(&mut place, peer)?;
        Ok(place)
    }

    /// Counts a new session until the guard is dropped.
    pub(crate) fn count_session(&self) -> Admitted<'_, R> {
        self.sessions_running.fetch_add(1, Ordering::AcqRel);
        Admitted(self)
    }

    /// Returns the client with its name, if name lookup is enabled and finds one.
    #[cfg(feature = "dns")]
    pub(crate) async fn named(&self, terms: &Terms<R>, mut peer: Peer) -> Peer {
        if let (Some(naming), Some(address), None) = (&terms.naming, peer.address, &peer.name)
            && let address = address.ip().to_canonical()
            && !address.is_loopback()
        {
            naming.name(&self.runtime, &mut peer, address).await;
        }
        peer
    }

    #[cfg(not(feature = "dns"))]
    #[allow(clippy::unused_async, reason = "as it is with DNS")]
    pub(crate) async fn named(&self, _: &Terms<R>, peer: Peer) -> Peer {
        peer
    }
}

/// A guard that counts a session for as long as it runs.
pub(crate) struct Admitted<'g, R: Runtime>(&'g Gate<R>);

impl<R: Runtime> Drop for Admitted<'_, R> {
    fn drop(&mut self) {
        if self.0.sessions_running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drained.wake();
        }
    }
}

impl<R: Runtime> fmt::Debug for Admitted<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admitted")
    }
}
