//! DMARC: tables of author fields, of records, and of domains. Each row has the paragraph that decides it.

mod authors;
mod bounds;
mod espoofer;
mod policies;
mod records;

use std::sync::Arc;

use nobounce::dns::Resolver;
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::peer::Helo;
use nobounce::scorers::Authentication;
use nobounce::{DataContext, Envelope, Message, Opinion, Peer, ReversePath, Scorer, ScorerError};

/// A record of a domain that wants forged mail refused, and the SPF record of another domain that allows
/// the client.
pub(crate) const ZONE: &str = "_dmarc.legit.example TXT v=DMARC1; p=reject
    legit.example TXT v=spf1 -all
    attack.example TXT v=spf1 ip4:192.0.2.1 -all";

/// Returns the opinion about a message from 192.0.2.1, or the failure that has it.
pub(crate) fn judge(
    resolver: impl Resolver + 'static,
    helo: &str,
    sender: &str,
    content: &[u8],
    refuse: bool,
) -> Result<Opinion, ScorerError> {
    let scorer = Authentication::new(resolver, "mx.example.net");
    let scorer = if refuse { scorer.refuse_rejected() } else { scorer };
    let mut peer = Peer::new("192.0.2.1:4711".parse().unwrap());
    peer.helo = Some(Helo { extended: true, name: helo.into() });
    let id = SessionId::new("test").transaction(1);
    let envelope = Envelope::new(id, Arc::new(peer), ReversePath::parse(sender).unwrap());
    let data = MailData::normalise(content);
    let message = Message::new("mx.example.net", &envelope, std::time::UNIX_EPOCH, data);
    pollster::block_on(scorer.on_data(&DataContext::new(&envelope, &message)))
}

/// Returns the symbols of an opinion that begin so, and whether the scorer failed.
pub(crate) fn symbols(answer: &Result<Opinion, ScorerError>, prefixes: &[&str]) -> String {
    let opinion = answer.as_ref().unwrap_or_else(ScorerError::opinion);
    let symbols = opinion.findings.iter().map(|finding| finding.symbol());
    let symbols = symbols.filter(|it| prefixes.iter().any(|prefix| it.starts_with(prefix)));
    symbols.collect::<Vec<_>>().join(" ")
}
