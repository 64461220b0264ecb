//! The place of a client among the admitted connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::doorway::Newcomer;
use super::{Admission, AdmissionError, Fault, Slot};

/// The place of an admitted client. Dropping it frees the place.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct AdmissionGuard {
    admission: Arc<Admission>,
    counts: Counts,
}

/// The client for which a place counts.
#[derive(Debug)]
enum Counts {
    /// The client is not known yet.
    Unsettled(Arc<Newcomer>),
    InAll,
    For(Arc<Slot>),
}

impl AdmissionGuard {
    pub(super) fn unsettled(admission: Arc<Admission>, newcomer: Arc<Newcomer>) -> Self {
        Self { admission, counts: Counts::Unsettled(newcomer) }
    }

    /// Counts the client for this address and its network, now that the address is known. An
    /// IPv4-mapped IPv6 address counts as the IPv4 address. If the place already counts for an
    /// address, this does nothing. On an error nothing changes.
    ///
    /// # Errors
    ///
    /// Returns an error if a limit for the address, the network or all connections is reached, or
    /// if the place was given to another client meanwhile.
    pub fn count_for(&mut self, address: IpAddr, now: Instant) -> Result<(), AdmissionError> {
        self.settle(Some(address.to_canonical()), now)
    }

    /// Counts the client towards the total only, now that it is known to count for no address. It
    /// is then never evicted, and stress does not affect it.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit for all connections is reached, or if the place was given to
    /// another client meanwhile.
    pub fn count_in_all(&mut self, now: Instant) -> Result<(), AdmissionError> {
        self.settle(None, now)
    }

    fn settle(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), AdmissionError> {
        let Counts::Unsettled(newcomer) = &self.counts else { return Ok(()) };
        let admission = &self.admission;
        let mut lock = admission.inside();
        let inside = &mut *lock;
        if newcomer.is_displaced() {
            return Err(AdmissionError::Full);
        }
        let network = address.map(|address| admission.network(address));
        let full = inside.settled >= inside.limits.connections;
        let idler = if full {
            let places = |address| inside.addresses.inside(address);
            let idler = inside.crowd.idler(network, admission.time(now), places);
            Some(idler.ok_or(AdmissionError::Full)?)
        } else {
            None
        };
        if let (Some(address), Some(network)) = (address, network) {
            inside.addresses.check(address, now).map_err(|fault| match fault {
                Fault::Count => AdmissionError::Address,
                Fault::Rate => AdmissionError::AddressRate,
            })?;
            inside.networks.check(network, now).map_err(|fault| match fault {
                Fault::Count => AdmissionError::Network,
                Fault::Rate => AdmissionError::NetworkRate,
            })?;
            if admission.is_stressed() && !inside.crowd.has_share_left(network) {
                return Err(AdmissionError::Full);
            }
        }
        if let Some(idler) = &idler {
            let network = admission.network(idler.address);
            inside.crowd.revoke(network, idler);
            inside.give_back(Some((idler.address, network)));
        }
        inside.doorway.leave(newcomer);
        inside.settled += 1;
        self.counts = match (address, network) {
            (Some(address), Some(network)) => {
                inside.addresses.take(address, now);
                inside.networks.take(network, now);
                Counts::For(inside.crowd.enter(address, network))
            }
            _ => Counts::InAll,
        };
        let woken = admission.weigh(inside);
        drop(lock);
        idler.iter().chain(&woken).for_each(|slot| slot.wake());
        Ok(())
    }

    /// Becomes ready when the place was taken away because the client remained unknown for too
    /// long.
    pub(crate) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.counts {
            Counts::Unsettled(newcomer) => newcomer.poll_displaced(context),
            Counts::InAll | Counts::For(_) => Poll::Pending,
        }
    }

    /// Returns whether the gate is under stress and this client is affected.
    pub(crate) fn is_stressed(&self) -> bool {
        matches!(self.counts, Counts::For(_)) && self.admission.is_stressed()
    }

    /// Sets the time since which the session waits for its client outside a transaction. Its place
    /// may then be given to another client. `None` means that the session is not idle.
    pub(crate) fn set_idle(&self, since: Option<Instant>) {
        if let Counts::For(slot) = &self.counts {
            slot.set_idle(since.map(|since| self.admission.time(since)));
        }
    }

    /// Returns whether the place was given to another client.
    pub(crate) fn is_revoked(&self) -> bool {
        matches!(&self.counts, Counts::For(slot) if slot.is_revoked())
    }

    /// Becomes ready when the place was given to another client and the session is `idle`, or when
    /// the state of stress differs from `stressed`. A session that is no longer idle when its place
    /// is given away continues until it is idle.
    pub(crate) fn poll_called(
        &self,
        idle: bool,
        stressed: bool,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Counts::For(slot) = &self.counts else { return Poll::Pending };
        slot.register(context.waker());
        if idle && slot.is_revoked() {
            return Poll::Ready(());
        }
        match self.admission.is_stressed() {
            now if now != stressed => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        let mut lock = self.admission.inside();
        let inside = &mut *lock;
        match &self.counts {
            Counts::Unsettled(newcomer) => return inside.doorway.leave(newcomer),
            // The place already belongs to another client.
            Counts::For(slot) if slot.is_revoked() => return,
            Counts::For(slot) => {
                let network = self.admission.network(slot.address);
                inside.crowd.leave(network, slot);
                inside.give_back(Some((slot.address, network)));
            }
            Counts::InAll => inside.give_back(None),
        }
        let woken = self.admission.weigh(inside);
        drop(lock);
        woken.iter().for_each(|slot| slot.wake());
    }
}
