//! Greylisting: unknown senders are deferred once, because spammers seldom retry.

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
use crate::runtime::{Address, Runtime};
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

/// A scorer that defers mail from unknown client/sender/recipient triplets with 451 and accepts the
/// retry (greylisting).
///
/// The stored triplet is the client's network, the sender and the recipient. Sender and recipient
/// are in canonical form ([`SmtpPath::canonical`](crate::mailbox::SmtpPath::canonical)).
///
/// | the triplet | reply to the recipient |
/// |---|---|
/// | is new, or the retry window has passed without a retry | deferred: `451 4.7.1` |
/// | is retried too early | deferred again; the delay still runs from the first attempt |
/// | is retried too early [too often](Self::refuse_after), if that limit is set | refused: `550 5.7.1` |
/// | is retried in time | accepted, with the finding `GREYLIST_PASSED` and score 0 |
/// | was retried in time before | accepted |
/// | is from a client on the automatic allow list | accepted |
///
/// The defaults are those of postgrey: the retry must come after at least 300 seconds and at most 2
/// days. Known triplets are kept for 35 days.
///
/// A client network enters the automatic allow list after 5 accepted messages with a score below 5
/// points. At most one message per hour counts. The scorer learns the outcome through
/// [`Lessons`](super::Lessons). Without them the allow list stays empty and only triplets count.
///
/// Only the stable part of a sender address is compared: numbers and the extension after a `+` are
/// ignored. Mail with the null reverse-path is deferred after the content instead of at RCPT. An
/// address verification probe therefore gets the true answer for a recipient.
///
/// Clients without an address, clients that have logged in at another server and clients in our own
/// networks ([`Peer::own`](crate::Peer::own)) are not greylisted.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, Envelope, ForwardPath, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::tally::Tally;
/// # use nobounce::verdict::Subject;
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
    include_helo: bool,
    proven_by: Option<NonZeroU32>,
    refused_after: Option<NonZeroU32>,
    exempt: Networks,
}

impl<R: Runtime> Greylist<R> {
    /// Creates a scorer with the defaults of postgrey.
    pub fn new(runtime: R, store: Arc<dyn Store>) -> Self {
        Self {
            runtime,
            store,
            pace: Pace { apart: 5 * MINUTE, once: 2 * DAY, again: 35 * DAY },
            widths: Widths::default(),
            include_helo: false,
            proven_by: NonZeroU32::new(5),
            refused_after: None,
            exempt: Networks::none(),
        }
    }

    /// Sets the minimum delay before a retry. Default: 300 seconds (postgrey's `--delay`). RFC 5321
    /// section 4.5.4.1 tells clients to wait at least 30 minutes, but many start with less.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.pace.apart = delay;
        self
    }

    /// Sets the retry window, measured from the first attempt. Default: 2 days (postgrey's
    /// `--retry-window`).
    #[must_use]
    pub fn retry_window(mut self, window: Duration) -> Self {
        self.pace.once = window;
        self
    }

    /// Sets how long known triplets and clients are kept since they were last seen. Default: 35
    /// days (postgrey's `--max-age`), so that monthly mail stays known.
    #[must_use]
    pub fn keep(mut self, time: Duration) -> Self {
        self.pace.again = time;
        self
    }

    /// Sets the prefix lengths of client networks. Default: 24 bits for IPv4 and 64 for IPv6.
    #[must_use]
    pub fn widths(mut self, widths: Widths) -> Self {
        self.widths = widths;
        self
    }

    /// Adds the HELO or EHLO name to the triplet. This separates spammers in the same network. It
    /// also means that a large sender whose hosts use different names does not reuse its triplets.
    #[must_use]
    pub fn include_helo(mut self) -> Self {
        self.include_helo = true;
        self
    }

    /// Sets the number of messages after which a client network is on the automatic allow list.
    /// Default: 5 (postgrey's `--auto-whitelist-clients`). `None` disables the list.
    #[must_use]
    pub fn proven_by(mut self, messages: Option<NonZeroU32>) -> Self {
        self.proven_by = messages;
        self
    }

    /// Sets the number of early retries after which a triplet is permanently refused. The default,
    /// `None`, sets no limit.
    ///
    /// A legitimate client that sends many messages at once to one recipient also makes many early
    /// attempts. A permanent refusal bounces its mail. Choose more attempts than any such client
    /// would make within the delay.
    #[must_use]
    pub fn refuse_after(mut self, tries: Option<NonZeroU32>) -> Self {
        self.refused_after = tries;
        self
    }

    /// Exempts the clients of these networks. They are not greylisted.
    #[must_use]
    pub fn exempt(mut self, networks: Networks) -> Self {
        self.exempt = networks;
        self
    }

    /// Returns the network of a client, or `None` if the client is exempt.
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
            // If the store timed out, it would time out for the triplet as well.
            Err(error @ StoreError::Late(_)) => return Err(failed(error.clone())),
            _ => {}
        }
        let key = self.triplet(network, envelope, to);
        let triplet = self.store.see(&key, self.pace, now).await.map_err(failed)?;
        let opinion = self.judge(triplet, now);
        match proven {
            // The lookup of the allow list failed. An entry in it would have prevented the refusal.
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
            return Refusal::permanent(550, POLICY, "Too many early retries").into();
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
            Some(helo) if self.include_helo => key.and(canonical_domain(&helo.name)),
            _ => key,
        }
    }
}

/// Returns the scorer's error for this store error. Greylisting can only defer or refuse mail, so
/// the error is [`ScorerError::adds_only`].
fn failed(error: StoreError) -> ScorerError {
    ScorerError::new(error).adds_only()
}

/// Returns the key of the counter of accepted messages of a network.
fn proven(network: Network) -> Key {
    Key::new("grey-proven", network)
}

#[async_trait]
impl<R: Runtime> Scorer for Greylist<R> {
    fn name(&self) -> &str {
        "greylist"
    }

    fn server(&self) -> Option<&Address> {
        self.store.server()
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
            // Checks all recipients, even after a refusal, so that their delays run in parallel.
            // One refusal of a recipient is enough to refuse the message.
            for recipient in &at.envelope.forward_paths {
                match self.ask(at.envelope, recipient).await {
                    Ok(next) if opinion.refusal.is_none() => opinion = next,
                    Ok(_) => {}
                    Err(error) => failure = Some(error),
                }
            }
        }
        match failure {
            // One refusal is enough, even if the state of other recipients is unknown.
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

    /// Counts an accepted message without evidence against it for the client's network.
    async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError> {
        if lesson.impression != Impression::Good || self.proven_by.is_none() {
            return Ok(());
        }
        if let Some(network) = self.network(&lesson.peer) {
            // Postgrey also counts at most one message per hour.
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
