//! A stub resolver: asks the servers it was given, by UDP, and by TCP what does not fit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::message::{Query, Reply};
use super::turns::Turns;
use super::{Answer, DomainName, RecordKind, ResolveError, Resolver};
use crate::deadline::{Awaiting, Deadline};
use crate::runtime::{Address, Runtime, within};

/// How long one server has for one answer (glibc waits 5 s), and how often each is asked.
const PATIENCE: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;
/// Questions that are under way at the same time, each with a socket.
const QUESTIONS: usize = 200;
/// Longest datagram that is read. Nobody was told that more than 512 octets may come.
const DATAGRAM: usize = 4_096;
/// Datagrams that may be no answer before the server is asked by TCP instead: who sends them may be
/// guessing ids (unbound's `unwanted-reply-threshold` is the same thought).
const UNRELATED: usize = 32;

/// Asks recursive resolvers, over the datagrams and connections of a [`Runtime`].
///
/// Each question goes out with a random id (of the operating system, by `getrandom`) on a socket of
/// its own, whose random port the system chooses, and only the answer to this question, from the server
/// that was asked, is taken (RFC 5452 section 9). What is cut off is asked for again by TCP (RFC 7766),
/// as is everything where the runtime has no datagrams. EDNS is not used: 512 octets hold the answer
/// of a list, and longer ones come by TCP.
///
/// A server that is silent for 3 seconds, declines or talks nonsense makes way for the next; each is
/// asked twice. So two servers that are silent cost 12 seconds: a scorer's budget ends that sooner.
///
/// 200 questions are under way at the same time. Later ones wait in the order in which they came, for
/// as long as whoever asks has time.
///
/// It remembers nothing: put it in a [`Cache`](super::Cache).
#[derive(Debug)]
pub struct Client<R> {
    turns: Turns,
    runtime: R,
    servers: Box<[SocketAddr]>,
    patience: Duration,
    rounds: usize,
    /// The server that answered last; it is asked first.
    preferred: AtomicUsize,
}

impl<R: Runtime> Client<R> {
    /// Asks these servers, the first one first as long as it answers.
    pub fn new(runtime: R, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers = servers.into_iter().collect();
        let preferred = AtomicUsize::new(0);
        let turns = Turns::new(QUESTIONS);
        Self { turns, runtime, servers, patience: PATIENCE, rounds: ROUNDS, preferred }
    }

    /// Sets how many questions may be under way at the same time, at least one: as many sockets are
    /// open.
    #[must_use]
    pub fn concurrent(mut self, questions: usize) -> Self {
        self.turns = Turns::new(questions);
        self
    }

    /// How long one server has for one answer, and how many times each is asked, at least once.
    #[must_use]
    pub fn patience(mut self, patience: Duration, rounds: usize) -> Self {
        (self.patience, self.rounds) = (patience, rounds.max(1));
        self
    }

    /// Asks one server, for as long as it may take.
    async fn ask(&self, server: SocketAddr, query: &Query<'_>) -> Result<Answer, ResolveError> {
        let at = self.runtime.now() + self.patience;
        let deadline = Deadline { at, awaiting: Awaiting::Connection };
        let answer = async {
            match self.by_datagram(server, query).await? {
                Some(answer) => Ok(answer),
                None => self.by_stream(server, query).await,
            }
        };
        within(&self.runtime, Some(deadline), answer).await.unwrap_or(Err(ResolveError::Late))
    }

    /// The answer, or `None` if it is to be had by TCP.
    async fn by_datagram(
        &self,
        server: SocketAddr,
        query: &Query<'_>,
    ) -> Result<Option<Answer>, ResolveError> {
        let socket = match self.runtime.datagrams(server).await {
            Ok(socket) => socket,
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(None),
            Err(error) => return Err(network(&error)),
        };
        socket.send(query.octets()).await.map_err(|error| network(&error))?;
        let mut buffer = [0; DATAGRAM];
        for _ in 0..UNRELATED {
            let length = socket.receive(&mut buffer).await.map_err(|error| network(&error))?;
            match query.read(&buffer[..length]) {
                Reply::Answer(answer) => return Ok(Some(answer)),
                Reply::Failed(error) => return Err(error),
                Reply::Truncated => return Ok(None),
                // The answer may still come.
                Reply::Unrelated(_) => {}
            }
        }
        Ok(None)
    }

    async fn by_stream(
        &self,
        server: SocketAddr,
        query: &Query<'_>,
    ) -> Result<Answer, ResolveError> {
        let reply = async {
            let address = Address::Tcp(server.to_string().into());
            let mut stream = self.runtime.connect(&address).await?;
            let length = u16::try_from(query.octets().len()).unwrap_or(u16::MAX).to_be_bytes();
            // In one write: RFC 7766 section 8.
            stream.write_all(&[&length[..], query.octets()].concat()).await?;
            stream.flush().await?;
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            let mut reply = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut reply).await?;
            Ok(reply)
        };
        let reply = reply.await.map_err(|error: std::io::Error| network(&error))?;
        match query.read(&reply) {
            Reply::Answer(answer) => Ok(answer),
            Reply::Failed(error) => Err(error),
            Reply::Truncated => Err(ResolveError::Malformed("cut off by TCP, too")),
            Reply::Unrelated(why) => Err(ResolveError::Malformed(why)),
        }
    }
}

#[async_trait]
impl<R: Runtime> Resolver for Client<R> {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let _turn = self.turns.take().await;
        let mut failure = ResolveError::NoServer;
        let first = self.preferred.load(Ordering::Relaxed);
        for attempt in 0..self.servers.len() * self.rounds {
            let place = (first + attempt) % self.servers.len();
            // A new id each time, so that a late answer to the last attempt is none to this one.
            let query = Query::new(random_id()?, name, kind)?;
            match self.ask(self.servers[place], &query).await {
                Ok(answer) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn random_id() -> Result<u16, ResolveError> {
    let mut octets = [0; 2];
    getrandom::fill(&mut octets).map_err(|error| ResolveError::Other(error.to_string().into()))?;
    Ok(u16::from_be_bytes(octets))
}

fn network(error: &std::io::Error) -> ResolveError {
    ResolveError::Network(error.to_string().into())
}

#[cfg(test)]
mod tests;
