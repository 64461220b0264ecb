//! Limits on replies of scorers' daemons and on what is sent to them.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::scorers::{Clamd, Oversize, Rspamd, Spamd};
use nobounce::{
    Address, DataContext, Envelope, Message, Opinion, Peer, ReversePath, Runtime, Scorer,
    ScorerError,
};

/// A daemon that always sends the same reply, whatever it receives.
#[derive(Clone)]
pub(crate) struct Daemon {
    says: Arc<[u8]>,
    heard: Arc<Mutex<Vec<u8>>>,
}

pub(crate) struct Connection {
    daemon: Daemon,
    said: usize,
}

#[async_trait]
impl Runtime for Daemon {
    type Stream = Connection;

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }

    async fn connect(&self, _: &Address) -> io::Result<Connection> {
        Ok(Connection { daemon: self.clone(), said: 0 })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = buffer.write(&self.daemon.says[self.said..])?;
        self.said += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.daemon.heard.lock().unwrap().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn daemon(says: &str) -> Daemon {
    Daemon { says: says.as_bytes().into(), heard: Arc::default() }
}

fn address() -> Address {
    "127.0.0.1:1".parse().unwrap()
}

/// Returns the scorer's result for a small message.
fn ask(scorer: &dyn Scorer) -> Result<Opinion, ScorerError> {
    let sender = ReversePath::parse("<a@example.com>").unwrap();
    let peer = Arc::new(Peer::new(([192, 0, 2, 1], 4711).into()));
    let envelope = Envelope::new(SessionId::new("test").transaction(1), peer, sender);
    let content = MailData::normalise(b"Subject: x\r\n\r\nx\r\n");
    let message = Message::new("mx.example", &envelope, SystemTime::UNIX_EPOCH, content);
    pollster::block_on(scorer.on_data(&DataContext::new(&envelope, &message)))
}

/// Checks that a reply of exactly the limit is read, and that it is a failure if the limit is one
/// octet less.
fn assert_heard_up_to<S: Scorer>(reply: &str, limit: usize, scorer: impl Fn(Daemon, usize) -> S) {
    assert!(ask(&scorer(daemon(reply), limit)).is_ok());
    let error = ask(&scorer(daemon(reply), limit - 1)).unwrap_err();
    assert_eq!(error.to_string(), "the response exceeds the size limit");
}

#[test]
fn spamd_reply() {
    let reply = "SPAMD/1.1 0 EX_OK\r\nContent-length: 4\r\nSpam: False ; 1 / 5\r\n\r\nRULE";
    assert_heard_up_to(reply, reply.len(), |daemon, limit| {
        Spamd::new(daemon, address()).reply_limit(limit)
    });
}

const REPORT: &str = r#"{"score":1.0,"required_score":15.0,"action":"no action"}"#;

fn response() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{REPORT}", REPORT.len())
}

#[test]
fn rspamd_reply() {
    assert_heard_up_to(&response(), REPORT.len(), |daemon, limit| {
        Rspamd::new(daemon, address()).reply_limit(limit)
    });
}

#[test]
fn clamd_reply() {
    let reply = "1: stream: Eicar-Test-Signature FOUND\0";
    assert_heard_up_to(reply, reply.len(), |daemon, limit| {
        Clamd::new(daemon, address()).reply_limit(limit)
    });
}

#[test]
fn message_for_rspamd() {
    // Returns how much of the message is sent with this limit.
    let sent = |octets: usize, oversize: Oversize| {
        let daemon = daemon(&response());
        let rspamd = Rspamd::new(daemon.clone(), address()).size_limit(octets, oversize);
        ask(&rspamd).unwrap();
        let heard = String::from_utf8(daemon.heard.lock().unwrap().clone()).unwrap();
        heard.split_once("\r\n\r\n").map_or(0, |(_, message)| message.len())
    };
    let whole = sent(usize::MAX, Oversize::Head);
    assert_eq!(sent(whole, Oversize::Skip), whole);
    assert_eq!(sent(whole - 1, Oversize::Skip), 0);
    assert_eq!(sent(whole - 1, Oversize::Head), whole - "x\r\n".len(), "a line less");
}
