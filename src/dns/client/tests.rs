use std::collections::{HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::dns::Record;
use crate::rehearsal::Rehearsal;
use crate::runtime::Datagrams;

type Says<T> = Arc<Mutex<dyn FnMut(SocketAddr, &[u8]) -> T + Send>>;

/// DNS servers, as a runtime with the clock of a rehearsal.
#[derive(Clone)]
struct Network {
    rehearsal: Rehearsal,
    /// Responses to a datagram. `None`: the runtime has no datagrams.
    datagrams: Option<Says<Vec<Datagram>>>,
    /// Response by TCP, in pieces of three octets, and what follows it. `None`: connections are
    /// refused.
    stream: Option<Says<(Vec<u8>, Then)>>,
    sockets: Arc<Mutex<usize>>,
    /// Open sockets, and the maximum that were open at the same time.
    open: Arc<Mutex<(usize, usize)>>,
}

#[derive(Clone)]
enum Datagram {
    Octets(Vec<u8>),
    Broken,
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Reset,
    Hang,
}

impl Network {
    fn new() -> Self {
        let rehearsal = Rehearsal::new();
        Self {
            rehearsal,
            datagrams: None,
            stream: None,
            sockets: Arc::default(),
            open: Arc::default(),
        }
    }

    fn datagrams(
        mut self,
        says: impl FnMut(SocketAddr, &[u8]) -> Vec<Datagram> + Send + 'static,
    ) -> Self {
        self.datagrams = Some(Arc::new(Mutex::new(says)));
        self
    }

    fn stream(
        mut self,
        says: impl FnMut(SocketAddr, &[u8]) -> (Vec<u8>, Then) + Send + 'static,
    ) -> Self {
        self.stream = Some(Arc::new(Mutex::new(says)));
        self
    }

    /// Asks a client. Returns the result and the elapsed time.
    fn ask(&self, client: &Client<Self>) -> (Result<Vec<Record>, ResolveError>, Duration) {
        let began = self.rehearsal.elapsed();
        let answer = self.rehearsal.run(client.lookup(&name(), RecordKind::A));
        (answer.map(|it| it.records.to_vec()), self.rehearsal.elapsed() - began)
    }
}

#[async_trait]
impl Runtime for Network {
    type Stream = Connection;

    fn now(&self) -> Instant {
        self.rehearsal.now()
    }

    async fn sleep_until(&self, at: Instant) {
        self.rehearsal.sleep_until(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Connection> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let says = self.stream.clone().ok_or_else(refused)?;
        let server = address.to_string().parse().unwrap();
        Ok(Connection { server, says, coming: None, then: Then::Hang })
    }

    async fn datagrams(&self, server: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let says = self.datagrams.clone().ok_or_else(unsupported)?;
        *self.sockets.lock().unwrap() += 1;
        let open = self.open.clone();
        {
            let mut open = open.lock().unwrap();
            *open = (open.0 + 1, open.1.max(open.0 + 1));
        }
        Ok(Box::new(Socket { server, says, coming: Mutex::default(), open }))
    }
}

struct Socket {
    server: SocketAddr,
    says: Says<Vec<Datagram>>,
    coming: Mutex<VecDeque<Datagram>>,
    open: Arc<Mutex<(usize, usize)>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.open.lock().unwrap().0 -= 1;
    }
}

#[async_trait]
impl Datagrams for Socket {
    async fn send(&self, octets: &[u8]) -> io::Result<()> {
        let says = (self.says.lock().unwrap())(self.server, octets);
        self.coming.lock().unwrap().extend(says);
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let next = self.coming.lock().unwrap().pop_front();
        match next {
            Some(Datagram::Octets(octets)) => {
                let length = octets.len().min(buffer.len());
                buffer[..length].copy_from_slice(&octets[..length]);
                Ok(length)
            }
            Some(Datagram::Broken) => Err(io::ErrorKind::ConnectionRefused.into()),
            None => std::future::pending().await,
        }
    }
}

struct Connection {
    server: SocketAddr,
    says: Says<(Vec<u8>, Then)>,
    coming: Option<Vec<u8>>,
    then: Then,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let then = self.then;
        let coming = self.coming.get_or_insert_default();
        if coming.is_empty() {
            return match then {
                Then::Close => Poll::Ready(Ok(0)),
                Then::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Then::Hang => Poll::Pending,
            };
        }
        let count = coming.len().min(buffer.len()).min(3);
        buffer[..count].copy_from_slice(&coming[..count]);
        coming.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Length and question arrive in one write.
        assert_eq!(usize::from(octets[0]) << 8 | usize::from(octets[1]), octets.len() - 2);
        let said = (self.says.lock().unwrap())(self.server, &octets[2..]);
        (self.coming, self.then) = (Some(said.0), said.1);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn name() -> DomainName {
    "a.example".parse().unwrap()
}

fn server(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 53).into()
}

/// Creates a reply to `query` with one A record, or with only this response code, without EDNS.
fn reply(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut reply = query[..12 + 15].to_vec();
    reply[11] = 0;
    (reply[2], reply[3]) = (0x81, 0x80 | rcode);
    if rcode == 0 {
        reply[7] = 1;
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x02");
    }
    reply
}

fn truncated(query: &[u8]) -> Vec<u8> {
    let mut reply = reply(query, 0);
    reply[2] |= 2;
    reply
}

fn with_length(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn listed() -> Result<Vec<Record>, ResolveError> {
    Ok(vec![Record::A([127, 0, 0, 2].into())])
}

/// Asks two servers that respond to datagrams like this. Returns the result, the elapsed time and
/// the number of sockets used.
fn ask_two(
    says: impl FnMut(SocketAddr, &[u8]) -> Vec<Datagram> + Send + 'static,
) -> (Result<Vec<Record>, ResolveError>, Duration, usize) {
    let network = Network::new().datagrams(says);
    let (answer, took) = network.ask(&Client::new(network.clone(), [server(1), server(2)]));
    let sockets = *network.sockets.lock().unwrap();
    (answer, took, sockets)
}

fn right(query: &[u8]) -> Vec<Datagram> {
    vec![Datagram::Octets(reply(query, 0))]
}

#[test]
fn the_first_server_answers() {
    assert_eq!(ask_two(|_, query| right(query)), (listed(), Duration::ZERO, 1));
}

#[test]
fn next_server_is_asked_when_one_does_not_answer() {
    type Misbehaves = fn(&[u8]) -> Vec<Datagram>;
    let table: [(Misbehaves, Duration); 6] = [
        (|_| vec![], PATIENCE),
        (|_| vec![Datagram::Broken], Duration::ZERO),
        (|query| vec![Datagram::Octets(reply(query, 2))], Duration::ZERO),
        (|query| vec![Datagram::Octets(reply(query, 5))], Duration::ZERO),
        (|_| vec![Datagram::Octets(vec![0; 65_507]), Datagram::Octets(vec![])], PATIENCE),
        // The server floods without end, and does not listen on TCP either.
        (|_| vec![Datagram::Octets(vec![255; 20]); 1_000], Duration::ZERO),
    ];
    for (misbehaves, takes) in table {
        let answer = ask_two(move |to, query| match to == server(1) {
            true => misbehaves(query),
            false => right(query),
        });
        assert_eq!(answer, (listed(), takes, 2));
    }
}

#[test]
fn lookup_ends_in_time_when_no_server_answers() {
    assert_eq!(ask_two(|_, _| vec![]), (Err(ResolveError::Late), 4 * PATIENCE, 4));
}

#[test]
fn server_that_answered_is_asked_first() {
    let network = Network::new().datagrams(|to, query| match to == server(1) {
        true => vec![],
        false => right(query),
    });
    let client = Client::new(network.clone(), [server(1), server(2)]);
    assert_eq!(network.ask(&client), (listed(), PATIENCE));
    assert_eq!(network.ask(&client), (listed(), Duration::ZERO));
}

/// RFC 6891 section 6.2.2. The question without EDNS has its own socket and ID.
#[test]
fn a_server_that_does_not_know_edns_is_asked_without_it() {
    // Some servers reply with the header alone.
    for (rcode, length) in [(1, 12 + 15), (4, 12 + 15), (1, 12), (4, 12)] {
        let ids = Arc::new(Mutex::new(Vec::new()));
        let seen = ids.clone();
        let answer = ask_two(move |to, query| {
            assert_eq!(to, server(1));
            seen.lock().unwrap().push([query[0], query[1]]);
            let has_edns = query[11] == 1;
            assert_eq!(query.len(), 12 + 15 + if has_edns { 11 } else { 0 });
            vec![Datagram::Octets(match has_edns {
                true => reply(query, rcode)[..length].to_vec(),
                false => reply(query, 0),
            })]
        });
        assert_eq!(answer, (listed(), Duration::ZERO, 2));
        let ids = ids.lock().unwrap();
        assert!(ids.len() == 2 && ids[0] != ids[1]);
    }
    // A server that declines both is passed over, like any other.
    let answer = ask_two(|to, query| match to == server(1) {
        true => vec![Datagram::Octets(reply(query, 1))],
        false => right(query),
    });
    assert_eq!(answer, (listed(), Duration::ZERO, 3));
}

#[test]
fn forged_responses_are_ignored() {
    let answer = ask_two(|_, query| {
        let mut forged = reply(query, 0);
        forged[1] ^= 1;
        let mut other = reply(query, 0);
        other[13] = b'b';
        [forged, other, query.to_vec(), vec![], reply(query, 0)].map(Datagram::Octets).into()
    });
    assert_eq!(answer, (listed(), Duration::ZERO, 1));
}

#[test]
fn each_query_has_a_separate_id_and_socket() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let seen = ids.clone();
    let network = Network::new().datagrams(move |_, query| {
        seen.lock().unwrap().insert([query[0], query[1]]);
        right(query)
    });
    let client = Client::new(network.clone(), [server(1)]);
    for _ in 0..200 {
        network.ask(&client).0.unwrap();
    }
    let different = ids.lock().unwrap().len();
    assert!(different > 190, "{different} of 200 ids differ");
    assert_eq!(*network.sockets.lock().unwrap(), 200);
}

/// With a thousand questions to a silent server, at most 200 sockets are open. The other questions
/// wait for their turn.
#[test]
fn concurrent_queries_are_bounded() {
    let name = name();
    let ask = |client: Client<Network>, network: &Network| {
        let questions = (0..1_000).map(|_| client.lookup(&name, RecordKind::A));
        let answers = network.rehearsal.run(futures::future::join_all(questions));
        let (open, most) = *network.open.lock().unwrap();
        assert_eq!((answers.len(), open), (1_000, 0));
        (most, network.rehearsal.elapsed())
    };
    let silent = || Network::new().datagrams(|_, _| vec![]);
    let network = silent();
    let client = Client::new(network.clone(), [server(1)]);
    assert_eq!(ask(client, &network), (200, PATIENCE * 2 * 5));
    let network = silent();
    let client = Client::new(network.clone(), [server(1)]).concurrent(500);
    assert_eq!(ask(client, &network), (500, PATIENCE * 2 * 2));
}

/// When the caller's budget ends, it stops waiting and leaves the queue.
#[test]
fn expired_query_leaves_the_queue() {
    let network = Network::new().datagrams(|_, _| vec![]);
    let client = Client::new(network.clone(), [server(1)]).concurrent(1);
    let name = name();
    let budget = |seconds| {
        let at = network.now() + Duration::from_secs(seconds);
        let deadline = Deadline { at, awaiting: Awaiting::Verdict };
        within(&network, Some(deadline), client.lookup(&name, RecordKind::A))
    };
    let answers =
        network.rehearsal.run(futures::future::join_all([budget(60), budget(1), budget(60)]));
    assert_eq!(answers, [Some(Err(ResolveError::Late)), None, Some(Err(ResolveError::Late))]);
    assert_eq!(network.rehearsal.elapsed(), PATIENCE * 4);
}

/// Returns the result if the server responds like this by TCP.
fn by_tcp(
    says: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    then: Then,
) -> (Result<Vec<Record>, ResolveError>, Duration) {
    let cut = |_, query: &[u8]| vec![Datagram::Octets(truncated(query))];
    let network = Network::new().datagrams(cut).stream(move |_, query| (says(query), then));
    network.ask(&Client::new(network.clone(), [server(1)]).patience(PATIENCE, 1))
}

#[test]
fn truncated_response_is_repeated_over_tcp() {
    let (answer, _) = by_tcp(|query| with_length(&reply(query, 0)), Then::Hang);
    assert_eq!(answer, listed());
    // TCP is also used if the runtime has no datagrams, and if a server floods the client with
    // datagrams.
    let whole = |_, query: &[u8]| (with_length(&reply(query, 0)), Then::Close);
    let flood = |_, _: &[u8]| vec![Datagram::Octets(vec![0; 12]); 10_000];
    for network in [Network::new().stream(whole), Network::new().stream(whole).datagrams(flood)] {
        let client = Client::new(network.clone(), [server(1)]);
        assert_eq!(network.ask(&client), (listed(), Duration::ZERO));
    }
}

#[test]
fn too_many_unrelated_packets_lead_to_tcp() {
    for (others, by_tcp) in [(UNRELATED - 1, false), (UNRELATED, true)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (flood, count) = (vec![vec![0; 12]; others], asked.clone());
        let network = Network::new()
            .datagrams(move |_, query| {
                [flood.clone(), vec![reply(query, 0)]]
                    .concat()
                    .into_iter()
                    .map(Datagram::Octets)
                    .collect()
            })
            .stream(move |_, query| {
                count.fetch_add(1, Ordering::Relaxed);
                (with_length(&reply(query, 0)), Then::Close)
            });
        let client = Client::new(network.clone(), [server(1)]);
        assert_eq!(network.ask(&client), (listed(), Duration::ZERO));
        assert_eq!(asked.load(Ordering::Relaxed), usize::from(by_tcp), "{others}");
    }
}

#[test]
fn failure_over_tcp_is_an_error() {
    let malformed = |why| Err(ResolveError::Malformed(why));
    let (answer, _) = by_tcp(|query| with_length(&truncated(query)), Then::Hang);
    assert_eq!(answer, malformed("truncated over TCP"));
    let (answer, _) = by_tcp(|_| vec![255; 70_000], Then::Hang);
    assert_eq!(answer, malformed("wrong ID"));
    let (answer, _) = by_tcp(|_| vec![0, 0], Then::Hang);
    assert_eq!(answer, malformed("wrong ID"));
    let (answer, _) = by_tcp(|query| with_length(&reply(query, 2)), Then::Hang);
    assert_eq!(answer, Err(ResolveError::Declined(2)));
    for cut in [0, 1, 2, 10] {
        let says = move |query: &[u8]| with_length(&reply(query, 0))[..cut].to_vec();
        for then in [Then::Close, Then::Reset] {
            assert!(matches!(by_tcp(says, then).0, Err(ResolveError::Network(_))), "{cut}");
        }
        assert_eq!(by_tcp(says, Then::Hang), (Err(ResolveError::Late), PATIENCE));
    }
}

#[test]
fn lookup_without_servers_fails() {
    let network = Network::new();
    let client = Client::new(network.clone(), []);
    assert_eq!(network.ask(&client).0, Err(ResolveError::NoServer));
}
