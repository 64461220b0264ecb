//! SPF, DKIM, ARC and DMARC.

mod results;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::authentication::arc::Chain;
use crate::authentication::dkim::Signatures;
use crate::authentication::{
    Authors, Content, Dmarc, DmarcIdentifier, Keys, Spf, SpfOutcome, dmarc, spf,
};
use crate::dns::{DomainName, RecordKind, Resolver, ask_all};
use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::host::HostName;
use crate::message::Message;
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Finding, Score};
use crate::scorer::{DataContext, RcptContext, Scorer};
use crate::scorers::once::Once;
use crate::verdict::Refusal;
use crate::wire::canonical::canonical_domain;
use crate::wire::reply::EnhancedStatus;
use results::{Checked, Found};

/// All symbols with their default scores.
const SYMBOLS: &[(&str, Score)] = &[
    ("SPF_PASS", Score::ZERO),
    ("SPF_FAIL", Score::points(3)),
    ("SPF_SOFTFAIL", Score::points(1)),
    ("SPF_NEUTRAL", Score::ZERO),
    ("SPF_NONE", Score::ZERO),
    ("SPF_TEMPERROR", Score::ZERO),
    ("SPF_PERMERROR", Score::points(1)),
    ("DKIM_PASS", Score::ZERO),
    ("DKIM_FAIL", Score::ZERO),
    ("DKIM_TEMPERROR", Score::ZERO),
    ("DKIM_PERMERROR", Score::ZERO),
    ("DKIM_NONE", Score::ZERO),
    ("ARC_PASS", Score::ZERO),
    ("ARC_FAIL", Score::ZERO),
    ("ARC_TEMPERROR", Score::ZERO),
    ("DMARC_PASS", Score::ZERO),
    ("DMARC_FAIL_NONE", Score::ZERO),
    ("DMARC_FAIL_QUARANTINE", Score::points(3)),
    ("DMARC_FAIL_REJECT", Score::points(6)),
    ("DMARC_TEMPERROR", Score::ZERO),
    ("DMARC_NONE", Score::ZERO),
    ("FROM_SEVERAL", Score::points(3)),
    ("FROM_MALFORMED", Score::points(2)),
];

/// A scorer for SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 9989). It checks SPF
/// at the first recipient, and the others when the content has arrived. It adds the results to the
/// message as `Authentication-Results` (RFC 8601). The evaluators are in
/// [`authentication`](crate::authentication), which states their decisions and bounds.
///
/// Each has one finding:
///
/// | | symbols | default scores |
/// |---|---|---|
/// | SPF | `SPF_PASS`, `_FAIL`, `_SOFTFAIL`, `_NEUTRAL`, `_NONE`, `_TEMPERROR`, `_PERMERROR` | fail 3, softfail 1, permerror 1 |
/// | DKIM | `DKIM_PASS`, `_FAIL`, `_TEMPERROR`, `_PERMERROR`, `_NONE` | 0 |
/// | ARC | `ARC_PASS`, `_FAIL`, `_TEMPERROR`; none without a chain | 0 |
/// | DMARC | `DMARC_PASS`, `DMARC_FAIL_NONE`, `_QUARANTINE`, `_REJECT`, `DMARC_TEMPERROR`, `_NONE` | quarantine 3, reject 6 |
/// | author | `FROM_SEVERAL` or `FROM_MALFORMED`; none if the author domain is clear | several 3, malformed 2 |
///
/// - SPF is evaluated once in a transaction, for the sender in its canonical form
///   ([`SmtpPath::canonical`](crate::mailbox::SmtpPath::canonical)), or for the HELO name if the sender is
///   `<>`. A sender without a domain, or with an address literal, is `SPF_NONE`.
/// - The DKIM result is the best result of all signatures. `_PERMERROR` includes the results policy
///   and neutral. A signature beyond a bound is permerror, and DMARC is still evaluated.
/// - The detail of an ARC finding names the sealers.
/// - DMARC is evaluated for each domain that a program may take for the author domain
///   ([`Authors`]). The worst outcome counts. `FROM_SEVERAL` means that a message has several such
///   domains or several `From` fields. `FROM_MALFORMED` means that it has no author domain, or that
///   programs may disagree about it. A message has at most one of the two findings.
///
/// A failed lookup is a `_TEMPERROR` *and* a failure of this scorer. The failure policy of its
/// [`Seat`](crate::panel::Seat) applies.
///
/// A message that fails DMARC with the policy reject is refused only if
/// [`refuse_rejected`](Self::refuse_rejected) is set, because mailing lists break signatures. It is not
/// refused if a failed lookup could change the outcome of DMARC. Other failed lookups do not matter then.
///
/// Fields with the name `authserv_id` that a client sends are forged. Pass the same name to
/// [`Settings::authserv_id`](crate::Settings::authserv_id), which removes them.
///
/// Mail is not checked if the client has no address, or is in one of your own networks
/// ([`Peer::own`](crate::Peer::own)), because such mail does not come from another domain's server.
///
/// ```
/// # use async_trait::async_trait;
/// # use std::{sync::Arc, time::{Duration, SystemTime}};
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # use nobounce::{Envelope, Message, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::message::MailData;
/// # struct Zone;
/// # #[async_trait]
/// # impl Resolver for Zone {
/// #     async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
/// #         let text = match (&**name, kind) {
/// #             ("example.org", RecordKind::Txt) => "v=spf1 ip4:192.0.2.0/24 -all",
/// #             ("_dmarc.example.org", RecordKind::Txt) => "v=DMARC1; p=reject",
/// #             _ => return Ok(Answer::new([], Duration::ZERO)),
/// #         };
/// #         Ok(Answer::new([Record::Txt(text.as_bytes().into())], Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Zone;
/// # let id = SessionId::new("example").transaction(1);
/// # let peer = Arc::new(Peer::new("192.0.2.1:4711".parse()?));
/// # let envelope = Envelope::new(id, peer, ReversePath::parse("<a@example.org>")?);
/// use nobounce::scorers::Authentication;
/// use nobounce::{DataContext, Score, Scorer};
///
/// let authentication = Authentication::new(resolver, "mx.example.net")
///     .weight("SPF_SOFTFAIL", Score::points(2))?
///     .refuse_rejected();
///
/// let content = MailData::normalise(b"From: a@example.org\r\nSubject: hello\r\n\r\nHello!\r\n");
/// let message = Message::new("mx.example.net", &envelope, SystemTime::now(), content);
/// let at = DataContext::new(&envelope, &message);
/// let opinion = pollster::block_on(authentication.on_data(&at))?;
/// let symbols: Vec<_> = opinion.findings.iter().map(|finding| finding.symbol()).collect();
/// assert_eq!(symbols, ["SPF_PASS", "DKIM_NONE", "DMARC_PASS"]);
/// let field = &opinion.fields[0];
/// assert!(field.octets().starts_with(b"Authentication-Results: mx.example.net; spf=pass"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Authentication {
    resolver: Arc<dyn Resolver>,
    authserv_id: HostName,
    weights: Vec<Score>,
    refuse_rejected: bool,
    /// The outcomes of recent transactions.
    spf: Once<Arc<CheckedSender>>,
}

/// The error for a name that is not a symbol of this scorer. Fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a symbol of SPF, DKIM, ARC or DMARC")]
pub struct SymbolError(Box<str>);

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("authserv_id", &self.authserv_id)
            .field("refuse_rejected", &self.refuse_rejected)
            .finish_non_exhaustive()
    }
}

impl Authentication {
    /// Creates a scorer that queries `resolver`. `authserv_id` is the name under which it adds results,
    /// usually the host name.
    pub fn new(resolver: impl Resolver + 'static, authserv_id: impl Into<HostName>) -> Self {
        Self {
            resolver: Arc::new(resolver),
            authserv_id: authserv_id.into(),
            weights: SYMBOLS.iter().map(|(_, weight)| *weight).collect(),
            refuse_rejected: false,
            spf: Once::new(),
        }
    }

    /// Sets the score of a symbol. A negative score counts in favour of the message.
    ///
    /// # Errors
    ///
    /// [`SymbolError`] if this is not one of the symbols.
    pub fn weight(mut self, symbol: &str, weight: Score) -> Result<Self, SymbolError> {
        let place = SYMBOLS.iter().position(|(known, _)| *known == symbol);
        self.weights[place.ok_or_else(|| SymbolError(symbol.into()))?] = weight;
        Ok(self)
    }

    /// Refuses mail with `550 5.7.1` if it fails DMARC and the policy of its author domain is
    /// reject.
    #[must_use]
    pub fn refuse_rejected(mut self) -> Self {
        self.refuse_rejected = true;
        self
    }

    fn finding(&self, (symbol, detail): &Found) -> Finding {
        let place = SYMBOLS.iter().position(|(known, _)| known == symbol);
        let weight = place.map_or(Score::ZERO, |place| self.weights[place]);
        Finding::new(symbol, weight).with_detail(detail)
    }

    /// Returns the opinion, as a failure if lookups failed.
    fn say(opinion: Opinion, failures: String) -> Result<Opinion, ScorerError> {
        match failures.is_empty() {
            true => Ok(opinion),
            false => Err(ScorerError::new(failures).but_says(opinion)),
        }
    }

    /// Evaluates SPF once in a transaction, however many recipients it has. Returns `None` if the mail
    /// is not checked.
    async fn check_spf(
        &self,
        envelope: &Envelope,
    ) -> Result<Option<Arc<CheckedSender>>, ScorerError> {
        let peer = &envelope.peer;
        let Some(address) = peer.address.filter(|_| !peer.own) else {
            return Ok(None);
        };
        let client = address.ip().to_canonical();
        let helo = peer.helo.as_ref().map_or("", |helo| &helo.name);
        let path = &envelope.reverse_path.path;
        // Runs for the first recipient only. In a box, because it is larger than all the rest.
        let evaluate = async {
            let path = path.canonical().to_string();
            let sender = Sender { client: client.to_string(), helo: canonical_domain(helo), path };
            let evaluation = Spf::new(client, &sender.helo, &sender.path);
            let spf = Box::pin(spf(&*self.resolver, evaluation)).await;
            let found = results::spf(&spf, &sender);
            Arc::new(CheckedSender { sender, spf, found })
        };
        let about = match client {
            IpAddr::V4(client) => {
                [&client.octets(), helo.as_bytes(), b" ", path.written()].concat()
            }
            IpAddr::V6(client) => {
                [&client.octets(), helo.as_bytes(), b" ", path.written()].concat()
            }
        };
        self.spf.ask(envelope, about, evaluate).await.map(Some)
    }

    async fn check_content(&self, spf: &SpfOutcome, message: &Message) -> Checked {
        let content = Content::read(message);
        let signatures = Signatures::read(&content);
        let chain = Chain::read(&content);
        let keys = self.keys(signatures.key_names().chain(chain.key_names())).await;
        let now = message.received();
        let dkim = signatures.verify(&keys, now);
        let arc = chain.verify(&keys, now);
        let authors = Authors::read(message);
        let identifiers = DmarcIdentifier::spf(spf)
            .into_iter()
            .chain(dkim.iter().filter_map(DmarcIdentifier::dkim));
        let evaluation = Dmarc::new(authors.domains().iter().cloned(), identifiers);
        // In a box, because it is larger than all the rest.
        let dmarc = Box::pin(dmarc(&*self.resolver, evaluation)).await;
        Checked { dkim, arc, authors, dmarc }
    }

    /// Looks up the keys with these names, each once.
    async fn keys(&self, names: impl Iterator<Item = &DomainName>) -> Keys {
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        let answers = names.iter().map(|name| self.resolver.lookup(name, RecordKind::Txt));
        let answers = ask_all(answers.collect::<Vec<_>>()).await;
        let mut keys = Keys::default();
        for (name, answer) in names.into_iter().zip(answers) {
            keys.insert(name.clone(), answer);
        }
        keys
    }
}

/// The sender for SPF.
struct Sender {
    /// The address of the client.
    client: String,
    /// The HELO name in canonical form.
    helo: String,
    /// The mailbox in canonical form, empty for the null reverse-path.
    path: String,
}

/// A sender and what was found for it.
struct CheckedSender {
    sender: Sender,
    spf: SpfOutcome,
    found: Found,
}

#[async_trait]
impl Scorer for Authentication {
    fn name(&self) -> &str {
        "authentication"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(SYMBOLS.iter().map(|(symbol, _)| *symbol).collect())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(checked) = self.check_spf(at.envelope).await? else {
            return Ok(Opinion::silent());
        };
        let failures = results::failures([&checked.found]);
        Self::say(Opinion::from(self.finding(&checked.found)), failures)
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(checked_sender) = self.check_spf(at.envelope).await? else {
            return Ok(Opinion::silent());
        };
        let CheckedSender { sender, spf, found } = &*checked_sender;
        let checked = self.check_content(spf, at.message).await;
        let found_in_content = checked.found();
        let found = || std::iter::once(found).chain(&found_in_content);
        let opinion: Opinion = found().map(|found| self.finding(found)).collect();
        if let (Some(domain), true) = (checked.rejected(), self.refuse_rejected) {
            let text = format!("Message refused by the DMARC policy of {domain}");
            let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), &text);
            return Ok(opinion.and(refusal));
        }
        let text = results::field(&self.authserv_id, spf, sender, &checked);
        let field = HeaderField::fold("Authentication-Results", text.as_bytes());
        Self::say(opinion.and(field), results::failures(found()))
    }
}

#[cfg(test)]
mod tests;
