//! A store shared by many gates: a Redis or Valkey server.

mod resp;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures::lock::{Mutex, MutexGuard};
use futures::poll;

use super::balance::{Balance, HALF_LIVES, HalfLife, MOST};
use super::bucket::{Rate, Taken};
use super::key::Key;
use super::log::{PAGE, PAGE_RECORDS, Page, Retention};
use super::moment::{length, microseconds, milliseconds, time_of_day};
use super::sighting::{Pace, Sighting};
use super::{MAX_OCTETS, Store, StoreError, sized};
use crate::breaker::{Breaker, State};
use crate::deadline::{Awaiting, Deadline};
use crate::runtime::{Address, Runtime, within};
use resp::{Garbled, REPLY, Reply};

/// Default timeout of one operation (the same as rspamd's `timeout` for Redis).
const PATIENCE: Duration = Duration::from_secs(1);
/// Default number of connections.
const CONNECTIONS: usize = 8;
/// Default prefix of all keys.
const PREFIX: &str = "nobounce:";

const SEE: &str = include_str!("see.lua");
const TAKE: &str = include_str!("take.lua");
const WEIGH: &str = include_str!("weigh.lua");
const PUT: &str = include_str!("put.lua");
const GET: &str = include_str!("get.lua");
const REMOVE: &str = "redis.call('DEL', KEYS[1]) return ''";
const APPEND: &str = include_str!("append.lua");
const READ: &str = include_str!("read.lua");

/// Maximum size of a reply with a value or a page of a log, in octets.
const LONG_REPLY: usize =
    REPLY + if PAGE > MAX_OCTETS { PAGE } else { MAX_OCTETS } + 8 * PAGE_RECORDS;

/// A store shared by many gates: a server that implements the Redis protocol with `EVAL`, such as
/// Redis or Valkey.
///
/// Each operation is one Lua script on one key, which the server runs atomically. A command is
/// never sent twice. If the answer does not arrive, the caller gets an error, and it is unknown
/// whether the operation took effect. Nothing is counted twice.
///
/// The store keeps a pool of a few connections. A connection that the server has closed is detected
/// and replaced, and so is a connection after any error. The server may be absent, hang or send
/// malformed replies. Each operation still ends within the timeout, which includes waiting for a
/// connection. The size of replies is limited. After 5 consecutive failures, operations fail at
/// once for a while, and only probes reach the server. A hung server therefore delays a few
/// messages by the timeout and the others not at all (see [`Breaker`]).
///
/// Records expire on the server by themselves. The keys are those of the scorers and contain mail
/// addresses, so restrict access to the server. Set `maxmemory-policy` to `volatile-ttl`, which
/// evicts the records that expire next. With `noeviction`, a full server returns errors.
/// Redis Cluster redirections are not followed.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use nobounce::store::{Redis, Store};
/// use nobounce::Runtime;
/// use nobounce::runtime::AddressError;
///
/// fn store<R: Runtime>(runtime: R) -> Result<Arc<dyn Store>, AddressError> {
///     let redis = Redis::new(runtime, "unix:/run/redis/redis.sock".parse()?)
///         .login("nobounce", "secret")
///         .database(3)
///         .patience(Duration::from_millis(500));
///     Ok(Arc::new(redis))
/// }
/// # assert!("unix:/run/redis/redis.sock".parse::<nobounce::Address>().is_ok());
/// ```
pub struct Redis<R: Runtime> {
    runtime: R,
    address: Address,
    login: Option<(Box<str>, Box<str>)>,
    database: u32,
    prefix: Box<str>,
    patience: Duration,
    breaker: Breaker,
    connections: Box<[Mutex<Option<R::Stream>>]>,
    /// Connection slot to wait for when all are in use (round robin).
    turn: AtomicUsize,
}

impl<R: Runtime> Redis<R> {
    /// Creates a store on the server at `address`, usually port 6379. Does not connect yet.
    pub fn new(runtime: R, address: Address) -> Self {
        let store = Self {
            runtime,
            address,
            login: None,
            database: 0,
            prefix: PREFIX.into(),
            patience: PATIENCE,
            breaker: Breaker::new(),
            connections: Box::default(),
            turn: AtomicUsize::new(0),
        };
        store.connections(CONNECTIONS)
    }

    /// Sets user name and password. On a server without named users, the user is `default`.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }

    /// Sets the number of the database on the server. Default: 0.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Sets the prefix of all keys. Default: `nobounce:`. Gates with the same prefix share their
    /// records.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the timeout of an operation. Default: 1 second, as in rspamd. The budget of the
    /// [`Seat`](crate::panel::Seat) applies in addition.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the circuit breaker, including its callback for failure and recovery. Default:
    /// [`Breaker::new`].
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }

    /// Returns the state of the breaker. While it is open, the server is not asked.
    pub fn state(&self) -> State {
        self.breaker.state()
    }

    /// Sets the maximum number of connections, at least one. Default: 8.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = (0..most.max(1)).map(|_| Mutex::default()).collect();
        self
    }

    /// Runs a script and returns its answer as words.
    async fn run(
        &self,
        script: &str,
        kind: &str,
        key: &Key,
        arguments: &[&str],
    ) -> Result<Answer, StoreError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        let answer = self.evaluate(script, kind, key, &arguments, REPLY).await?;
        let text = String::from_utf8(answer).map_err(|_| StoreError::Garbled("not UTF-8"))?;
        Ok(Answer(text.into()))
    }

    /// Runs a script and returns its answer of at most `most` octets.
    async fn evaluate(
        &self,
        script: &str,
        kind: &str,
        key: &Key,
        arguments: &[&[u8]],
        most: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let key = format!("{}{kind}:{key}", self.prefix);
        let words = [&[b"EVAL", script.as_bytes(), b"1", key.as_bytes()], arguments].concat();
        let command = resp::command(&words);
        let deadline = Deadline::after(self.runtime.now(), self.patience, Awaiting::Connection);
        let ask = async {
            let mut place = self.place().await;
            // The connection leaves its slot during the operation. If the operation is dropped or
            // fails, the connection is closed.
            let mut stream = match still_open(place.take()).await {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            let answer = ask(&mut stream, &command, most).await?;
            *place = Some(stream);
            Ok(answer.into())
        };
        let timed = async {
            let answer = within(&self.runtime, Some(deadline), ask).await;
            answer.unwrap_or(Err(StoreError::Late(self.patience)))
        };
        self.breaker.run(&self.runtime, timed).await?
    }

    /// Locks a connection slot. Prefers a free slot with a connection, then a free slot without
    /// one. If all are in use, waits.
    async fn place(&self) -> MutexGuard<'_, Option<R::Stream>> {
        let mut unconnected = None;
        for place in self.connections.iter().filter_map(Mutex::try_lock) {
            if place.is_some() {
                return place;
            }
            unconnected.get_or_insert(place);
        }
        if let Some(place) = unconnected {
            return place;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].lock().await
    }

    async fn connect(&self) -> Result<R::Stream, StoreError> {
        let mut stream = self.runtime.connect(&self.address).await?;
        if let Some((user, password)) = &self.login {
            ask(&mut stream, &resp::command(&["AUTH", user, password]), REPLY).await?;
        }
        if self.database != 0 {
            let select = resp::command(&["SELECT", &self.database.to_string()]);
            ask(&mut stream, &select, REPLY).await?;
        }
        Ok(stream)
    }

    async fn sighting(
        &self,
        key: &Key,
        pace: Pace,
        now: SystemTime,
        how: &str,
    ) -> Result<Option<Sighting>, StoreError> {
        let Pace { apart, once, again } = pace;
        let [apart, once, again] = [apart, once, again].map(|time| length(time).to_string());
        let now = milliseconds(now).to_string();
        let answer = self.run(SEE, "seen", key, &[&now, &apart, &once, &again, how]).await?;
        answer.sighting()
    }
}

/// Returns the idle connection if it is still usable. The server sends nothing on an idle
/// connection, so readable data or EOF mean that it is not.
async fn still_open<S: AsyncRead + Unpin>(stream: Option<S>) -> Option<S> {
    let mut stream = stream?;
    match poll!(stream.read(&mut [0; 1])) {
        Poll::Pending => Some(stream),
        Poll::Ready(_) => None,
    }
}

/// Sends a command and reads the reply.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    command: &[u8],
    most: usize,
) -> Result<Box<[u8]>, StoreError> {
    stream.write_all(command).await?;
    stream.flush().await?;
    let mut reply = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        reply.extend_from_slice(&buffer[..count]);
        match Reply::parse(&reply, most)? {
            Some(Reply::Text(text)) => return Ok(text),
            Some(Reply::Error(text)) => return Err(StoreError::Declined(text)),
            None => {}
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(Arc::new(error))
    }
}

impl From<Garbled> for StoreError {
    fn from(Garbled(what): Garbled) -> Self {
        Self::Garbled(what)
    }
}

/// Answer of a script: words separated by spaces.
struct Answer(Box<str>);

impl Answer {
    fn sighting(&self) -> Result<Option<Sighting>, StoreError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let words: Vec<&str> = self.0.split(' ').collect();
        let [first, last, times, early, counted] = words[..] else {
            return Err(StoreError::Garbled("not a sighting"));
        };
        let read = || {
            Some(Sighting {
                first: time_of_day(first.parse().ok()?),
                last: time_of_day(last.parse().ok()?),
                times: times.parse().ok()?,
                early: early.parse().ok()?,
                counted: counted == "1",
            })
        };
        read().map(Some).ok_or(StoreError::Garbled("not a sighting"))
    }

    fn taken(&self, rate: Rate) -> Result<Taken, StoreError> {
        let words = self.0.split_once(' ').map(|(word, time)| (word, time.parse::<u64>()));
        match words {
            Some(("granted", Ok(rest))) => Ok(Taken::granted(rest, rate)),
            Some(("exhausted", Ok(wait))) => Ok(Taken::exhausted(wait)),
            _ => Err(StoreError::Garbled("neither granted nor exhausted")),
        }
    }

    fn balance(&self) -> Result<Balance, StoreError> {
        let number = |word: &str| word.parse::<f64>().ok().filter(|it| it.is_finite());
        let balance = || {
            let (good, bad) = self.0.split_once(' ')?;
            Some(Balance::new(number(good)?, number(bad)?))
        };
        balance().ok_or(StoreError::Garbled("not a balance"))
    }
}

#[async_trait]
impl<R: Runtime> Store for Redis<R> {
    fn server(&self) -> Option<&Address> {
        Some(&self.address)
    }

    fn breaker_state(&self) -> Option<State> {
        Some(self.breaker.state())
    }

    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        let sighting = self.sighting(key, pace, now, "see").await?;
        sighting.ok_or(StoreError::Garbled("not a sighting"))
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        const NONE: Pace =
            Pace { apart: Duration::ZERO, once: Duration::ZERO, again: Duration::ZERO };
        self.sighting(key, NONE, now, "recall").await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        let tokens = tokens.min(rate.tokens()).to_string();
        let [now, whole, each] =
            [microseconds(now), rate.whole(), rate.each()].map(|time| time.to_string());
        self.run(TAKE, "bucket", key, &[&now, &whole, &each, &tokens]).await?.taken(rate)
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        let [now, half_life] =
            [milliseconds(now), half_life.milliseconds()].map(|it| it.to_string());
        let [good, bad, most] = [add.good, add.bad, MOST].map(|weight| weight.to_string());
        let lifetime = HALF_LIVES.to_string();
        let arguments = [&*now, &half_life, &good, &bad, &most, &lifetime];
        self.run(WEIGH, "balance", key, &arguments).await?.balance()
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let [until, now] = [until, now].map(|time| milliseconds(time).to_string());
        let arguments = [sized(value)?, until.as_bytes(), now.as_bytes()];
        self.evaluate(PUT, "value", key, &arguments, REPLY).await.map(drop)
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        let now = milliseconds(now).to_string();
        let answer = self.evaluate(GET, "value", key, &[now.as_bytes()], LONG_REPLY).await?;
        match answer.split_first() {
            None => Ok(None),
            Some((b'=', value)) => Ok(Some(value.into())),
            Some(_) => Err(StoreError::Garbled("not a value")),
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.run(REMOVE, "value", key, &[]).await.map(drop)
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        let first = microseconds(now).max(1).to_string();
        let now = milliseconds(now);
        let (end, now) = ((now + retention.time).to_string(), now.to_string());
        let records = retention.records.to_string();
        let arguments = [&*records, &end, &now, &first].map(str::as_bytes);
        let arguments = [&[sized(record)?], &arguments[..]].concat();
        let position = self.evaluate(APPEND, "log", log, &arguments, REPLY).await?;
        let position = str::from_utf8(&position).ok().and_then(|text| text.parse().ok());
        position.ok_or(StoreError::Garbled("not a position"))
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        let numbers = [from, milliseconds(now), PAGE as u64, PAGE_RECORDS as u64];
        let arguments = numbers.map(|number| number.to_string());
        let arguments = [0, 1, 2, 3].map(|at| arguments[at].as_bytes());
        let answer = self.evaluate(READ, "log", log, &arguments, LONG_REPLY).await?;
        page(&answer).ok_or(StoreError::Garbled("not a log page"))
    }
}

/// Parses the answer of `read.lua`.
fn page(answer: &[u8]) -> Option<Page> {
    let word = |octets: &mut &[u8], end: u8| -> Option<u64> {
        let at = memchr::memchr(end, octets)?;
        let (word, rest) = octets.split_at(at);
        *octets = &rest[1..];
        str::from_utf8(word).ok()?.parse().ok()
    };
    let mut rest = answer;
    let next = word(&mut rest, b' ')?;
    let mut page = Page { next, missed: word(&mut rest, b'\n')? == 1, ..Page::default() };
    while !rest.is_empty() {
        let length = usize::try_from(word(&mut rest, b' ')?).ok()?;
        let (record, behind) = rest.split_at_checked(length)?;
        page.records.push(record.into());
        rest = behind;
    }
    Some(page)
}

impl<R: Runtime> fmt::Debug for Redis<R> {
    /// Omits the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
