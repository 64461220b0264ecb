use super::*;
use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn};

/// A test protocol. A request is `?N;`, where N is the number of earlier requests on the
/// connection. A reply is a word and `;`, with `!` before it if the connection must not be reused.
struct Words;

impl Reader for Words {
    type Reply = Answer<String>;
    type Fault = std::convert::Infallible;

    fn limit(&self) -> usize {
        20
    }

    fn read(&self, octets: &[u8]) -> Result<Option<Answer<String>>, Self::Fault> {
        let text = String::from_utf8_lossy(octets);
        Ok(text.strip_suffix(';').map(|word| {
            let (keep, word) = (!word.starts_with('!'), word.trim_start_matches('!'));
            Answer { reply: word.into(), keep }
        }))
    }
}

fn request(before: u32) -> Request {
    Request { segments: vec!["?".into(), format!("{before};").into()], end: End::Counted }
}

/// Sends a request at each of these moments, in seconds since the one before. Returns the results.
fn ask(runtime: &Rehearsal, moments: &[u64]) -> Vec<String> {
    let daemon = Daemon::new(runtime.clone(), "127.0.0.1:1".parse().unwrap());
    runtime.run(async {
        let mut results = Vec::new();
        for moment in moments {
            runtime.sleep(Duration::from_secs(*moment)).await;
            let result = daemon.ask(request, |_| Words).await;
            results.push(result.unwrap_or_else(|fault| format!("({fault})")));
        }
        results
    })
}

fn turns(says: &[&str], then: Then) -> Script {
    Script::turns(b";", says, then)
}

/// Scripts of the connections, moments of the requests, expected replies, data received by the
/// daemon, number of connections.
type Case<'a> = (Vec<Script>, &'a [u64], &'a [&'a str], &'a str, usize);

#[test]
fn good_connections_are_reused() {
    let new = || turns(&["new;"], Then::Hang);
    let table: [Case<'_>; 10] = [
        (
            vec![turns(&["a;", "b;", "c;"], Then::Hang)],
            &[0, 1, 19],
            &["a", "b", "c"],
            "?0;?1;?2;",
            1,
        ),
        // A connection is kept for 20 seconds.
        (vec![turns(&["a;", "b;"], Then::Hang), new()], &[0, 20], &["a", "new"], "?0;?0;", 2),
        // The daemon announced that it closes the connection, or closed it.
        (vec![turns(&["!a;"], Then::Hang), new()], &[0, 0], &["a", "new"], "?0;?0;", 2),
        (vec![turns(&["a;"], Then::Close), new()], &[0, 0], &["a", "new"], "?0;?0;", 2),
        (vec![turns(&["a;"], Then::Reset), new()], &[0, 0], &["a", "new"], "?0;?0;", 2),
        // The daemon closes the connection during the second request. The whole request is repeated
        // on a new one.
        (vec![turns(&["a;", ""], Then::Close), new()], &[0, 0], &["a", "new"], "?0;?1;?0;", 2),
        (vec![turns(&["a;", ""], Then::Reset), new()], &[0, 0], &["a", "new"], "?0;?1;?0;", 2),
        (
            vec![Script { takes: 4, ..turns(&["a;", ""], Then::Hang) }, new()],
            &[0, 0],
            &["a", "new"],
            "?0;??0;",
            2,
        ),
        // The request is repeated only once, and not after the start of a reply.
        (
            vec![turns(&["a;", ""], Then::Close), turns(&[""], Then::Close)],
            &[0, 0],
            &["a", "(the daemon closed the connection before the end of its response)"],
            "?0;?1;?0;",
            2,
        ),
        (
            vec![turns(&["a;", "b"], Then::Close), new()],
            &[0, 0],
            &["a", "(the daemon closed the connection before the end of its response)"],
            "?0;?1;",
            1,
        ),
    ];
    for (scripts, moments, replies, heard, connections) in table {
        let runtime = Rehearsal::with_each(scripts);
        assert_eq!(ask(&runtime, moments), replies, "{heard}");
        assert_eq!((&*runtime.heard(), runtime.connections()), (heard, (connections, 0)));
    }
}

#[test]
fn broken_new_connection_is_not_retried() {
    let table = [
        (Script::refuses(), "(connecting to the daemon failed: connection refused)"),
        (
            turns(&[""], Then::Close),
            "(the daemon closed the connection before the end of its response)",
        ),
        (
            turns(&["a"], Then::Close),
            "(the daemon closed the connection before the end of its response)",
        ),
        (turns(&["a"], Then::Reset), "(receiving from the daemon failed: connection reset)"),
        (
            Script { takes: 0, ..turns(&["a;"], Then::Hang) },
            "(sending to the daemon failed: connection reset)",
        ),
        (
            Script { takes: 2, ..turns(&["a;"], Then::Hang) },
            "(sending to the daemon failed: connection reset)",
        ),
        (turns(&["012345678901234567890"], Then::Hang), "(the response exceeds the size limit)"),
    ];
    for (script, expected) in table {
        let runtime = Rehearsal::with(script);
        assert_eq!(ask(&runtime, &[0]), [expected]);
        assert_eq!(runtime.connections(), (1, 0));
    }
}

#[test]
fn early_reply_counts_and_closes_the_connection() {
    let early = |takes, then| Script {
        takes,
        turns: vec![Turn { cue: Cue::Octets(1), says: b"too large;".into() }],
        ..turns(&[], then)
    };
    for (takes, then) in [(1, Then::Close), (1, Then::Reset), (1, Then::Hang)] {
        let runtime = Rehearsal::with(early(takes, then));
        assert_eq!(ask(&runtime, &[0, 0]), ["too large", "too large"]);
        assert_eq!(runtime.connections(), (2, 0));
    }
}

#[test]
fn idle_connections_are_bounded() {
    let runtime = Rehearsal::with(turns(&["a;", "b;"], Then::Hang));
    let daemon = Daemon::new(runtime.clone(), "127.0.0.1:1".parse().unwrap());
    // All connections are open at once: none is returned before the last one was opened.
    let begin = || runtime.run(daemon.runtime.connect(&daemon.address)).unwrap();
    let connections: Vec<_> = (0..20).map(|_| begin()).collect();
    for stream in connections {
        daemon.keep(Connection { stream, answered: 0, since: runtime.now() });
    }
    assert_eq!(runtime.connections(), (20, IDLE));
    drop(daemon);
    assert_eq!(runtime.connections(), (20, 0));
}

/// A daemon that accepts one slice per write, like the streams of tokio-util, and counts the
/// writes.
#[derive(Default)]
struct Counting {
    writes: usize,
    heard: Vec<u8>,
}

impl AsyncRead for Counting {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        buffer[..3].copy_from_slice(b"ok;");
        Poll::Ready(Ok(3))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        self.heard.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Small segments are written together. With one packet for each segment, 48 MB took 29 s.
#[test]
fn small_segments_are_written_together() {
    let segment = |length: usize| Bytes::from(vec![b'x'; length]);
    for (lengths, most) in [
        (vec![1], 1),
        ([3, 70].repeat(28_000), 2 + 28_000 * 73 / (16 << 10)),
        ([16_000, 1].repeat(100), 101),
        ([64 << 10].repeat(100), 100),
        ([64 << 10, 4].repeat(100), 200),
        ([0].repeat(100), 0),
    ] {
        let segments: Vec<Bytes> = lengths.iter().map(|length| segment(*length)).collect();
        let sent = segments.concat();
        let mut stream = Counting::default();
        let request = Request { segments, end: End::Counted };
        let mut heard = Vec::new();
        let answer = exchange(&mut stream, request, &Words, &mut heard);
        let (answer, whole) = Rehearsal::new().run(answer).unwrap();
        assert_eq!((&*answer.reply, whole, stream.heard == sent), ("ok", true, true));
        assert!(stream.writes <= most, "{} writes, at most {most}", stream.writes);
    }
}
