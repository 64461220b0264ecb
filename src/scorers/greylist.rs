//! Greylisting: whom nobody knows is asked to come again, and spammers seldom do.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::lessons::{Impression, Learner, Lesson};
use super::whose::{Widths, mailbox, steady};
use crate::envelope::Envelope;
use crate::network::{Network, Networks};
use crate::opinion::{Opinion, ScorerError};
use crate::peer::Peer;
use crate::runtime::Runtime;
use crate::score::{Finding, Score};
use crate::scorer::{DataContext, RcptContext, Scorer};
use crate::store::{Key, Pace, Sighting, Store, StoreError};
use crate::verdict::Refusal;
use crate::wire::canonical::canonical_domain;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::EnhancedStatus;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks whom nobody knows to try again later, and takes the mail when it comes again.
///
/// What is remembered is the triplet: the network of the client, the sender and the recipient, both in
/// their canonical form ([`Path::canonical`](crate::Path::canonical)).
///
/// | the triplet | the recipient is |
/// |---|---|
/// | is new, or its second try has not come in time | told to try again: `451 4.7.1` |
/// | comes again too early | told so again; its time runs from the first try |
/// | comes too early [too often](Self::refuse_after), if that is set | refused: `550 5.7.1` |
/// | comes again in time | taken, with the finding `GREYLIST_PASSED` that weighs nothing |
/// | has come again in time before | taken |
/// | is of a client that has proved itself | taken |
///
/// The defaults are postgrey's: at least 300 seconds, at most 2 days until the second try,
/// 35 days for what is known. A client proves itself with 5 messages that were taken and that
/// nothing spoke against, no two of them counted within an hour: it has to hear of what became of
/// them, by [`Lessons`](super::Lessons). Without these there are only triplets.
///
/// Of a sender only what stays the same from message to message counts: numbers and what follows
/// a `+` are left out. The null reverse-path is asked to come again behind the content:
/// who only wants to know whether a recipient is there is told so.
///
/// Clients without an address, those that have logged in elsewhere and those in networks of our own
/// ([`Peer::own`](crate::Peer::own)) are let alone.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, Envelope, ForwardPath, Peer, ReversePath, SessionId, Subject, Tally};
/// # #[derive(Clone)]
/// # struct Clock(Arc<AtomicU64>);
/// # #[async_trait::async_trait]
/// # impl Runtime for Clock {
/// #     type Stream = futures::io::Cursor<Vec<u8>>;
/// #     fn time_of_day(&self) -> SystemTime {
/// #         SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
/// #     }
/// #     async fn sleep_until(&self, _: Instant) { std::future::pending().await }
/// #     async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
/// #         Err(io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::{Duration, SystemTime};
/// use nobounce::scorers::Greylist;
/// use nobounce::store::Memory;
/// use nobounce::{RcptContext, Runtime, Scorer};
///
/// # let seconds = Arc::new(AtomicU64::new(1_700_000_000));
/// # let runtime = Clock(seconds.clone());
/// # let peer = Peer::new(([192, 0, 2, 1], 4711).into());
/// # let sender = ReversePath::parse("<alice@example.org>")?;
/// # let recipient = ForwardPath::parse("<bob@example.net>")?;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(peer), sender);
/// # pollster::block_on(async {
/// let greylist = Greylist::new(runtime, Arc::new(Memory::new()));
///
/// let at = RcptContext::new(&envelope, &recipient);
/// let refusal = greylist.on_rcpt(&at).await?.refusal.expect("it waits");
/// assert_eq!(refusal.to_string(), "451 4.7.1 Greylisted, try again in 300 seconds");
///
/// seconds.fetch_add(300, Ordering::Relaxed); // the client waits
/// assert_eq!(greylist.on_rcpt(&at).await?.findings[0].symbol(), "GREYLIST_PASSED");
/// assert!(greylist.on_rcpt(&at).await?.is_silent());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Greylist<R> {
    runtime: R,
    store: Arc<dyn Store>,
    pace: Pace,
    widths: Widths,
    with_helo: bool,
    proven_by: Option<NonZeroU32>,
    refused_after: Option<NonZeroU32>,
    exempt: Networks,
}

impl<R: Runtime> Greylist<R> {
    /// With the defaults of postgrey.
    pub fn new(runtime: R, store: Arc<dyn Store>) -> Self {
        Self {
            runtime,
            store,
            pace: Pace { apart: 5 * MINUTE, once: 2 * DAY, again: 35 * DAY },
            widths: Widths::default(),
            with_helo: false,
            proven_by: NonZeroU32::new(5),
            refused_after: None,
            exempt: Networks::none(),
        }
    }

    /// How long a client has to wait at least: 300 seconds unless it is said (postgrey's
    /// `--delay`). RFC 5321 section 4.5.4.1 has clients wait half an hour, many begin with less.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.pace.apart = delay;
        self
    }

    /// How long the second try is waited for, from the first: 2 days unless it is said (postgrey's
    /// `--retry-window`).
    #[must_use]
    pub fn retry_window(mut self, window: Duration) -> Self {
        self.pace.once = window;
        self
    }

    /// How long what has proved itself is known without being seen: 35 days unless it is said
    /// (postgrey's `--max-age`), so that what comes once a month keeps being known.
    #[must_use]
    pub fn keep(mut self, time: Duration) -> Self {
        self.pace.again = time;
        self
    }

    /// What of a client's address counts: 24 bits or 64 unless it is said.
    #[must_use]
    pub fn widths(mut self, widths: Widths) -> Self {
        self.widths = widths;
        self
    }

    /// The name that a client gave in HELO or EHLO counts, too. It keeps spammers of one network
    /// apart, and large senders from their own triplets.
    #[must_use]
    pub fn with_helo(mut self) -> Self {
        self.with_helo = true;
        self
    }

    /// With how many messages a client's network proves itself: 5 unless it is said (postgrey's
    /// `--auto-whitelist-clients`); `None`: never.
    #[must_use]
    pub fn proven_by(mut self, messages: Option<NonZeroU32>) -> Self {
        self.proven_by = messages;
        self
    }

    /// How many tries of one triplet may come too early before it is refused for good; `None`, the
    /// default: any number.
    ///
    /// Who sends many messages at once to one recipient comes often, and early, without meaning
    /// harm, and what is refused is bounced by who sent it. Choose more than any such sender would
    /// send within the delay.
    #[must_use]
    pub fn refuse_after(mut self, tries: Option<NonZeroU32>) -> Self {
        self.refused_after = tries;
        self
    }

    /// Networks that are let alone.
    #[must_use]
    pub fn exempt(mut self, networks: Networks) -> Self {
        self.exempt = networks;
        self
    }

    /// The network that a client is remembered by; `None` if it is let alone.
    fn network(&self, peer: &Peer) -> Option<Network> {
        let exempt = peer.own || peer.login.is_some() || self.exempt.include(peer);
        self.widths.network(peer).filter(|_| !exempt)
    }

    async fn ask(&self, envelope: &Envelope, to: &ForwardPath) -> Result<Opinion, ScorerError> {
        let Some(network) = self.network(&envelope.peer) else {
            return Ok(Opinion::silent());
        };
        let now = self.runtime.time_of_day();
        let proven = match self.proven_by {
            Some(enough) => self.is_proven(network, enough, now).await,
            None => Ok(false),
        };
        match &proven {
            Ok(true) => return Ok(Opinion::silent()),
            // A store that is late is late for the triplet, too.
            Err(error @ StoreError::Late(_)) => return Err(failed(error.clone())),
            _ => {}
        }
        let key = self.triplet(network, envelope, to);
        let triplet = self.store.see(&key, self.pace, now).await.map_err(failed)?;
        let opinion = self.judge(triplet, now);
        match proven {
            // What is known of the client could have changed that.
            Err(error) if opinion.refusal.is_some() => Err(failed(error)),
            _ => Ok(opinion),
        }
    }

    async fn is_proven(
        &self,
        network: Network,
        enough: NonZeroU32,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let client = self.store.recall(&proven(network), now).await?;
        Ok(client.is_some_and(|client| client.times >= enough.get()))
    }

    fn judge(&self, triplet: Sighting, now: SystemTime) -> Opinion {
        const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
        let since = |then| now.duration_since(then).unwrap_or_default();
        if triplet.times > 1 {
            if triplet.times > 2 || !triplet.counted {
                return Opinion::silent();
            }
            let passed = Finding::new("GREYLIST_PASSED", Score::ZERO);
            let waited = since(triplet.first).as_secs();
            return passed.with_detail(&format!("after {waited} seconds")).into();
        }
        if self.refused_after.is_some_and(|bearable| triplet.early > bearable.get()) {
            return Refusal::permanent(550, POLICY, "Too many tries too early").into();
        }
        let wait = self.pace.apart.saturating_sub(since(triplet.first));
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let text = format!("Greylisted, try again in {seconds} seconds");
        Refusal::transient(451, POLICY, &text).into()
    }

    fn triplet(&self, network: Network, envelope: &Envelope, to: &ForwardPath) -> Key {
        let sender = steady(&mailbox(&envelope.reverse_path.path));
        let key = Key::new("grey", network).and(sender).and(mailbox(&to.path));
        match &envelope.peer.helo {
            Some(helo) if self.with_helo => key.and(canonical_domain(&helo.name)),
            _ => key,
        }
    }
}

/// It can only ask clients to wait or refuse them.
fn failed(error: StoreError) -> ScorerError {
    ScorerError::new(error).adds_only()
}

/// Where the messages of a network are counted that speak for it.
fn proven(network: Network) -> Key {
    Key::new("grey-proven", network)
}

#[async_trait]
impl<R: Runtime> Scorer for Greylist<R> {
    fn name(&self) -> &str {
        "greylist"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(vec!["GREYLIST_PASSED"])
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        if at.envelope.reverse_path.path.canonical().is_null() {
            return Ok(Opinion::silent());
        }
        self.ask(at.envelope, at.recipient).await
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let (mut opinion, mut failure) = (Opinion::silent(), None);
        if at.envelope.reverse_path.path.canonical().is_null() {
            // All of them, so that they wait together; one that has to wait speaks for all.
            for recipient in &at.envelope.forward_paths {
                match self.ask(at.envelope, recipient).await {
                    Ok(next) if opinion.refusal.is_none() => opinion = next,
                    Ok(_) => {}
                    Err(error) => failure = Some(error),
                }
            }
        }
        match failure {
            // One that has to wait is enough, whatever is not known of the others.
            Some(error) if opinion.refusal.is_none() => Err(error.but_says(opinion)),
            _ => Ok(opinion),
        }
    }
}

#[async_trait]
impl<R: Runtime> Learner for Greylist<R> {
    fn scorer(&self) -> Option<&str> {
        Some(self.name())
    }

    /// A message that was taken, and that nothing spoke against, speaks for its client's network.
    async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError> {
        if lesson.impression != Impression::Good || self.proven_by.is_none() {
            return Ok(());
        }
        if let Some(network) = self.network(&lesson.peer) {
            // Postgrey counts one in an hour, too.
            let pace = Pace { apart: HOUR, once: self.pace.again, again: self.pace.again };
            let now = self.runtime.time_of_day();
            self.store.see(&proven(network), pace, now).await.map_err(ScorerError::new)?;
        }
        Ok(())
    }
}

impl<R> std::fmt::Debug for Greylist<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greylist").field("pace", &self.pace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
