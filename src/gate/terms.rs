//! The part of a gate that can be replaced while sessions run.

use std::sync::{Arc, PoisonError, RwLock};

use super::Gate;
#[cfg(feature = "dns")]
use crate::naming::Naming;
use crate::network::Networks;
use crate::panel::{Bench, Panel};
use crate::relay::Target;
use crate::runtime::Runtime;
use crate::session::Settings;
use crate::tarpit::Tarpit;
use crate::tls::TlsServer;
use crate::unwind::drop_caught;

/// The rules of a session from its beginning to its end. Cloning shares every part.
pub(crate) struct Terms<R: Runtime> {
    pub(crate) settings: Arc<Settings>,
    pub(super) judge: Arc<Bench<R>>,
    pub(super) target: Arc<dyn Target>,
    pub(crate) tls: Option<TlsServer>,
    /// The lookup of client names; `None` if names are not looked up.
    #[cfg(feature = "dns")]
    pub(super) naming: Option<Arc<Naming>>,
    /// Networks from which a PROXY header is expected and trusted; `None` if no header is expected.
    pub(crate) proxies: Option<Networks>,
    pub(crate) tarpit: Option<Arc<Tarpit>>,
}

impl<R: Runtime> Terms<R> {
    pub(super) fn new(settings: Settings, target: impl Target + 'static) -> Self {
        Self {
            settings: Arc::new(settings),
            judge: Arc::new(Bench::Panel(Panel::new())),
            target: Arc::new(target),
            tls: None,
            #[cfg(feature = "dns")]
            naming: None,
            proxies: None,
            tarpit: None,
        }
    }
}

impl<R: Runtime> Clone for Terms<R> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            judge: self.judge.clone(),
            target: self.target.clone(),
            tls: self.tls.clone(),
            #[cfg(feature = "dns")]
            naming: self.naming.clone(),
            proxies: self.proxies.clone(),
            tarpit: self.tarpit.clone(),
        }
    }
}

impl<R: Runtime> Gate<R> {
    /// Replaces settings, panel, relay target, TLS, name lookup, trusted proxies and tarpit with
    /// those of `next`, all at once. Connections that are accepted from now on use them. Connections
    /// that were accepted before keep the old ones until they end.
    ///
    /// Observers and what is recorded for them, [admission](Self::admission), handshake limits, session
    /// ids, counts and a shutdown stay those of this gate. To keep what the old parts have learned or count, give them to
    /// `next` as well: clones of [`Settings::budget`] and of a
    /// [`relay::Smtp`](crate::relay::Smtp) share their limits, and scorers can share a
    /// [store](crate::store). [`Admission::set_limits`](crate::admission::Admission::set_limits)
    /// changes the connection limits.
    ///
    /// If a listener serves TLS from the first octet, `next` must have [`tls`](Self::tls).
    ///
    /// ```
    /// # fn reload<R: nobounce::Runtime + Clone>(runtime: R, onward: nobounce::relay::Smtp<R>) {
    /// use nobounce::{Gate, Panel, Settings, scorers::Gtube};
    ///
    /// let settings = Settings::new("mx.example");
    /// let gate = Gate::new(runtime.clone(), settings.clone(), onward.clone());
    /// // Later, while sessions run:
    /// gate.replace(Gate::new(runtime, settings, onward).panel(Panel::new().scorer(Gtube)));
    /// # }
    /// ```
    pub fn replace(&self, next: Self) {
        let next = next.terms();
        let old = std::mem::replace(
            &mut *self.terms.write().unwrap_or_else(PoisonError::into_inner),
            next,
        );
        // If no session runs, this drops the scorers. It must not happen under the lock.
        drop_caught(old);
    }

    /// Returns the rules for a session that begins now.
    pub(crate) fn terms(&self) -> Arc<Terms<R>> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the rules to be set before the first session.
    pub(super) fn own_terms(&mut self) -> &mut Terms<R> {
        Arc::make_mut(self.terms.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The rules for new sessions.
pub(super) type Current<R> = RwLock<Arc<Terms<R>>>;
