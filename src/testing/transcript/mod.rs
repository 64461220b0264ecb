//! Dialogues as tests: a client, a gate and an onward server, written as in RFC 5321 appendix D.

mod flight;
mod ledger;
mod player;
mod script;

use std::fmt;

use std::time::Instant;

use crate::deadline::Awaiting;
use crate::envelope::TransactionId;
use crate::outcome::{Outcome, RequestKind};
use crate::session::{Question, Session, TransactionEnd};
use crate::verdict::{Subject, Verdict};
use crate::wire::mailbox::ForwardPath;
use player::Player;
use script::Script;

/// A dialogue between a client, a gate and its onward server.
///
/// It is played against a [`Session`](crate::Session) and an [`Onward`](crate::Onward), without
/// sockets and in virtual time.
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
/// - `C:` The client sends this line. `<eof>`: it closes its sending direction. `<reset>`: the
///   connection is lost.
/// - `C!:` The client sends this line without waiting for its turn. The line arrives in one piece
///   with the previous `C:` line, or before the greeting if it is at the beginning.
/// - `S:` The gate sends this line to the client. `<starttls>`: it begins the TLS handshake, which
///   succeeds. `<close>`: it closes the connection.
/// - `R:` The gate sends this line to the onward server. `<connect>` and `<close>`: it opens or
///   closes the connection. `<starttls>`: it begins the TLS handshake. `<trace>`: the `Received`
///   field with all its lines.
/// - `O:` The onward server sends this line. `<eof>`: it closes the connection. `<refused>`: the
///   connection is refused, or the handshake fails. `<deaf>`: the next write to it fails.
/// - `O!:` The onward server sends this line in one piece with the previous `O:` line.
/// - `J:` The panel answers the pending question: `pass`, `refuse 550 5.7.1 text`,
///   `tag Name: value`, `come again` ([`Refusal::come_again`](crate::Refusal::come_again)), or
///   `silent`. Without a `J:` line, the answer is `pass`.
/// - `A:` With `@ relay answers`, the relay target answers the pending request: `550 5.1.1 text`,
///   or `silent`.
/// - `T:` Time passes: `20s`, `5m`, `1h`, `1500ms`. If a `J:` line follows, the time passes before
///   the panel answers.
/// - `@` A setting. It must be in the head, except `@ shutdown`, which may be anywhere.
/// - `#` A comment.
///
/// `C*5:` stands for five identical lines. Lines end with CRLF, except `C:` and `O:` lines that end
/// with a backslash. The escapes `\r \n \t \0 \. \\ \xHH` stand for octets. In `S:` and `R:` lines,
/// `...` matches any text.
///
/// Consecutive `C:` lines form one flight. It is sent when all lines before it are matched. No line
/// may come earlier than its place in the dialogue. An `S:` line may come later, up to the next
/// `C:` line, because the replies to a group of commands are sent together.
///
/// # Settings
///
/// - `@ budget 0`
/// - `@ limits.recipients 2` (also `command_line`, `content`, `hops`, `recipients_overshoot`,
///   `transactions`, `errors`, `junk_commands`, `refused_in_a_row`, `refused_recipients`,
///   `added_fields`, `data_rate`, `mime.parts`, `mime.depth`, `mime.field`,
///   `mime.readings`)
/// - `@ replies.line 100` (also `lines`): limits for replies of the onward server
/// - `@ line_endings refuse`, `@ early_input tolerate`, `@ protocol lmtp`
/// - `@ tls may` or `must`: TLS to the onward server
/// - `@ xclient_from 192.0.2.0/24`, `@ xforward_from …`
/// - `@ identify xclient` (or `xforward`, `proxy`)
/// - `@ client 192.0.2.7:4321 mail.example.org` (the name is optional) or `@ client local`
/// - `@ capabilities PIPELINING, SIZE 1000` or `none`: capabilities of the session
/// - `@ through …`: the argument of [`Session::offer`](crate::Session::offer)
/// - `@ host mx.example`: the name of the gate
/// - `@ relay offers …`: greeting and EHLO on the onward side are automatic
/// - `@ relay accepts …`: the whole onward side is automatic, and everything is accepted
/// - `@ relay answers`: without an onward server; the relay target answers in `A:` lines
///
/// The defaults are `gate.example.com` for the gate, `192.0.2.1:4321` for the client and `play` for
/// the session. A refusal by the gate in the first transaction therefore ends with `(play.1)`.
#[derive(Debug, Clone)]
pub struct Transcript(Script);

impl Transcript {
    /// Parses a dialogue. Returns an error if `text` is not in the notation of dialogues.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        Script::parse(text).map(Self)
    }

    /// Plays the dialogue. Returns the ends of its transactions, or the first deviation from the
    /// dialogue.
    pub fn play(&self, chunking: Chunking) -> Result<Vec<TransactionEnd>, TranscriptError> {
        self.play_with(chunking, |_| Verdict::Pass)
    }

    /// Plays the dialogue with a panel, which answers every question without a `J:` line.
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

/// Session name in dialogues.
pub(super) const SESSION: &str = "play";

/// The panel and the observer of a dialogue.
pub(super) trait Company {
    /// Answers a question for which the dialogue has no `J:` line. May advance the time.
    fn judge(&mut self, question: &Question<'_>, now: &mut Instant) -> Verdict;

    /// Observes an event.
    fn see(&mut self, now: Instant, happened: Happened<'_>);
}

/// An event of a dialogue.
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "no observer"))]
pub(super) enum Happened<'h> {
    Connected(&'h Session),
    /// The client sent octets. `in_turn`: the session was waiting for them.
    Received {
        octets: &'h [u8],
        in_turn: bool,
    },
    Transmitted(&'h [u8]),
    /// The client's connection was reset.
    Lost,
    /// The session asks the panel.
    Asked(Subject<'h>),
    Judged(&'h TransactionId, Subject<'h>, &'h Verdict),
    /// The session asks the relay target.
    Requested,
    /// The relay target has answered. The recipient is `None` if the answer is about all of them.
    Relayed(&'h TransactionId, RequestKind, Option<&'h ForwardPath>, &'h Outcome),
    Late(Awaiting),
    Ended(&'h TransactionEnd),
    Closed(&'h Session),
}

/// A panel without an observer.
struct Alone<F>(F);

impl<F: FnMut(Subject<'_>) -> Verdict> Company for Alone<F> {
    fn judge(&mut self, question: &Question<'_>, _: &mut Instant) -> Verdict {
        (self.0)(question.subject())
    }

    fn see(&mut self, _: Instant, _: Happened<'_>) {}
}

/// Splitting of the octets from the client and from the onward server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chunking {
    /// Each flight arrives in one piece.
    Whole,
    /// Each octet arrives separately.
    Octets,
    /// Pieces of random length arrive. The same seed gives the same pieces.
    Random(u64),
}

/// A deviation from a dialogue, or a syntax error in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {came}")]
#[non_exhaustive]
pub struct TranscriptError {
    /// Line number in the dialogue, from 1. For an unexpected event, the last matched line.
    pub line: usize,
    /// Expected event or syntax.
    pub expected: String,
    /// Actual event or text.
    pub came: String,
}

impl TranscriptError {
    fn new(line: usize, expected: impl fmt::Display, came: impl fmt::Display) -> Self {
        Self { line, expected: expected.to_string(), came: came.to_string() }
    }
}
