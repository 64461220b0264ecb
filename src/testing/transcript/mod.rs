//! Dialogues as tests: a client, a gate and an onward server, written as in RFC 5321 appendix D.

mod flight;
mod ledger;
mod player;
mod script;

use std::fmt;

use std::time::Instant;

use crate::deadline::Awaiting;
use crate::envelope::TransactionId;
use crate::outcome::Outcome;
use crate::session::{Question, Session, TransactionEnd};
use crate::verdict::{Subject, Verdict};
use crate::wire::mailbox::ForwardPath;
use player::Player;
use script::Script;

/// A dialogue between a client and a gate and, behind it, an onward server; played without sockets
/// and in virtual time against a [`Session`](crate::Session) and an [`Onward`](crate::Onward).
///
/// ```
/// use nobounce::testing::{Chunking, Transcript};
///
/// let transcript = Transcript::parse("
///     ## RFC 5321 section 4.2.4: the onward server's refusal is the answer.
///     @ relay offers PIPELINING
///     S: 220 gate.example.com ESMTP nobounce
///     C: HELO client.example.org
///     S: 250 gate.example.com
///     C: MAIL FROM:<a@example.org>
///     S: 250 2.1.0 Sender ok
///     C: RCPT TO:<nobody@example.com>
///     R: MAIL FROM:<a@example.org>
///     R: RCPT TO:<nobody@example.com>
///     O: 250 2.1.0 Ok
///     O: 550 5.1.1 No such user
///     S: 550 5.1.1 No such user
/// ")?;
/// for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(7)] {
///     transcript.play(chunking)?;
/// }
/// # Ok::<(), nobounce::testing::TranscriptError>(())
/// ```
///
/// # Notation
///
/// | line | |
/// |---|---|
/// | `C:` | The client sends this line. `<eof>`: it will send no more; `<reset>`: it is gone. |
/// | `C!:` | The same, without waiting for its turn: in one piece with the `C:` line before, or, at the beginning, before the greeting. |
/// | `S:` | The gate says this line to the client. `<starttls>`: it begins the handshake, which succeeds; `<close>`: it closes. |
/// | `R:` | The gate says this line to the onward server. `<connect>`, `<close>`; `<starttls>`: it begins the handshake; `<trace>`: the `Received` field with all its lines. |
/// | `O:` | The onward server sends this line. `<eof>`: it closes; `<refused>`: there is no connection, or the handshake fails; `<deaf>`: what comes next cannot be written to it. |
/// | `O!:` | The same, in one piece with the `O:` line before. |
/// | `J:` | The panel's answer to the question pending: `pass`, `refuse 550 5.7.1 text`, `tag Name: value`, `come again` ([`Refusal::come_again`](crate::Refusal::come_again)), or `silent`. Where none stands, it is `pass`. |
/// | `A:` | With `@ relay answers`: the relay target's answer to the request pending, `550 5.1.1 text`, or `silent`. |
/// | `T:` | Time passes: `20s`, `5m`, `1h`, `1500ms`. With a `J:` line behind it, before the panel answers. |
/// | `@` | A setting, at the head; `@ shutdown` anywhere. |
/// | `#` | A comment. |
///
/// `C*5:` stands for five such lines. Lines end in CRLF, save for a `C:` or `O:` line that ends in a
/// backslash; `\r \n \t \0 \. \\ \xHH` stand for octets. In `S:` and `R:` lines `...` matches
/// anything.
///
/// Consecutive `C:` lines are one flight, sent when all that stands before has come. What is said
/// is never sooner than where it stands; an `S:` line may be later, up to the next `C:` line, since
/// replies to a group of commands leave together.
///
/// # Settings
///
/// `@ budget 0`,
/// `@ limits.recipients 2` (and `command_line`, `content`, `hops`, `recipients_overshoot`, `transactions`,
/// `errors`, `junk_commands`, `refused_in_a_row`, `refused_recipients`, `added_fields`, `data_rate`,
/// `mime.parts`, `mime.depth`, `mime.field`), `@ replies.line 100`
/// (and `lines`; of the onward server), `@ line_endings refuse`, `@ early_input tolerate`, `@ protocol lmtp`, `@ tls may`
/// or `must` (to the onward server),
/// `@ xclient_from 192.0.2.0/24`, `@ xforward_from …`,
/// `@ identify xclient` (`xforward`, `proxy`), `@ client 192.0.2.7:4321 mail.example.org` (the name
/// may be left out) or `@ client local`, `@ capabilities PIPELINING, SIZE 1000` or `none` (of the
/// session), `@ through …` (what
/// [`Session::offer`](crate::Session::offer) is told). `@ host mx.example` names the gate. `@ relay offers …`: greeting and EHLO on the
/// onward side go by themselves; `@ relay accepts …`: everything there does, and is taken; `@ relay answers`:
/// there is no onward server, and the relay target answers in `A:` lines.
///
/// The gate is `gate.example.com`, the client `192.0.2.1:4321`, the session `play`: a refusal of ours in
/// the first transaction ends in `(play.1)`.
#[derive(Debug, Clone)]
pub struct Transcript(Script);

impl Transcript {
    /// Reads a dialogue. The fault in an error is its author's.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        Script::parse(text).map(Self)
    }

    /// Plays the dialogue; says what became of its transactions, or where it went otherwise.
    pub fn play(&self, chunking: Chunking) -> Result<Vec<TransactionEnd>, TranscriptError> {
        self.play_with(chunking, |_| Verdict::Pass)
    }

    /// Plays the dialogue with a panel, which is asked wherever no `J:` line answers.
    #[allow(
        clippy::disallowed_methods,
        reason = "any moment will do; from here on time is in the dialogue"
    )]
    pub fn play_with(
        &self,
        chunking: Chunking,
        panel: impl FnMut(Subject<'_>) -> Verdict,
    ) -> Result<Vec<TransactionEnd>, TranscriptError> {
        self.play_in(chunking, &mut Alone(panel), Instant::now())
    }

    pub(super) fn play_in(
        &self,
        chunking: Chunking,
        company: &mut dyn Company,
        now: Instant,
    ) -> Result<Vec<TransactionEnd>, TranscriptError> {
        Player::new(&self.0, chunking, company, now).play()
    }
}

/// What the session of a dialogue is called.
pub(super) const SESSION: &str = "play";

/// The panel of a dialogue, and whoever looks on.
pub(super) trait Company {
    /// Answers a question to which the dialogue has no answer. Time may pass meanwhile.
    fn judge(&mut self, question: &Question<'_>, now: &mut Instant) -> Verdict;

    /// Sees what happens.
    fn see(&mut self, now: Instant, happened: Happened<'_>);
}

/// What happens in a dialogue.
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "nobody looks on"))]
pub(super) enum Happened<'h> {
    Connected(&'h Session),
    Received(&'h [u8]),
    Transmitted(&'h [u8]),
    Judged(&'h TransactionId, Subject<'h>, &'h Verdict),
    /// The relay target's answer about a recipient; `None`: about the content, or all recipients.
    Relayed(&'h TransactionId, Option<&'h ForwardPath>, &'h Outcome),
    Late(Awaiting),
    Ended(&'h TransactionEnd),
    Closed(&'h Session),
}

/// A panel, and nobody who looks on.
struct Alone<F>(F);

impl<F: FnMut(Subject<'_>) -> Verdict> Company for Alone<F> {
    fn judge(&mut self, question: &Question<'_>, _: &mut Instant) -> Verdict {
        (self.0)(question.subject())
    }

    fn see(&mut self, _: Instant, _: Happened<'_>) {}
}

/// How octets arrive, from the client and from the onward server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chunking {
    /// Each flight at once.
    Whole,
    /// One by one.
    Octets,
    /// In pieces of random length, the same ones for the same seed.
    Random(u64),
}

/// Where a dialogue is not what was said, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, came {came}")]
#[non_exhaustive]
pub struct TranscriptError {
    /// The line of the dialogue, from 1. For what nobody expected: the last line before it.
    pub line: usize,
    /// What should have been there.
    pub expected: String,
    /// What was.
    pub came: String,
}

impl TranscriptError {
    fn new(line: usize, expected: impl fmt::Display, came: impl fmt::Display) -> Self {
        Self { line, expected: expected.to_string(), came: came.to_string() }
    }
}
