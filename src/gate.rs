//! The gate: the state that all sessions of one service share.

mod asking;
mod closing;
mod held;
mod opening;
mod session;
mod slowness;
mod steps;
mod terms;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
#[cfg(feature = "dns")]
use std::time::Duration;
use std::time::UNIX_EPOCH;

use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};

use crate::admission::Admission;
#[cfg(feature = "dns")]
use crate::dns::Resolver;
use crate::envelope::SessionId;
#[cfg(feature = "dns")]
use crate::naming::Naming;
use crate::network::Networks;
use crate::observer::{Event, Observer, Observers};
use crate::panel::{Bench, Judge, Panel};
use crate::peer::{Peer, Voucher};
use crate::relay::Target;
use crate::runtime::Runtime;
use crate::session::Settings;
use crate::tarpit::Tarpit;
#[cfg(feature = "tls")]
use crate::tls::{HandshakeLimits, TlsServer, Turns};
pub(crate) use opening::Admitted;
pub use session::GateSession;
pub use steps::{GateForward, GateQuestion, GateStep};
use terms::Current;
pub(crate) use terms::Terms;
#[cfg(test)]
pub(crate) use {closing::FAREWELL, session::INTRODUCTION};

/// The state that all sessions of one service share: settings, panel, relay target and observers.
/// Create it once and pass it to [`serve`](crate::serve) for each client.
///
/// ```
/// # fn gate<R: nobounce::Runtime>(runtime: R, onward: nobounce::relay::Smtp<R>) -> nobounce::Gate<R> {
/// use nobounce::{Gate, Panel, Settings, scorers::Gtube};
///
/// let gate = Gate::new(runtime, Settings::new("mx.example"), onward)
///     .panel(Panel::new().scorer(Gtube))
///     .observer(|event| eprintln!("{event:?}"));
/// # gate }
/// ```
pub struct Gate<R: Runtime> {
    pub(crate) runtime: R,
    terms: Current<R>,
    #[cfg(feature = "tls")]
    pub(crate) turns: Turns,
    pub(crate) observers: Observers,
    reports_answers: bool,
    records_timings: bool,
    /// The names of the header fields that records contain.
    recorded_fields: Vec<Arc<str>>,
    pub(crate) admission: Arc<Admission>,
    /// The prefix of session names. It distinguishes the sessions of this process from those of
    /// earlier and concurrent processes.
    prefix: String,
    sessions_begun: AtomicU64,
    sessions_running: AtomicUsize,
    drained: Drained,
    is_going_down: AtomicBool,
    /// The sender that is dropped when the gate shuts down. Dropping it resolves `going_down`.
    open: Mutex<Option<oneshot::Sender<()>>>,
    going_down: GoingDown,
}

/// A signal that resolves when its sender is dropped.
type Signal = Shared<oneshot::Receiver<()>>;
pub(crate) type GoingDown = Signal;

/// The wake-up of the callers of [`Gate::drained`] when the last session ends. Empty while no
/// caller waits.
#[derive(Default)]
struct Drained(Mutex<Option<(oneshot::Sender<()>, Signal)>>);

impl Drained {
    /// Returns a signal that resolves the next time the last session ends.
    fn next(&self) -> Signal {
        let mut waited_for = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, drained) = waited_for.get_or_insert_with(|| {
            let (sender, receiver) = oneshot::channel();
            (sender, receiver.shared())
        });
        drained.clone()
    }

    fn wake(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<R: Runtime> Gate<R> {
    /// Creates a gate for this relay target, with an empty panel. It relays everything, within the
    /// limits of the settings.
    pub fn new(runtime: R, settings: Settings, target: impl Target + 'static) -> Self {
        let time = runtime.time_of_day().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (open, going_down) = oneshot::channel();
        Self {
            prefix: format!("{}-{}", base32(time.as_micros()), base32(std::process::id().into())),
            runtime,
            terms: RwLock::new(Arc::new(Terms::new(settings, target))),
            #[cfg(feature = "tls")]
            turns: Turns::default(),
            observers: Observers::default(),
            reports_answers: false,
            records_timings: false,
            recorded_fields: Vec::new(),
            admission: Arc::default(),
            sessions_begun: AtomicU64::new(0),
            sessions_running: AtomicUsize::new(0),
            drained: Drained::default(),
            is_going_down: AtomicBool::new(false),
            open: Mutex::new(Some(open)),
            going_down: going_down.shared(),
        }
    }

    /// Sets the prefix of session ids; by default it is made of the time and the process id.
    /// Session ids appear in logs and replies, so the prefix must keep them unique.
    #[must_use]
    pub fn session_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets the panel.
    #[must_use]
    pub fn panel(mut self, panel: impl Into<Panel>) -> Self {
        self.own_terms().judge = Arc::new(Bench::Panel(panel.into()));
        self
    }

    /// Sets your own decision logic in place of a panel.
    #[must_use]
    pub fn judge(mut self, judge: impl Judge<R> + 'static) -> Self {
        self.own_terms().judge = Arc::new(Bench::Own(Box::new(judge)));
        self
    }

    /// Adds a closure that is called with every event of every session.
    ///
    /// ```
    /// # use nobounce::{Event, Gate, Runtime, Settings, relay};
    /// # fn gate<R: Runtime>(runtime: R) -> Gate<R> {
    /// # let target = relay::Maildir::new("maildir");
    /// Gate::new(runtime, Settings::new("mx.example"), target).observer(|event| {
    ///     if let Event::Ended(record) = event {
    ///         println!("{record}");
    ///     }
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn observer(self, observe: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observed_by(observe)
    }

    /// Adds an [`Observer`], such as [`LineLogger`](crate::observer::LineLogger), [`Queue`](crate::observer::Queue) or
    /// [`Lessons`](crate::scorers::Lessons).
    ///
    /// [`observer`](Self::observer) accepts only closures, so that the compiler can infer the type
    /// of their argument. This method accepts any observer.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.add(Box::new(observer));
        self
    }

    /// Reports each scorer's answer to the observers ([`Event::Scored`]). Off by default: it costs a
    /// copy of each answer and some calls of [`Runtime::now`].
    #[must_use]
    pub fn report_answers(mut self) -> Self {
        self.reports_answers = true;
        self
    }

    /// Records the time of each scorer at each stage, in
    /// [`TransactionRecord::timings`](crate::observer::TransactionRecord::timings) and
    /// [`SessionRecord::timings`](crate::observer::SessionRecord::timings). Off by default: it costs an
    /// allocation for each transaction and some calls of [`Runtime::now`].
    #[must_use]
    pub fn record_timings(mut self) -> Self {
        self.records_timings = true;
        self
    }

    /// Records these header fields of each message that the panel was asked about, in
    /// [`TransactionRecord::fields`](crate::observer::TransactionRecord::fields). By default none is
    /// recorded. Of several fields of one name, the first is recorded.
    ///
    /// Recording parses each message, unless a scorer has done so. Such fields are personal data.
    ///
    /// ```
    /// # use nobounce::{Gate, Runtime};
    /// # fn recorded<R: Runtime>(gate: Gate<R>) -> Gate<R> {
    /// gate.record_fields(["Message-ID", "From", "Subject"])
    /// # }
    /// ```
    #[must_use]
    pub fn record_fields(mut self, names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.recorded_fields = names.into_iter().map(Into::into).collect();
        self
    }

    /// Offers STARTTLS (RFC 3207) and enables [`serve_tls`](crate::serve_tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        let terms = self.own_terms();
        Arc::make_mut(&mut terms.settings).capabilities.start_tls = true;
        terms.tls = Some(tls);
        self
    }

    /// Limits the resources that TLS handshakes of clients may use. The defaults are those of
    /// [`HandshakeLimits`].
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn handshakes(mut self, limits: HandshakeLimits) -> Self {
        self.turns = Turns::new(limits);
        self
    }

    /// Looks up the name of each client before its session begins. The name must be confirmed by a
    /// forward lookup (RFC 8601 section 3). The session waits for the lookup for at most
    /// `patience`.
    ///
    /// The trace header, records and scorers then have [`Peer::name`] and [`Peer::reverse_name`].
    /// So does an onward server that gets client information by XCLIENT or XFORWARD.
    ///
    /// A client whose name is already known keeps it. A loopback address is not looked up, because
    /// its name is not in DNS. [`Peer::name_lookup`] distinguishes a client without a name from a
    /// client for which DNS gave no answer. Neither is refused.
    ///
    /// At most 4 lookups run at the same time for the clients of one network: an IPv4 /24 or an
    /// IPv6 /48. After 3 lookups in a row that took longer than 2 seconds, the names of this
    /// network are not looked up for 30 seconds. If the network remains slow, that pause grows to
    /// at most 5 minutes. During the pause its clients are served at once, without a name.
    #[cfg(feature = "dns")]
    #[must_use]
    pub fn name_clients(mut self, resolver: impl Resolver + 'static, patience: Duration) -> Self {
        self.own_terms().naming = Some(Arc::new(Naming::new(Box::new(resolver), patience)));
        self
    }

    /// Makes [`serve`](crate::serve) expect a PROXY protocol header (version 1 or 2) at the start
    /// of every connection, and trusts headers from these networks. Connections from other networks
    /// are closed without a reply and [observed](Event::Unproxied). So are connections whose header
    /// is late or malformed.
    ///
    /// A gate expects the header always or never. If it were optional, clients could send their
    /// own. The header gives the address of the client. `xclient_from` and `xforward_from` are
    /// matched against that address, not against the address of the proxy.
    #[must_use]
    pub fn expect_proxy(mut self, networks: Networks) -> Self {
        self.own_terms().proxies = Some(networks);
        self
    }

    /// Sets the connection limits; the defaults are those of
    /// [`AdmissionLimits`](crate::admission::AdmissionLimits). A client over the limit gets a 421 reply before
    /// any session begins. If its connection uses TLS from the first octet, the connection is
    /// closed without a reply. Both cases are [observed](Event::TurnedAway).
    ///
    /// Gates that share one `Arc<Admission>` share its counts.
    #[must_use]
    pub fn admission(mut self, admission: impl Into<Arc<Admission>>) -> Self {
        self.admission = admission.into();
        self
    }

    /// Delays replies to clients with a high score. No reply is delayed by default.
    #[must_use]
    pub fn tarpit(mut self, tarpit: Tarpit) -> Self {
        self.own_terms().tarpit = Some(Arc::new(tarpit));
        self
    }

    /// Starts a graceful shutdown. Sessions end with `421 4.3.2`; a session in a transaction ends
    /// after the transaction. Clients that still connect also get `421 4.3.2`.
    pub fn shut_down(&self) {
        self.is_going_down.store(true, Ordering::Release);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until no session runs. Any number of callers may wait at once.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.next();
            if self.sessions() == 0 {
                return;
            }
            // The sender is dropped unused, which is the signal.
            let _ = drained.await;
        }
    }

    /// Returns the number of running sessions.
    pub fn sessions(&self) -> usize {
        self.sessions_running.load(Ordering::Acquire)
    }

    /// Returns whether the gate is under stress; see [`Admission`].
    pub fn is_stressed(&self) -> bool {
        self.admission.is_stressed()
    }

    /// Returns the number of observer panics that were caught; see [`Observer`].
    pub fn observer_panics(&self) -> u64 {
        self.observers.panics()
    }

    /// Returns whether [`shut_down`](Self::shut_down) was called.
    pub fn is_going_down(&self) -> bool {
        self.is_going_down.load(Ordering::Acquire)
    }

    /// Returns the address under which this client is counted. Returns `None` if it counts only
    /// towards the total: clients in [`Settings::own_networks`], and proxies and peers trusted with
    /// XCLIENT or XFORWARD.
    pub(crate) fn counted(&self, client: &Peer) -> Option<IpAddr> {
        let terms = self.terms();
        let Settings { own_networks, xclient_from, xforward_from, .. } = &*terms.settings;
        let itself = client.vouched.address == Voucher::Socket;
        let proxies = terms.proxies.as_ref().filter(|_| itself);
        let mut excepted = [own_networks, xclient_from, xforward_from].into_iter().chain(proxies);
        let address = client.address.filter(|_| !excepted.any(|it| it.include(client)));
        address.map(|address| address.ip())
    }

    pub(crate) fn going_down(&self) -> GoingDown {
        self.going_down.clone()
    }

    /// Returns the network under which this client is counted, if any.
    #[cfg(feature = "tls")]
    pub(crate) fn network(&self, client: &Peer) -> Option<IpAddr> {
        self.counted(client).map(|address| self.admission.network(address.to_canonical()))
    }

    /// Returns whether even the waiting queue for TLS handshakes is full for this client.
    pub(crate) fn is_busy_with_tls(&self, terms: &Terms<R>, client: &Peer) -> bool {
        #[cfg(feature = "tls")]
        return terms.tls.is_some()
            && client.tls.is_none()
            && self.turns.may_be_full()
            && self.turns.is_full(self.network(client));
        #[cfg(not(feature = "tls"))]
        let _ = (terms, client);
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Reports the begin or end of stress to the observers.
    pub(crate) fn report_overload(&self) {
        if let Some((on, connections)) = self.admission.turn() {
            self.observe(&Event::Overload { on, connections });
        }
    }

    /// Delivers an event to every observer. [`serve`](crate::serve) and [`GateSession`] deliver the
    /// events of their sessions. A panic of an observer is caught.
    #[inline]
    pub fn observe(&self, event: &Event<'_>) {
        self.observers.observe(event);
    }

    /// Returns whether there is an observer.
    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Returns whether an observer uses the octets of sessions.
    pub(crate) fn shows_octets(&self) -> bool {
        self.observers.use_octets()
    }

    /// Returns whether records contain times of scorers or header fields.
    pub(crate) fn is_reported(&self) -> bool {
        self.is_observed() && (self.records_timings || !self.recorded_fields.is_empty())
    }

    fn next_id(&self) -> SessionId {
        let n = self.sessions_begun.fetch_add(1, Ordering::Relaxed);
        SessionId::new(&[&*self.prefix, "-", &base32(n.into())].concat())
    }
}

impl<R: Runtime> fmt::Debug for Gate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.terms().settings;
        f.debug_struct("Gate").field("settings", settings).finish_non_exhaustive()
    }
}

/// Formats a number in base 32, with letters and digits that are not easily confused.
fn base32(mut number: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut text = Vec::new();
    loop {
        text.push(DIGITS[(number % 32) as usize]);
        number /= 32;
        if number == 0 {
            break;
        }
    }
    text.reverse();
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join;
    use futures::stream::{FuturesUnordered, StreamExt};

    use super::*;
    use crate::rehearsal::{Rehearsal, peer};
    use crate::relay::Smtp;

    #[test]
    fn session_ids_come_from_the_caller() {
        let runtime = Rehearsal::new();
        let server = "192.0.2.1:25".parse().unwrap();
        let smtp = Smtp::new(runtime.clone(), server, "mx.example");
        let gate = Gate::new(runtime, Settings::new("mx.example"), smtp).session_prefix("west");
        let open = || {
            let session = gate.runtime.run(gate.open(peer())).unwrap();
            session.session().id().to_string()
        };
        let names = [open(), open()];
        assert_eq!(names, ["west-0", "west-1"]);
    }

    /// Each waiter has its own waker, one waiter is dropped, and a session begins after the last
    /// one ended.
    #[test]
    fn several_callers_wait_until_the_gate_is_drained() {
        let runtime = Rehearsal::new();
        let smtp = Smtp::new(runtime.clone(), "192.0.2.1:25".parse().unwrap(), "mx.example");
        let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), smtp);
        assert_eq!(gate.drained().now_or_never(), Some(()));
        let second = Duration::from_secs(1);
        runtime.run(async {
            let sessions = async {
                let session = gate.count_session();
                runtime.sleep(second).await;
                assert!(gate.drained().now_or_never().is_none());
                drop(session);
                // This session begins before the waiters are polled.
                let session = gate.count_session();
                runtime.sleep(second).await;
                drop(session);
            };
            let waiters = async {
                runtime.sleep(second / 2).await;
                let waiters: FuturesUnordered<_> = (0..3).map(|_| gate.drained()).collect();
                waiters.collect::<Vec<_>>().await
            };
            join(sessions, waiters).await;
        });
        assert_eq!(runtime.elapsed(), second * 2);
    }
}
