//! A recorded session, sorted for a replay of the protocol: what comes in, what is answered, and what
//! goes out.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::deadline::Awaiting;
use crate::observer::During;
use crate::outcome::RequestKind;
use crate::peer::TlsInfo;
use crate::recording::{Closed, Decided, Element, Ended, Fact, Judged, RecordedSession, Relayed};

/// A recorded session as a script.
#[derive(Debug, Default)]
pub(super) struct Script<'r> {
    pub(super) inputs: VecDeque<Timed<Input<'r>>>,
    pub(super) answers: VecDeque<Timed<Answer<'r>>>,
    pub(super) ends: VecDeque<&'r Ended>,
    pub(super) closed: Option<&'r Closed>,
    /// All replies to the client.
    pub(super) output: Vec<u8>,
    /// The transactions in which a renewal of the recipients failed.
    pub(super) renewed: BTreeSet<u32>,
}

/// An input or answer, with its place in the recording.
#[derive(Debug)]
pub(super) struct Timed<T> {
    pub(super) at: Duration,
    /// The number of octets that were sent before.
    pub(super) sent: usize,
    /// The number of answers that were given before.
    pub(super) answered: usize,
    /// What the session was doing.
    pub(super) during: During,
    pub(super) what: T,
}

/// What happens to the session.
#[derive(Debug)]
pub(super) enum Input<'r> {
    Octets(Cow<'r, [u8]>),
    End,
    Lost,
    Secured(&'r TlsInfo),
    NotSecured,
    Stressed(bool),
    ShuttingDown,
    Evicted,
    Late(Awaiting),
}

/// An answer to the session.
#[derive(Debug)]
pub(super) enum Answer<'r> {
    Judged(&'r Judged),
    Relayed(&'r Relayed),
    Late(Awaiting),
}

impl<'r> Script<'r> {
    pub(super) fn of(session: &'r RecordedSession) -> Self {
        let mut script = Self::default();
        for Element { at, fact } in &session.elements {
            let at = *at;
            match fact {
                Fact::Received { octets, during } => {
                    script.input(at, *during, Input::Octets(octets.into()));
                }
                Fact::MailData { octets, ends, during } => {
                    let octets = usize::try_from(*octets).unwrap_or(usize::MAX).min(MAIL_DATA);
                    let octets = stand_in(octets, *ends);
                    script.input(at, *during, Input::Octets(octets.into()));
                }
                Fact::Transmitted(octets) => script.output.extend_from_slice(octets),
                Fact::InputEnded { during } => script.input(at, *during, Input::End),
                Fact::ClientLost { during } => script.input(at, *during, Input::Lost),
                Fact::Secured(tls) => script.input(at, During::Receive, Input::Secured(tls)),
                Fact::NotSecured => script.input(at, During::Receive, Input::NotSecured),
                Fact::Stressed(on) => script.input(at, During::Work, Input::Stressed(*on)),
                Fact::ShuttingDown => script.input(at, During::Work, Input::ShuttingDown),
                Fact::Evicted => script.input(at, During::Receive, Input::Evicted),
                Fact::Judged(judged) => script.answer(at, Answer::Judged(judged)),
                Fact::Relayed(relayed) => script.answer(at, Answer::Relayed(relayed)),
                Fact::Late(awaiting) => match awaiting {
                    Awaiting::Verdict | Awaiting::RecipientOutcome | Awaiting::ContentOutcome => {
                        script.answer(at, Answer::Late(*awaiting));
                    }
                    Awaiting::Transmission => {
                        script.input(at, During::Transmit, Input::Late(*awaiting));
                    }
                    _ => script.input(at, During::Receive, Input::Late(*awaiting)),
                },
                Fact::Ended(ended) => script.ends.push_back(ended),
                Fact::Closed(closed) => script.closed = Some(closed),
                _ => {}
            }
        }
        script
    }

    fn input(&mut self, at: Duration, during: During, what: Input<'r>) {
        let (sent, answered) = (self.output.len(), self.answers.len());
        self.inputs.push_back(Timed { at, sent, answered, during, what });
    }

    fn answer(&mut self, at: Duration, what: Answer<'r>) {
        self.note_renewal(&what);
        let (sent, answered) = (self.output.len(), self.answers.len());
        self.answers.push_back(Timed { at, sent, answered, during: During::Question, what });
    }
}

impl Script<'_> {
    /// Notes a failed renewal. The panel is asked before every other request about recipients.
    fn note_renewal(&mut self, answer: &Answer<'_>) {
        let before = self.answers.back().map(|it| &it.what);
        let transaction = match (answer, before) {
            (Answer::Relayed(it), _) if it.request == RequestKind::Renewal => it.transaction,
            (Answer::Late(Awaiting::RecipientOutcome), Some(Answer::Relayed(it))) => it.transaction,
            (Answer::Late(Awaiting::RecipientOutcome), Some(Answer::Judged(it)))
                if it.verdict >= Decided::Defer =>
            {
                it.transaction
            }
            _ => return,
        };
        self.renewed.insert(transaction);
    }
}

/// Maximum size of mail data in place of what the recording does not contain, in octets.
const MAIL_DATA: usize = 64 << 20;
/// Length of its lines.
const LINE: usize = 78;

/// Returns mail data of this length. `ends` tells whether the end of data is part of it.
pub(super) fn stand_in(length: usize, ends: bool) -> Vec<u8> {
    let mut octets = Vec::with_capacity(length);
    let mut left = length.saturating_sub(if ends { 3 } else { 0 });
    while left > 1 {
        // No line has only one octet, because its end has two.
        let taken = match left {
            ..=LINE => left,
            _ if left == LINE + 1 => LINE - 1,
            _ => LINE,
        };
        octets.resize(octets.len() + taken - 2, b'x');
        octets.extend_from_slice(b"\r\n");
        left -= taken;
    }
    octets.resize(octets.len() + left, b'x');
    if ends {
        octets.extend_from_slice(b".\r\n");
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_data_of_any_length_is_well_formed() {
        for length in 5..400 {
            let octets = stand_in(length, true);
            assert_eq!(octets.len(), length);
            assert!(octets.ends_with(b"\r\n.\r\n"));
            let lines = octets.split_inclusive(|octet| *octet == b'\n');
            assert!(lines.into_iter().all(|line| line.len() <= LINE && line.ends_with(b"\r\n")));
        }
        assert_eq!(stand_in(3, true), b".\r\n");
        for length in 0..200 {
            assert_eq!(stand_in(length, false).len(), length);
        }
    }
}
