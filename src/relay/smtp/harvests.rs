//! Detects address harvesting: counts refused recipients by client address and network.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::expiring::Expiring;
use crate::envelope::Envelope;
use crate::network::Network;
use crate::verdict::Refusal;

/// The period in which refused recipients are counted.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Maximum number of addresses and networks that are remembered.
const ENTRIES: usize = 65_536;

/// The reply to a client with too many refused recipients. No recipient is looked up meanwhile, so
/// the reply reveals nothing about a recipient. It ends the session, because the onward server no
/// longer sees the client and therefore cannot slow it down.
pub(super) const TOO_MANY: Refusal =
    Refusal::fixed(421, 7, 0, "Too many refused recipients, try again later");

/// Limits of refused recipients of a client in an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) of_address: u32,
    pub(super) of_network: u32,
}

impl Default for Bounds {
    /// Returns the default limits: twice the limit of one session for an address, and five times
    /// that for a network. The connection limits have the same ratio.
    fn default() -> Self {
        Self { of_address: 100, of_network: 500 }
    }
}

/// Refused recipients of each address and network, as leaky buckets.
#[derive(Debug)]
pub(super) struct Harvests {
    bounds: Bounds,
    /// The time at which a bucket is empty. A bucket is full if that time is more than an hour
    /// away.
    empty_at: Mutex<Expiring<Network>>,
}

impl Harvests {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, empty_at: Mutex::new(Expiring::new(ENTRIES)) }
    }

    /// Returns whether this client has had too many recipients refused.
    pub(super) fn refuses(&self, envelope: &Envelope, clock: impl FnOnce() -> Instant) -> bool {
        let empty_at = self.lock();
        if empty_at.is_empty() {
            return false;
        }
        let now = clock();
        self.buckets(envelope).is_some_and(|buckets| {
            let is_full =
                |network: &Network| empty_at.get(network, now).is_some_and(|at| at - now > WINDOW);
            buckets.iter().any(|(network, _)| is_full(network))
        })
    }

    /// Counts a recipient of this client that was refused permanently.
    pub(super) fn count(&self, envelope: &Envelope, now: Instant) {
        let Some(buckets) = self.buckets(envelope) else { return };
        let mut empty_at = self.lock();
        for (network, most) in buckets {
            let at = empty_at.get(&network, now).unwrap_or(now);
            // Rounded up, so that the last of `most` recipients fills the bucket.
            let drop = WINDOW / most.max(1) + Duration::from_nanos(1);
            empty_at.set(network, at.checked_add(drop).unwrap_or(at), now);
        }
    }

    /// Returns the buckets of a client, with the number of refused recipients that fills each. Our
    /// own networks have none. Neither have clients announced by a trusted server, because that
    /// server has accepted their recipients.
    fn buckets(&self, envelope: &Envelope) -> Option<[(Network, u32); 2]> {
        let is_exempt = envelope.peer.own || envelope.xforward.is_some();
        let address = envelope.peer.address.filter(|_| !is_exempt)?.ip();
        let Bounds { of_address, of_network } = self.bounds;
        Some([(Network::of_client(address), of_address), (Network::around(address), of_network)])
    }

    fn lock(&self) -> MutexGuard<'_, Expiring<Network>> {
        self.empty_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::sync::Arc;

    use super::*;
    use crate::outcome::Outcome;
    use crate::peer::Peer;
    use crate::rehearsal::{Rehearsal, Script, Then, recipient};
    use crate::relay::{Smtp, Target};
    use crate::runtime::Runtime;

    fn envelope(address: &str) -> Envelope {
        let mut envelope = crate::rehearsal::envelope("<a@example.com>");
        envelope.peer = Arc::new(Peer::new(format!("{address}:25").parse().unwrap()));
        envelope
    }

    #[test]
    fn client_with_too_many_refused_recipients_is_not_forwarded() {
        // MAIL is accepted, RCPT is refused.
        let mut says = vec!["250 o\r\n"];
        says.extend(["250 Ok\r\n", "550 5.1.1 No such user\r\n"].repeat(2));
        let mut script = Script::turns(b"\r\n", &says, Then::Close);
        script.turns.insert(
            0,
            crate::rehearsal::Turn {
                cue: crate::rehearsal::Cue::Octets(0),
                says: b"220 o\r\n".into(),
            },
        );
        let runtime = Rehearsal::with(script);
        let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
        let asked = |address: &str, own: bool| {
            let mut envelope = envelope(address);
            Arc::make_mut(&mut envelope.peer).own = own;
            let mut session = target.open(&envelope.peer);
            let outcome = runtime.run(session.rcpt(&envelope, &recipient()));
            let Outcome::Refused(refusal) = outcome else { panic!("{outcome:?}") };
            refusal.reply().code().value()
        };
        for _ in 0..100 {
            assert_eq!(asked("203.0.113.7", false), 550);
        }
        let connections = runtime.connections().0;
        assert_eq!(asked("203.0.113.7", false), 421);
        assert_eq!(runtime.connections().0, connections, "no command was sent");
        // Another address, an address in our networks, and the same address after some time.
        assert_eq!(asked("203.0.113.8", false), 550);
        assert_eq!(asked("203.0.113.7", true), 550);
        runtime.run(runtime.sleep(WINDOW / 100));
        assert_eq!(asked("203.0.113.7", false), 550);
        assert_eq!(asked("203.0.113.7", false), 421);
    }

    #[test]
    fn addresses_of_a_network_share_a_bound() {
        let (harvests, now) = (Harvests::new(Bounds::default()), Rehearsal::new().now());
        for n in 0..500 {
            let one = envelope(&format!("203.0.113.{}", n % 250));
            assert!(!harvests.refuses(&one, || now), "{n}");
            harvests.count(&one, now);
        }
        assert!(harvests.refuses(&envelope("203.0.113.255"), || now));
        assert!(!harvests.refuses(&envelope("203.0.112.255"), || now));
        for n in 0..100 {
            harvests.count(&envelope(&format!("[2001:db8:1:2::{n}]")), now);
        }
        assert!(harvests.refuses(&envelope("[2001:db8:1:2:3::1]"), || now));
        assert!(!harvests.refuses(&envelope("[2001:db8:1:3::1]"), || now));
    }

    #[test]
    fn addresses_with_refusals_are_bounded() {
        let mut harvests = Harvests::new(Bounds::default());
        harvests.empty_at = Mutex::new(Expiring::new(100));
        let now = Rehearsal::new().now();
        let harvester = envelope("203.0.113.7");
        for _ in 0..100 {
            harvests.count(&harvester, now);
        }
        for n in 0..1_000 {
            harvests.count(&envelope(&format!("198.{}.{}.1", n / 250, n % 250)), now);
            assert!(harvests.lock().len() <= 100);
        }
        assert!(harvests.refuses(&harvester, || now), "the fullest buckets are kept");
        harvests.count(&envelope("192.0.2.1"), now + 2 * WINDOW);
        assert!(!harvests.refuses(&harvester, || now + 2 * WINDOW));
    }
}
