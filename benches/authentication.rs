//! CPU time of the scorer `Authentication` for a message of 10 KiB with SPF, two DKIM signatures of RSA keys
//! with 2,048 bits, and DMARC. `cargo bench --bench authentication --features sender-authentication`.
//!
//! All DNS answers are in memory. The baseline is mail-auth with the same message. Its records are parsed
//! before. Ours are parsed for the first message, and kept with their answers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod measure;
#[path = "../tests/authentication/signer.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod signer;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt as _;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dmarc::Dmarc;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::spf::Spf;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, DkimResult, DmarcResult, DnsError, Error,
    MessageAuthenticator, Parameters, ResolverCache, SpfResult, Txt,
};
use measure::{interleaved, is_quick, repeated, table};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use nobounce::envelope::{Envelope, SessionId};
use nobounce::message::MailData;
use nobounce::peer::{Helo, Peer};
use nobounce::scorers::Authentication;
use nobounce::{DataContext, ForwardPath, Message, RcptContext, ReversePath, Scorer, async_trait};
use signer::{Form, Key, Sign};

const HOST: &str = "mx.example.net";
const CLIENT: [u8; 4] = [192, 0, 2, 1];
const HELO: &str = "mail.example.org";
const SENDER: &str = "bounces@example.org";
/// Size of the message without its signatures, in octets.
const SIZE: usize = 10 << 10;

fn main() {
    let (rounds, times) = if is_quick() { (1, 1) } else { (41, 50) };
    let mail = mail();
    let zone = zone();
    let (mut ours, mut theirs) = (Ours::new(&mail, &zone), Theirs::new(&mail, &zone));
    let figures = interleaved(
        rounds,
        [&mut || repeated(times, || theirs.verify()) / times, &mut || {
            repeated(times, || ours.verify()) / times
        }],
    );
    let row = |name: &str, figure: measure::Figure| {
        let time = format!("{:.3}", figure.seconds * 1e3);
        vec![name.to_owned(), time, format!("{:.2}", figure.ratio)]
    };
    table(
        "SPF, two DKIM signatures (RSA, 2,048 bits) and DMARC of a message of 10 KiB",
        &["", "ms", "ratio"],
        &[row("mail-auth", figures[0]), row("nobounce", figures[1])],
    );
}

/// Returns a message with two signatures.
fn mail() -> String {
    let header = "From: Ann Example <ann@example.org>\r\nTo: Bob <bob@example.net>\r\n\
                  Subject: The figures of this month\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\n\
                  Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
                  Content-Type: text/plain; charset=utf-8\r\n\r\n";
    let line = "Each line of this text has the length that lines of text usually have.\r\n";
    let body = line.repeat((SIZE - header.len()) / line.len());
    let names = "from:to:subject:date:message-id:mime-version:content-type";
    ["one", "two"].iter().fold(header.to_owned() + &body, |mail, selector| {
        let tags = format!(
            "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s={selector};\r\n\t\
             h={names};\r\n\tbh={{bh}};\r\n\tb={{b}}"
        );
        let sign = Sign {
            name: "DKIM-Signature",
            key: Key::Rsa2048,
            header: Form::Relaxed,
            body: Form::Relaxed,
            length: None,
            names,
            tags: &tags,
        };
        sign.field(&mail) + &mail
    })
}

/// Returns a key record in DER that mail-auth reads, too.
fn key() -> String {
    const ALGORITHM: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let private = include_bytes!("../tests/authentication/keys/rsa-2048.der");
    let pair = ring::rsa::KeyPair::from_der(private).unwrap();
    let der = |tag: u8, value: &[u8]| {
        let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, high, low], value].concat()
    };
    let bits = der(0x03, &[&[0], pair.public().as_ref()].concat());
    let key = der(0x30, &[ALGORITHM, &bits].concat());
    format!("v=DKIM1; k=rsa; p={}", signer::base64(&key))
}

/// Returns the TXT records.
fn zone() -> Vec<(&'static str, String)> {
    let networks: String = (0..20).map(|at| format!("ip4:198.51.{at}.0/24 ")).collect();
    vec![
        ("example.org", "v=spf1 include:_spf.example.org -all".to_owned()),
        ("_spf.example.org", format!("v=spf1 {networks}ip4:192.0.2.0/24 ~all")),
        ("one._domainkey.example.org", key()),
        ("two._domainkey.example.org", key()),
        ("_dmarc.example.org", "v=DMARC1; p=reject; rua=mailto:dmarc@example.org".to_owned()),
    ]
}

struct Ours {
    scorer: Authentication,
    envelope: Envelope,
    message: Message,
    recipient: ForwardPath,
    transactions: u32,
}

struct Zone(HashMap<DomainName, Answer>);

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let answer = self.0.get(name).filter(|_| kind == RecordKind::Txt).cloned();
        Ok(answer.unwrap_or_else(|| Answer::no_such_domain(Duration::from_secs(60))))
    }
}

impl Ours {
    fn new(mail: &str, zone: &[(&str, String)]) -> Self {
        let answer = |text: &str| {
            Answer::new([Record::Txt(text.as_bytes().into())], Duration::from_secs(60))
        };
        let zone = zone.iter().map(|(name, text)| (name.parse().unwrap(), answer(text)));
        let mut peer = Peer::new((CLIENT, 4711).into());
        peer.helo = Some(Helo { extended: true, name: HELO.into() });
        let sender = ReversePath::parse(format!("<{SENDER}>")).unwrap();
        let id = SessionId::new("bench").transaction(0);
        let envelope = Envelope::new(id, Arc::new(peer), sender);
        let data = MailData::normalise(mail.as_bytes());
        Self {
            scorer: Authentication::new(Zone(zone.collect()), HOST),
            message: Message::new(HOST, &envelope, SystemTime::UNIX_EPOCH, data),
            envelope,
            recipient: ForwardPath::parse("<bob@example.net>").unwrap(),
            transactions: 0,
        }
    }

    /// Asks the scorer about the recipient and the message of a new transaction.
    fn verify(&mut self) {
        self.transactions += 1;
        self.envelope.id = SessionId::new("bench").transaction(self.transactions);
        let rcpt = RcptContext::new(&self.envelope, &self.recipient);
        pollster::block_on(self.scorer.on_rcpt(&rcpt)).unwrap();
        let data = DataContext::new(&self.envelope, &self.message);
        let opinion = pollster::block_on(self.scorer.on_data(&data)).unwrap();
        let symbols: Vec<_> = opinion.findings.iter().map(|it| it.symbol()).collect();
        assert_eq!(symbols, ["SPF_PASS", "DKIM_PASS", "DMARC_PASS"]);
    }
}

struct Theirs {
    evaluator: MessageAuthenticator,
    mail: String,
    txt: Known<Box<str>, Txt>,
    others: Nothing,
}

struct Known<K, V>(HashMap<K, V>);
struct Nothing;

impl ResolverCache<Box<str>, Txt> for Known<Box<str>, Txt> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let not_found = || Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)));
        Some(self.0.get(name).cloned().unwrap_or_else(not_found))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

impl<K, V> ResolverCache<K, V> for Nothing {
    fn get<Q>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn remove<Q>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: K, _: V, _: Instant) {}
}

impl Theirs {
    fn new(mail: &str, zone: &[(&str, String)]) -> Self {
        let parse = |(name, text): &(&str, String)| {
            let text = text.as_bytes();
            let record: Txt = match name {
                name if name.contains("._domainkey.") => DomainKey::parse(text).into(),
                name if name.starts_with("_dmarc.") => Dmarc::parse(text).into(),
                _ => Spf::parse(text).into(),
            };
            let name: Box<str> = format!("{name}.").into();
            [(name.trim_end_matches('.').into(), record.clone()), (name, record)]
        };
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        Self {
            evaluator: MessageAuthenticator::new(nobody, ResolverOpts::default()).unwrap(),
            mail: mail.to_owned(),
            txt: Known(zone.iter().flat_map(parse).collect()),
            others: Nothing,
        }
    }

    fn with<P>(&self, params: P) -> Given<'_, P> {
        Parameters {
            params,
            cache_txt: Some(&self.txt),
            cache_mx: Some(&self.others),
            cache_ptr: Some(&self.others),
            cache_ipv4: Some(&self.others),
            cache_ipv6: Some(&self.others),
        }
    }

    fn verify(&mut self) {
        let client: IpAddr = CLIENT.into();
        let parameters = SpfParameters::verify_mail_from(client, HELO, HOST, SENDER);
        let spf = self.evaluator.verify_spf(self.with(parameters)).now_or_never().unwrap();
        let message = AuthenticatedMessage::parse(self.mail.as_bytes()).unwrap();
        let dkim = self.evaluator.verify_dkim(self.with(&message)).now_or_never().unwrap();
        let parameters = DmarcParameters {
            message: &message,
            dkim_output: &dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: "example.org",
            spf_output: &spf,
        };
        let dmarc = self.evaluator.verify_dmarc(self.with(parameters)).now_or_never().unwrap();
        assert_eq!(spf.result(), SpfResult::Pass);
        let results: Vec<_> = dkim.iter().map(|it| it.result()).collect();
        assert_eq!(results, [&DkimResult::Pass, &DkimResult::Pass]);
        assert_eq!(dmarc.result(), DmarcResult::Pass);
        let field = AuthenticationResults::new(HOST)
            .with_spf_mailfrom_result(&spf, client, SENDER, HELO)
            .with_dkim_results(&dkim, "example.org")
            .with_dmarc_result(&dmarc);
        std::hint::black_box(field.to_string());
    }
}

type Given<'t, P> = Parameters<'t, P, Known<Box<str>, Txt>, Nothing, Nothing, Nothing, Nothing>;
