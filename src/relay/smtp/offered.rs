//! The cached capabilities of the onward server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::lock;

use crate::capabilities::Capabilities;

/// Time for which the capabilities of a server are cached.
pub(super) const REMEMBER: Duration = Duration::from_secs(300);
/// Time for which a failure to get the capabilities is cached.
pub(super) const REMEMBER_SILENCE: Duration = Duration::from_secs(10);
/// Maximum delay of a client's greeting to get the capabilities of the server.
pub(super) const INTRODUCTION: Duration = Duration::from_secs(5);

/// The capabilities that the server last offered, and the time until which they are valid.
#[derive(Debug, Default)]
pub(super) struct Offered {
    heard: Mutex<Option<(Capabilities, Instant)>>,
    /// Held by the client that asks the server. All others wait for its answer.
    pub(super) asking: lock::Mutex<()>,
}

impl Offered {
    pub(super) fn remembered(&self, now: Instant) -> Option<Capabilities> {
        let heard = self.lock();
        heard.as_ref().filter(|(_, until)| now < *until).map(|(offered, _)| offered.clone())
    }

    /// Returns the capabilities to offer while the server cannot be asked: the last known ones,
    /// otherwise all. Offering too much does less harm than offering too little. A client that
    /// finds no extension for its message (SMTPUTF8, 8BITMIME) bounces the message. A client that
    /// uses an extension which the server turns out not to have gets 451 and tries again.
    pub(super) fn unheard(&self) -> Capabilities {
        let heard = self.lock();
        heard.as_ref().map_or_else(Capabilities::all, |(offered, _)| offered.clone())
    }

    pub(super) fn remember(&self, offered: Capabilities, until: Instant) {
        *self.lock() = Some((offered, until));
    }

    /// Reduces the cached capabilities to those also offered now, because a server may offer less
    /// to some clients. The reduction lasts until the server is asked again.
    pub(super) fn remember_less(&self, offered: &Capabilities, now: Instant) {
        if let Some((known, _)) = self.lock().as_mut().filter(|(_, until)| now < *until) {
            *known = known.intersection(offered);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Capabilities, Instant)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::onward::{OnwardSettings, Protocol};
    use crate::rehearsal::{Rehearsal, Script, Then, peer};
    use crate::relay::{Smtp, Target};
    use crate::runtime::{Address, Runtime};

    #[test]
    fn unreachable_server_does_not_reduce_the_offered_extensions() {
        let runtime = Rehearsal::new();
        let away = |protocol| {
            let mut settings = OnwardSettings::new("mx.example");
            settings.protocol = protocol;
            Smtp::with_settings(runtime.clone(), Address::Tcp("192.0.2.1:25".into()), settings)
        };
        let offers = |server: &Smtp<_>| runtime.run(server.open(&peer()).capabilities());

        let smtp = away(Protocol::Smtp);
        assert_eq!(offers(&smtp), Capabilities::all());
        let one = Capabilities { recipients_max: Some(1), prdr: true, ..Capabilities::all() };
        assert_eq!(offers(&away(Protocol::Lmtp)), one);

        // The last known capabilities are offered, however old they are.
        let known = Capabilities { dsn: false, size: Some(1000), ..Capabilities::all() };
        smtp.server.offered.remember(known.clone(), runtime.now());
        assert_eq!(offers(&smtp), known);
        runtime.run(runtime.sleep(10 * REMEMBER));
        assert_eq!(offers(&smtp), known);
    }

    #[test]
    fn concurrent_clients_share_one_capability_request() {
        // A server that never greets within the time.
        let runtime = Rehearsal::with(Script::new("", 1, Then::Hang));
        let smtp = Smtp::new(runtime.clone(), "192.0.2.1:25".parse().unwrap(), "mx.example");
        let all = (0..150).map(|_| async { smtp.open(&peer()).capabilities().await });
        let offered = runtime.run(join_all(all));
        assert!(offered.iter().all(|it| *it == Capabilities::all()));
        assert_eq!(runtime.elapsed(), INTRODUCTION);
        assert_eq!(runtime.connections(), (1, 0));
        // The server is not asked again at once.
        runtime.run(smtp.open(&peer()).capabilities());
        assert_eq!(runtime.connections(), (1, 0));
    }
}
