//! A stub resolver: asks the given servers by UDP, and by TCP if the answer is truncated.

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

/// Timeout of one server for one answer (glibc: 5 s), and number of attempts per server.
const PATIENCE: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;
/// Default limit of concurrent questions. Each has its own socket.
const QUESTIONS: usize = 200;
/// Receive buffer for datagrams. Servers are asked to send at most 1,232 octets.
const DATAGRAM: usize = 4_096;
/// Number of unrelated datagrams after which the server is asked by TCP instead, because somebody
/// may be guessing IDs (similar to unbound's `unwanted-reply-threshold`).
const UNRELATED: usize = 32;
/// Response codes of servers that do not know EDNS (RFC 6891 section 7).
const FORMAT_ERROR: u16 = 1;
const NOT_IMPLEMENTED: u16 = 4;

/// A client of recursive resolvers, which uses the datagrams and connections of a [`Runtime`].
///
/// Each question has a random ID from the operating system (`getrandom`) and its own socket, for
/// which the system chooses a random port. Only the answer to this question from the asked server
/// is accepted (RFC 5452 section 9). Truncated answers are requested again by TCP (RFC 7766). If
/// the runtime has no datagrams, all questions use TCP. Servers are asked for datagrams of up to
/// 1,232 octets (EDNS, RFC 6891). A server that does not know EDNS is asked again without it.
///
/// If a server does not answer within 3 seconds, returns an error or sends a malformed answer, the
/// next server is asked. Each server is asked up to twice. With two silent servers, a lookup fails
/// after 12 seconds. The budget of a scorer usually ends it sooner.
///
/// Up to 200 questions run concurrently. Further questions wait in order of arrival, until the
/// budget of the caller ends.
///
/// The client does not cache. Wrap it in a [`Cache`](super::Cache).
#[derive(Debug)]
pub struct Client<R> {
    turns: Turns,
    runtime: R,
    servers: Box<[SocketAddr]>,
    patience: Duration,
    rounds: usize,
    /// Index of the server that answered last. It is asked first.
    preferred: AtomicUsize,
}

impl<R: Runtime> Client<R> {
    /// Creates a client of these servers. The first server is asked first as long as it answers.
    pub fn new(runtime: R, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers = servers.into_iter().collect();
        let preferred = AtomicUsize::new(0);
        let turns = Turns::new(QUESTIONS);
        Self { turns, runtime, servers, patience: PATIENCE, rounds: ROUNDS, preferred }
    }

    /// Sets the limit of concurrent questions, at least one. Each question has one open socket.
    #[must_use]
    pub fn concurrent(mut self, questions: usize) -> Self {
        self.turns = Turns::new(questions);
        self
    }

    /// Sets the timeout of one server for one answer, and the number of attempts per server, at
    /// least one.
    #[must_use]
    pub fn patience(mut self, patience: Duration, rounds: usize) -> Self {
        (self.patience, self.rounds) = (patience, rounds.max(1));
        self
    }

    /// Asks one server, with the timeout.
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

    /// Asks by UDP. Returns `None` if the question must be sent by TCP.
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
                // The real answer may still arrive.
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
            // Length and question in one write (RFC 7766 section 8).
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
            Reply::Truncated => Err(ResolveError::Malformed("truncated over TCP")),
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
            // Each attempt has a new ID, so a late answer to the previous attempt is not accepted.
            let query = Query::new(random_id()?, name, kind);
            let mut answer = self.ask(self.servers[place], &query).await;
            if let Err(ResolveError::Declined(FORMAT_ERROR | NOT_IMPLEMENTED)) = answer {
                // The server may not know EDNS (RFC 6891 section 6.2.2).
                let query = Query::without_edns(random_id()?, name, kind);
                answer = self.ask(self.servers[place], &query).await;
            }
            match answer {
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
