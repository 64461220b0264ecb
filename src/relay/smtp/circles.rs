//! Detection of mail loops at RCPT. In such a loop, the onward server asks this gate about a
//! recipient before it answers RCPT, and the gate asks the server again.
//!
//! A Postfix with the gate as its `smtpd_proxy_filter` does this. It passes MAIL and RCPT on
//! unchanged, without anything else by which the gate could recognise them. Many RCPT commands for
//! one recipient then wait at the same time. In that case the gate sends a separate RCPT with a
//! secret token. If the token comes back while that RCPT waits, the server leads back to this gate.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use super::connection::Connection;
use super::probing::Probe;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::{Envelope, SessionId};
use crate::outcome::{Outcome, RelayError, Request};
use crate::runtime::{Runtime, within};
use crate::wire::mailbox::{ForwardPath, ReversePath};

/// Number of RCPT commands that may wait for the server before they are counted per recipient.
const QUIET: usize = 4;
/// Number of RCPT commands that must wait at the same time for one recipient before a loop is
/// suspected.
const SIDE_BY_SIDE: usize = 8;
/// Time for which the RCPT commands for one recipient must have waited, with no answer to any of
/// them, before a loop is suspected. With a much longer time, a loop would occupy all processes of
/// a Postfix: one round takes 3 to 20 ms, and the token needs a process too.
const UNANSWERED: Duration = Duration::from_millis(100);
/// Time to wait for the token to come back.
const RETURN: Duration = Duration::from_secs(5);
/// Minimum time between two tokens. A token that comes back ends it.
const PAUSE: Duration = Duration::from_secs(10);
/// Time for which a recipient is not forwarded after its RCPT led back to this gate.
const REMEMBER: Duration = Duration::from_secs(60);
/// Maximum number of recipients whose RCPT is remembered to lead back.
const RECIPIENTS: usize = 256;

/// The state of the loop detection.
#[derive(Debug, Default)]
pub(super) struct Circles {
    secret: RandomState,
    /// Number of RCPT commands that wait for the server.
    waiting: AtomicUsize,
    /// Whether there are recipients whose RCPT is known to lead back.
    any_known: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Recipients with waiting RCPT commands, as hashes with the secret.
    waiting: HashMap<u64, Waiting>,
    /// Recipients whose RCPT leads back, and the time until which this is assumed.
    known: HashMap<u64, Instant>,
    /// Whether a request watches: it has sent a token or may send one.
    is_watched: bool,
    /// The time until which no other token is sent.
    pause: Option<Instant>,
}

/// The waiting RCPT commands for one recipient.
#[derive(Debug, Default)]
struct Waiting {
    commands: usize,
    /// The time since which none of them was answered.
    since: Option<Instant>,
}

/// An RCPT command that waits for the server. Dropping it ends the wait.
pub(super) struct Asking<'c> {
    circles: &'c Circles,
    recipient: Option<u64>,
    /// Whether its RCPT is known to lead back.
    pub(super) leads_back: bool,
    /// The right to watch, if this request has it. It may then send a token.
    pub(super) watch: Option<Watch<'c>>,
}

/// The right of one request to watch and to send a token. Dropping it lets another request watch.
///
/// Dropping it locks [`Circles::seen`], so it must not be dropped while that is locked.
pub(super) struct Watch<'c> {
    circles: &'c Circles,
    recipient: u64,
    /// The time since which no request was answered.
    since: Instant,
}

impl Circles {
    /// Registers a request for this recipient. The clock is read only while other requests wait or
    /// a loop is known.
    pub(super) fn ask(
        &self,
        recipient: &ForwardPath,
        clock: impl FnOnce() -> Instant,
    ) -> Asking<'_> {
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut asking = Asking { circles: self, recipient: None, leads_back: false, watch: None };
        if others < QUIET && !self.any_known.load(Ordering::Relaxed) {
            return asking;
        }
        let (name, now) = (self.name(recipient), clock());
        let mut seen = self.lock();
        seen.known.retain(|_, until| now < *until);
        self.any_known.store(!seen.known.is_empty(), Ordering::Relaxed);
        if seen.known.contains_key(&name) {
            asking.leads_back = true;
            return asking;
        }
        let waiting = seen.waiting.entry(name).or_default();
        waiting.commands += 1;
        let (since, commands) = (*waiting.since.get_or_insert(now), waiting.commands);
        asking.recipient = Some(name);
        let pauses = seen.is_watched || seen.pause.is_some_and(|until| now < until);
        if commands >= SIDE_BY_SIDE && !pauses {
            seen.is_watched = true;
            asking.watch = Some(Watch { circles: self, recipient: name, since });
        }
        asking
    }

    /// Records that RCPT for this recipient leads back. The next token may be sent at once, because
    /// other recipients may be in a loop too.
    fn remember(&self, recipient: &ForwardPath, now: Instant) {
        let mut seen = self.lock();
        seen.pause = None;
        if seen.known.len() >= RECIPIENTS
            && let Some(oldest) = seen.known.iter().min_by_key(|(_, until)| **until)
        {
            let oldest = *oldest.0;
            seen.known.remove(&oldest);
        }
        seen.known.insert(self.name(recipient), now + REMEMBER);
        self.any_known.store(true, Ordering::Relaxed);
    }

    fn name(&self, recipient: &ForwardPath) -> u64 {
        self.secret.hash_one(recipient.path.written())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch<'_> {
    /// Returns the time at which a loop is suspected.
    fn suspects_at(&self) -> Instant {
        self.since + UNANSWERED
    }

    /// Returns whether all of the requests still wait. If so, starts the pause, because the caller
    /// now sends a token. An answer may end the caller before it knows the result.
    fn suspects(&self, now: Instant) -> bool {
        let mut seen = self.circles.lock();
        let waiting = seen.waiting.get(&self.recipient);
        let suspects =
            waiting.is_some_and(|it| it.commands >= SIDE_BY_SIDE && it.since == Some(self.since));
        if suspects {
            seen.pause = Some(now + PAUSE);
        }
        suspects
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.circles.lock().is_watched = false;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.circles.waiting.fetch_sub(1, Ordering::Relaxed);
        let Some(name) = self.recipient else { return };
        let mut seen = self.circles.lock();
        if let Some(waiting) = seen.waiting.get_mut(&name) {
            waiting.commands -= 1;
            waiting.since = None;
            if waiting.commands == 0 {
                seen.waiting.remove(&name);
            }
        }
    }
}

impl<R: Runtime> Connection<R> {
    /// Asks about a recipient, for which many requests wait and none is answered. Meanwhile, checks
    /// whether its RCPT leads back.
    pub(super) async fn ask_watched(
        &mut self,
        watch: Watch<'_>,
        envelope: &Envelope,
        recipient: &ForwardPath,
    ) -> Outcome {
        let other = Self::beyond_the_bound(self.server.clone(), envelope.peer.clone());
        let leads_back = Box::pin(other.check(watch, recipient));
        let answer = Box::pin(self.ask_onward(Request::Recipient(envelope, recipient)));
        match select(answer, leads_back).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((false, answer)) => answer.await,
            Either::Right((true, _)) => Outcome::Failed(RelayError::Loop),
        }
    }

    /// Watches the requests for this recipient. If they wait too long, sends a token on this
    /// connection and returns whether RCPT leads back. The watch ends with the check, and not with
    /// the answer to the watching request, which may come minutes later.
    async fn check(mut self, watch: Watch<'_>, recipient: &ForwardPath) -> bool {
        let server = self.server.clone();
        server.runtime.sleep_until(watch.suspects_at()).await;
        if !watch.suspects(server.runtime.now()) {
            return false;
        }
        let at = server.runtime.now() + RETURN;
        let limit = Some(Deadline { at, awaiting: Awaiting::Recipient });
        let asked = async {
            let comes_back = self.comes_back(recipient).await;
            if !comes_back {
                self.leave().await;
            }
            comes_back
        };
        let leads_back = within(&*server.runtime, limit, asked).await == Some(true);
        if leads_back {
            server.circles.remember(recipient, server.runtime.now());
        }
        leads_back
    }

    /// Returns whether an RCPT for this recipient leads back to this gate. That is the case if a
    /// token in MAIL comes back before RCPT is answered. No message is sent.
    ///
    /// The token is first sent as an ENVID with the null sender (RFC 3461 section 4.4). For a
    /// server without DSN it is then sent as a sender address of this gate's domain.
    pub(super) async fn comes_back(&mut self, recipient: &ForwardPath) -> bool {
        let server = self.server.clone();
        let probe = Probe::new();
        let _expected = server.probing.expect(probe.clone());
        let (token, host) = (probe.token(), &*server.settings.host);
        let senders = [format!("<> ENVID={token}"), format!("<{token}@{host}>")];
        let session = SessionId::new("looptest");
        for (n, sender) in (1..).zip(senders) {
            let Ok(sender) = ReversePath::parse(sender) else { continue };
            let envelope = Envelope::new(session.transaction(n), self.client.clone(), sender);
            // The answer does not matter.
            let _ = self.ask_onward(Request::Recipient(&envelope, recipient)).await;
            if probe.has_come_back() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

    use futures::future::{join, join_all};

    use super::*;
    use crate::rehearsal::{Rehearsal, Script, envelope, peer};
    use crate::relay::{Smtp, Target};

    fn recipient(n: usize) -> ForwardPath {
        ForwardPath::parse(format!("<r{n}@example.org>")).unwrap()
    }

    #[test]
    fn remembered_recipients_are_bounded() {
        let (circles, now) = (Circles::default(), Instant::now());
        for n in 0..=RECIPIENTS {
            circles.remember(&recipient(n), now + Duration::from_millis(n as u64));
        }
        assert_eq!(circles.lock().known.len(), RECIPIENTS);
        let leads_back = |n, now| circles.ask(&recipient(n), || now).leads_back;
        assert!(!leads_back(0, now), "the oldest is forgotten");
        assert!(leads_back(1, now) && leads_back(RECIPIENTS, now));
        assert!(!leads_back(RECIPIENTS, now + 2 * REMEMBER));
        assert!(!circles.any_known.load(Ordering::Relaxed));
        assert!(circles.lock().waiting.is_empty());
    }

    #[test]
    fn one_of_many_unanswered_requests_checks_for_a_loop() {
        let (circles, now) = (Circles::default(), Instant::now());
        let ask = || circles.ask(&recipient(1), || now);
        let mut all: Vec<_> = (0..QUIET + SIDE_BY_SIDE + 20).map(|_| ask()).collect();
        let watching = all.iter().filter(|asking| asking.watch.is_some());
        assert_eq!(watching.count(), 1);
        let watches = all.iter().position(|asking| asking.watch.is_some()).unwrap();
        assert_eq!(watches + 1, QUIET + SIDE_BY_SIDE);
        let watch = all[watches].watch.take().unwrap();
        all.pop();
        assert!(!watch.suspects(now), "the server answers");
        // Another request watches next.
        drop(watch);
        all.push(ask());
        let watch = all.last_mut().unwrap().watch.take().unwrap();
        assert!(watch.suspects(now));
        drop(watch);
        // No other token is sent for a while, unless this one comes back.
        all.push(ask());
        assert!(all.iter().all(|asking| asking.watch.is_none()));
        circles.remember(&recipient(2), now);
        all.push(ask());
        assert!(all.last_mut().unwrap().watch.take().is_some());
        drop(all);
        assert!(circles.lock().waiting.is_empty());
        assert_eq!(circles.waiting.load(Ordering::Relaxed), 0);
    }

    /// Returns a target whose server never answers RCPT. Its clients give up.
    fn silent() -> (Rehearsal, Smtp<Rehearsal>) {
        let runtime = Rehearsal::with(Script::smtp_server().replying("RCPT", ""));
        let address = "192.0.2.25:25".parse().unwrap();
        let target = Smtp::new(runtime.clone(), address, "mx.example");
        (runtime, target)
    }

    /// Asks about a recipient after this delay, and gives up after this time.
    async fn ask(
        (runtime, target): &(Rehearsal, Smtp<Rehearsal>),
        n: usize,
        delay: Duration,
        time: Duration,
    ) {
        runtime.sleep(delay).await;
        let at = runtime.now() + time;
        let limit = Some(Deadline { at, awaiting: Awaiting::Recipient });
        let (envelope, mut relay) = (envelope("<a@example.com>"), target.open(&peer()));
        let recipient = recipient(n);
        within(runtime, limit, relay.rcpt(&envelope, &recipient)).await;
    }

    #[test]
    fn request_that_stops_watching_lets_others_watch() {
        let silent = silent();
        let (short, long) = (UNANSWERED / 2, Duration::from_secs(60));
        let watched = (0..QUIET + SIDE_BY_SIDE).map(|at| {
            // One of the counted requests ends early, so no loop is suspected.
            let time = if at == QUIET { short } else { long };
            ask(&silent, 1, Duration::ZERO, time)
        });
        let others = (0..SIDE_BY_SIDE).map(|_| ask(&silent, 2, 2 * UNANSWERED, long));
        silent.0.run(join(join_all(watched), join_all(others)));
        let heard = silent.0.heard();
        assert!(heard.contains("ENVID=self-test-"), "{heard}");
        let (_, token) = heard.split_once("ENVID=self-test-").unwrap();
        assert!(token.contains("RCPT TO:<r2@example.org>"), "{heard}");
    }

    #[test]
    fn a_token_cut_short_by_an_answer_is_followed_by_a_pause() {
        let silent = silent();
        let time = UNANSWERED * 3 / 2;
        let tokens = || silent.0.heard().matches("ENVID=self-test-").count();
        let ask_often = |times| {
            let silent = &silent;
            let all = (0..QUIET + SIDE_BY_SIDE).map(move |_| async move {
                for _ in 0..times {
                    ask(silent, 1, Duration::ZERO, time).await;
                }
            });
            silent.0.run(join_all(all));
        };
        ask_often(20);
        assert_eq!(tokens(), 1);
        silent.0.run(silent.0.sleep(PAUSE));
        ask_often(1);
        assert_eq!(tokens(), 2);
    }
}
