//! Answers of an onward server: the correct one, or one of many wrong ones.

use std::time::Duration;

use super::clock::Sleep;
use super::coverage::{Fault, Onward};
use super::network::Blow;
use super::rng::Rng;
use super::server::Server;

/// The conversation is over.
#[derive(Debug)]
pub struct Over;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Plain,
    Refuse(u16),
    Leave,
    Close,
    Reset,
    /// Never answers.
    Silent,
    /// Answers after a delay that may be too long.
    Late,
    /// Sends a part of its answer, then closes.
    Cut,
    Endless,
    Nonsense,
    /// Adds octets that must not be in a reply.
    Odd,
    WrongClass,
    /// Answers, and sends another unsolicited reply.
    OutOfTurn,
}

/// Answers that are not valid as a reply to any command.
const NONSENSE: [&[u8]; 9] = [
    b"199 2.0.0 c0.0 INTERNAL\r\n",
    b"650 2.0.0 c0.0 INTERNAL\r\n",
    b"hello, INTERNAL\r\n",
    b"\r\n",
    b"250-INTERNAL\r\n550 INTERNAL\r\n",
    b"25\r\n",
    b"2500 INTERNAL\r\n",
    b"\x00\x00\x00\x00\r\n",
    b"25\xb2 INTERNAL\r\n",
];

/// Octets that no reply may contain (RFC 5321 section 4.2).
const ODD: [&[u8]; 5] = [b" \x80\xff", b" \x00", b" \x1b[2J", b" \xc3\xa9", b"\r"];

impl Act {
    /// Returns whether this is a refusal, after which the server's state is unchanged.
    pub fn is_no(self) -> bool {
        matches!(self, Self::Refuse(_))
    }

    /// Returns whether a server that answers like this has accepted the content.
    pub fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::Plain | Self::Late | Self::Odd | Self::OutOfTurn => true,
            Self::Close | Self::Reset | Self::Silent | Self::Cut => rng.permille(500),
            _ => false,
        }
    }

    fn fault(self) -> Option<Fault> {
        Some(match self {
            Self::Plain => return None,
            Self::Refuse(..500) => Fault::Defers,
            Self::Refuse(_) => Fault::Refuses,
            Self::Leave => Fault::Leaves,
            Self::Close => Fault::Closes,
            Self::Reset => Fault::Resets,
            Self::Silent => Fault::Silent,
            Self::Late => Fault::Late,
            Self::Cut => Fault::Cuts,
            Self::Endless => Fault::Endless,
            Self::Nonsense | Self::Odd => Fault::Nonsense,
            Self::WrongClass => Fault::WrongClass,
            Self::OutOfTurn => Fault::ServerOutOfTurn,
        })
    }
}

/// The unsolicited reply. One of five codes replaces `000`.
const EARLY: &str = "000 early\r\n";
const EARLY_CODES: [&str; 5] = ["250", "354", "421", "451", "550"];

impl Server {
    pub fn act(&mut self) -> Act {
        if !self.rng.permille(self.plan.faults) {
            return Act::Plain;
        }
        match self.rng.below(18) {
            0 | 1 => Act::Refuse(*self.rng.pick(&[450, 451, 452, 454])),
            2 | 3 => Act::Refuse(*self.rng.pick(&[500, 502, 503, 530, 550, 552, 554])),
            4 | 5 => Act::Leave,
            6 | 7 => Act::Close,
            8 => Act::Reset,
            9 => Act::Silent,
            10 | 11 => Act::Late,
            12 => Act::Cut,
            13 => Act::Endless,
            14 => Act::Nonsense,
            15 => Act::Odd,
            16 => Act::WrongClass,
            _ => Act::OutOfTurn,
        }
    }

    /// Answers with code `yes` and these lines, or as `act` demands. `Ok` means that the complete
    /// answer was sent.
    pub async fn answer(&mut self, act: Act, yes: u16, lines: &[&str]) -> Result<(), Over> {
        if !self.plan.thinks.is_zero() {
            let time = self.rng.wait(self.plan.thinks);
            Sleep::of(&self.world, time).await;
        }
        if let Some(fault) = act.fault() {
            self.world.state().fault(self.at, fault);
        }
        self.replies += 1;
        self.said_at = None;
        let code = match act {
            Act::Refuse(code) => code,
            Act::Leave => *self.rng.pick(&[421, 421, 421, 521]),
            Act::WrongClass if yes == 354 => 250,
            Act::WrongClass => 354,
            _ => yes,
        };
        let reply = self.reply(code, yes, lines);
        match act {
            Act::Plain | Act::Refuse(_) => self.say(&reply).await,
            Act::Late => {
                let late = self.rng.wait(Duration::from_secs(1_200));
                Sleep::of(&self.world, late).await;
                self.say(&reply).await
            }
            Act::OutOfTurn => {
                self.is_talkative = true;
                self.say(&reply).await
            }
            Act::Odd => {
                let mut odd = reply;
                let at = odd.len() - 2;
                let octets = *self.rng.pick(&ODD);
                odd.splice(at..at, octets.iter().copied());
                self.say(&odd).await
            }
            Act::Leave => {
                self.write(&reply).await?;
                Err(Over)
            }
            Act::Close => Err(Over),
            Act::Reset => {
                self.world.state().connections[self.at].strike(Blow::Reset);
                Err(Over)
            }
            Act::Silent => self.wait_to_be_left().await,
            Act::Cut => {
                let part = self.rng.below(reply.len());
                self.write(&reply[..part]).await?;
                match self.rng.below(3) {
                    0 => self.wait_to_be_left().await,
                    1 => {
                        self.world.state().connections[self.at].strike(Blow::Reset);
                        Err(Over)
                    }
                    _ => Err(Over),
                }
            }
            Act::Endless => {
                let line = format!("{yes}-INTERNAL, and this is not all of it\r\n");
                for _ in 0..self.rng.below(400) {
                    self.write(line.as_bytes()).await?;
                }
                self.wait_to_be_left().await
            }
            Act::Nonsense => {
                let nonsense = *self.rng.pick(&NONSENSE);
                self.write(nonsense).await?;
                self.wait_to_be_left().await
            }
            Act::WrongClass => {
                self.write(&reply).await?;
                self.wait_to_be_left().await
            }
        }
    }

    /// Sends the whole answer.
    async fn say(&mut self, reply: &[u8]) -> Result<(), Over> {
        self.write(reply).await?;
        let state = self.world.state();
        self.said_at = Some(state.connections[self.at].pipes[super::network::PEER].written);
        Ok(())
    }

    /// Waits until the gate closes, since no client continues after such an answer.
    async fn wait_to_be_left(&mut self) -> Result<(), Over> {
        self.end.left().await;
        Err(Over)
    }

    pub async fn talk_out_of_turn(&mut self) -> Result<(), Over> {
        let code = *self.rng.pick(&EARLY_CODES);
        let early = EARLY.replace("000", code);
        {
            let state = &mut *self.world.state();
            let connection = &mut state.connections[self.at];
            let [gate, peer] = [super::network::GATE, super::network::PEER];
            let unanswered = connection.pipes[gate].written > connection.pipes[gate].read;
            // The gate cannot distinguish it from the answer to a command that is on its way.
            connection.lied |= unanswered || !self.input.is_empty();
            if connection.lied {
                let session = connection.session;
                state.sessions[session].lied_to = true;
            }
            let connection = &mut state.connections[self.at];
            if connection.lie.is_none() {
                connection.lie = Some(connection.pipes[peer].written);
            }
            if matches!(connection.onward, Some(Onward::Idle | Onward::Held)) {
                state.fault(self.at, Fault::ServerOutOfTurn);
            }
        }
        self.write(early.as_bytes()).await
    }

    fn reply(&mut self, code: u16, yes: u16, lines: &[&str]) -> Vec<u8> {
        let mark = format!("c{}.{}", self.at, self.replies);
        let mut reply = String::new();
        let lines = if code == yes { lines } else { &[][..] };
        match (lines, self.mail) {
            ([], Some((session, mail))) => {
                let name = super::ledger::name(session, mail);
                reply = format!("{code} {}.0.0 {mark} said for {name}\r\n", code / 100);
            }
            ([], None) => reply = format!("{code} {}.0.0 {mark} said\r\n", code / 100),
            ([only], _) if matches!(code, 220 | 221 | 354) => reply = format!("{code} {only}\r\n"),
            ([only], _) if !only.starts_with("INTERNAL") => {
                reply = format!("{code} {}.0.0 {mark} {only}\r\n", code / 100);
            }
            (lines, _) => {
                for (number, line) in lines.iter().enumerate() {
                    let hyphen = if number + 1 == lines.len() { ' ' } else { '-' };
                    reply += &format!("{code}{hyphen}{line}\r\n");
                }
            }
        }
        reply.into_bytes()
    }
}
