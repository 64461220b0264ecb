//! Who says that a message is theirs: SPF, DKIM, ARC, DMARC.

mod content;
mod notes;
mod results;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, MessageAuthenticator, SpfOutput, SpfResult};

use crate::dns::Resolver;
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
use content::Unevaluated;
use notes::{Notes, Unfinished};
use results::{Checked, Found};

/// Most signatures that are looked at in one message: each costs a lookup and a hash of the content
/// (OpenDKIM: `MaximumSignaturesToVerify`).
const SIGNATURES: usize = 20;

/// Every symbol, with what it weighs if nobody says otherwise.
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
    ("DMARC_PERMERROR", Score::ZERO),
    ("DMARC_NONE", Score::ZERO),
];

/// Checks SPF (RFC 7208) when the first recipient is named, and DKIM (RFC 6376), ARC (RFC 8617) and DMARC
/// (RFC 9989) when the content is there; and writes what it found into the message that goes onward, as
/// `Authentication-Results` (RFC 8601).
///
/// One finding each says how it went:
///
/// | | symbols | weigh, if not set |
/// |---|---|---|
/// | SPF | `SPF_PASS`, `_FAIL`, `_SOFTFAIL`, `_NEUTRAL`, `_NONE`, `_TEMPERROR`, `_PERMERROR` | fail 3, softfail 1, permerror 1 |
/// | DKIM | `DKIM_PASS`, `_FAIL`, `_TEMPERROR`, `_PERMERROR`, `_NONE` | nothing |
/// | ARC | `ARC_PASS`, `_FAIL`, `_TEMPERROR`; nothing without a chain | nothing |
/// | DMARC | `DMARC_PASS`, `DMARC_FAIL_NONE`, `_QUARANTINE`, `_REJECT`, `DMARC_TEMPERROR`, `_PERMERROR`, `_NONE` | quarantine 3, reject 6 |
///
/// SPF is checked for the sender in its canonical form ([`SmtpPath::canonical`](crate::mailbox::SmtpPath::canonical)), or for
/// the HELO name if the sender is `<>`. A sender without a domain is `SPF_NONE`. DKIM passes if one signature
/// does; more than 20 signatures, or a header of more than 64 KiB or 1,000 fields, are not looked at
/// (`DKIM_PERMERROR`); DMARC is then evaluated without a signature. What DNS could not be asked for
/// is a `_TEMPERROR` *and* a failure of this scorer, for the policy of its [`Seat`](crate::panel::Seat) to act on.
///
/// A message that fails DMARC is refused only if [`refuse_rejected`](Self::refuse_rejected) says so:
/// mailing lists break signatures. It never is where DNS could not be asked for part of it.
///
/// The field names `authserv_id` as the one that checked. Fields with that name that a client sends are
/// forged; say the same name to [`Settings::authserv_id`](crate::Settings::authserv_id), which takes them out whether or
/// not there is anything to put in their place.
///
/// Mail of clients without an address and of those in networks of our own
/// ([`Peer::own`](crate::Peer::own)) is not checked: it has not been sent to us by another domain yet.
///
/// Evaluated by `mail-auth`, but looked up through `resolver`: it needs no tokio.
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
/// let authentication = Authentication::new(resolver, "mx.example.net")?
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
    evaluator: MessageAuthenticator,
    weights: Vec<Score>,
    refuse_rejected: bool,
    /// What SPF said in the transactions of late, and how many questions that took.
    spf: Once<(SpfOutput, usize)>,
}

/// The evaluation cannot be set up. The fault is that of this machine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no SPF, DKIM, ARC and DMARC: {0}")]
pub struct AuthenticationError(Box<str>);

/// Not a symbol of this scorer. The fault is that of whoever wrote it.
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
    /// Checks with what `resolver` says, in the name of `authserv_id`, usually the host name.
    pub fn new(
        resolver: impl Resolver + 'static,
        authserv_id: impl Into<HostName>,
    ) -> Result<Self, AuthenticationError> {
        // It is never asked: the notes answer everything. If it were, it has nobody to ask.
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let evaluator = MessageAuthenticator::new(nobody, ResolverOpts::default())
            .map_err(|error| AuthenticationError(error.to_string().into()))?;
        Ok(Self {
            resolver: Arc::new(resolver),
            authserv_id: authserv_id.into(),
            evaluator,
            weights: SYMBOLS.iter().map(|(_, weight)| *weight).collect(),
            refuse_rejected: false,
            spf: Once::new(),
        })
    }

    /// What a symbol weighs; a weight below zero speaks for the mail.
    pub fn weight(mut self, symbol: &str, weight: Score) -> Result<Self, SymbolError> {
        let place = SYMBOLS.iter().position(|(known, _)| *known == symbol);
        self.weights[place.ok_or_else(|| SymbolError(symbol.into()))?] = weight;
        Ok(self)
    }

    /// Refuses what fails DMARC where the domain says `p=reject`, with `550 5.7.1`.
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

    /// Says this, and that something failed if it did.
    fn say(opinion: Opinion, failures: String) -> Result<Opinion, ScorerError> {
        if failures.is_empty() {
            Ok(opinion)
        } else {
            Err(ScorerError::new(failures).but_says(opinion))
        }
    }

    /// SPF is checked once in a transaction, however many recipients it has.
    async fn check_spf(
        &self,
        envelope: &Envelope,
        sender: &Sender,
    ) -> Result<(SpfOutput, usize), ScorerError> {
        let check = async {
            let notes = Notes::new(sender.client, 0);
            let output = self.evaluate_spf(&notes, sender).await;
            (output, notes.asked())
        };
        self.spf.ask(envelope, format!("{sender:?}"), check).await
    }

    async fn evaluate_spf(&self, notes: &Notes, sender: &Sender) -> SpfOutput {
        let Sender { client, helo, path, .. } = sender;
        let (client, path) = (*client, path.as_deref());
        // RFC 7208 section 4.3: without a domain there is nothing to check.
        if path.is_some() && sender.domain().is_empty() {
            return SpfOutput::new(String::new()).with_result(SpfResult::None);
        }
        let evaluate = || {
            let parameters = match path {
                None => SpfParameters::verify_ehlo(client, helo, &self.authserv_id),
                Some(path) => {
                    SpfParameters::verify_mail_from(client, helo, &self.authserv_id, path)
                }
            };
            self.evaluator.verify_spf(notes.with(parameters)).now_or_never()
        };
        let unfinished = |why| {
            SpfOutput::new(sender.domain().to_owned()).with_result(match why {
                Unfinished::Endless => SpfResult::PermError,
                Unfinished::Resolve(_) | Unfinished::Stuck => SpfResult::TempError,
            })
        };
        notes.complete(&*self.resolver, evaluate).await.unwrap_or_else(unfinished)
    }

    /// What there is to say of the content, beside SPF.
    async fn check_content(
        &self,
        notes: &Notes,
        sender: &Sender,
        spf: &SpfOutput,
        message: &Message,
    ) -> Checked {
        let signature = |name: &str| {
            ["DKIM-Signature", "ARC-Message-Signature"]
                .iter()
                .any(|it| name.eq_ignore_ascii_case(it))
        };
        let signatures = message.view().fields().filter(|field| signature(field.name())).count();
        if signatures > SIGNATURES {
            let why = format!("{signatures} signatures");
            return self.check_author(notes, sender, spf, message, why).await;
        }
        let head = content::head(message);
        let content = match content::parse(message, &head) {
            Ok(content) => content,
            Err(why @ Unevaluated::NoHeader) => return Checked::not("DKIM_NONE", why.to_string()),
            Err(why @ Unevaluated::TooLong) => {
                return self.check_author(notes, sender, spf, message, why.to_string()).await;
            }
        };
        let evaluate = || {
            let dkim = self.evaluator.verify_dkim(notes.with(&content)).now_or_never()?;
            let arc = self.evaluator.verify_arc(notes.with(&content)).now_or_never()?;
            let policy = DmarcParameters {
                message: &content,
                dkim_output: &dkim,
                dkim2_output: None,
                rfc5321_mail_from_domain: sender.domain(),
                spf_output: spf,
            };
            let dmarc = self.evaluator.verify_dmarc(notes.with(policy)).now_or_never()?;
            Some((dkim, arc, dmarc))
        };
        match notes.complete(&*self.resolver, evaluate).await {
            Ok((dkim, arc, dmarc)) => Checked::new(&dkim, &arc, &dmarc, sender),
            Err(Unfinished::Endless) => {
                Checked::not("DKIM_PERMERROR", Unfinished::Endless.to_string())
            }
            Err(unfinished) => Checked::not("DKIM_TEMPERROR", unfinished.to_string()),
        }
    }

    /// Says why no signature is evaluated, and what DMARC says without one: a header that is too long to be
    /// evaluated does not spare the author's domain its policy.
    async fn check_author(
        &self,
        notes: &Notes,
        sender: &Sender,
        spf: &SpfOutput,
        message: &Message,
        why: String,
    ) -> Checked {
        let authors = content::authors(message);
        let Some(author) = AuthenticatedMessage::parse(&authors) else {
            return Checked::not("DKIM_PERMERROR", why);
        };
        let evaluate = || {
            let policy = DmarcParameters {
                message: &author,
                dkim_output: &[],
                dkim2_output: None,
                rfc5321_mail_from_domain: sender.domain(),
                spf_output: spf,
            };
            self.evaluator.verify_dmarc(notes.with(policy)).now_or_never()
        };
        match notes.complete(&*self.resolver, evaluate).await {
            Ok(dmarc) => Checked::without_signatures(why, &dmarc, sender),
            Err(unfinished) => Checked::not("DKIM_TEMPERROR", unfinished.to_string()),
        }
    }
}

/// Who SPF is about.
#[derive(Debug)]
struct Sender {
    client: IpAddr,
    /// The HELO name in canonical form.
    helo: String,
    /// The sender in canonical form; `None` for the null reverse-path.
    path: Option<String>,
    /// The domain of the path; empty if it has none.
    domain: Box<str>,
}

impl Sender {
    fn of(envelope: &Envelope) -> Option<Self> {
        let client = envelope.peer.address.filter(|_| !envelope.peer.own)?.ip().to_canonical();
        let helo = envelope.peer.helo.as_ref().map_or("", |helo| &helo.name);
        let mailbox = envelope.reverse_path.path.canonical();
        let path = (!mailbox.is_null()).then(|| mailbox.to_string());
        let domain = mailbox.domain.unwrap_or_default();
        Some(Self { client, helo: canonical_domain(helo), path, domain })
    }

    fn domain(&self) -> &str {
        if self.path.is_some() { &self.domain } else { &self.helo }
    }
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
        let Some(sender) = Sender::of(at.envelope) else {
            return Ok(Opinion::silent());
        };
        let (spf, _) = self.check_spf(at.envelope, &sender).await?;
        let found = results::spf(&spf, &sender);
        let failures = results::failures([&found]);
        Self::say(Opinion::from(self.finding(&found)), failures)
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(sender) = Sender::of(at.envelope) else {
            return Ok(Opinion::silent());
        };
        let (spf, asked) = self.check_spf(at.envelope, &sender).await?;
        let notes = Notes::new(sender.client, asked);
        let checked = self.check_content(&notes, &sender, &spf, at.message).await;
        let found = [&[results::spf(&spf, &sender)][..], &checked.found].concat();
        let opinion: Opinion = found.iter().map(|found| self.finding(found)).collect();
        let failures = results::failures(&found);
        // What could not be asked for might have passed: that is a matter for the failure policy.
        if let (Some(domain), true, "") = (&checked.rejected, self.refuse_rejected, &*failures) {
            let text = format!("Message refused by the DMARC policy of {domain}");
            let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), &text);
            return Ok(opinion.and(refusal));
        }
        let text = results::spf_field(&self.authserv_id, &spf, &sender) + &checked.field;
        let field = HeaderField::fold("Authentication-Results", text.as_bytes());
        Self::say(opinion.and(field), failures)
    }
}

#[cfg(test)]
mod tests;
