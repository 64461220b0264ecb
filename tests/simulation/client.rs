//! The client's side of the dialogue: it sends commands, reads replies, and interprets them.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::{Either, poll_fn, select};
use futures::io::{AsyncRead, AsyncWrite};

use super::clock::Sleep;
use super::coverage::{At, Fault};
use super::ledger::{self, holds};
use super::network::{Blow, End};
use super::rng::Rng;
use super::world::World;

/// The client or the gate has closed the connection.
#[derive(Debug)]
pub struct Gone;

/// The command whose reply the client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Greeting,
    Hello,
    Mail,
    /// RCPT for the recipient with this number.
    Rcpt(usize),
    Data,
    Chunk,
    /// The content of the mail.
    Content,
    Other,
    Quit,
}

impl Asked {
    fn at(self) -> At {
        match self {
            Self::Greeting => At::Greeting,
            Self::Hello => At::Hello,
            Self::Mail => At::Mail,
            Self::Rcpt(_) => At::Rcpt,
            Self::Data => At::Data,
            Self::Chunk => At::Chunk,
            Self::Content => At::Ended,
            Self::Other => At::Other,
            Self::Quit => At::Quit,
        }
    }

    /// Returns whether a reply with this code can answer the command.
    fn may_be(self, code: u16) -> bool {
        let yes = match self {
            Self::Greeting => code == 220,
            Self::Data => code == 354,
            Self::Quit => code == 221,
            _ => (200..300).contains(&code) && code != 221,
        };
        yes || (400..600).contains(&code)
    }
}

/// A fault of the client.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    Reset,
    HalfClose,
    Stall,
    Vanish,
    StopReading,
}

pub struct Client {
    pub world: World,
    pub end: End,
    pub rng: Rng,
    pub session: usize,
    /// A fault after this many pauses.
    pub trouble: Option<(usize, Trouble)>,
    /// A fault at this time, wherever the dialogue is.
    pub due: Option<(Instant, Trouble)>,
    /// The maximum delay at each pause, if the client is slow.
    pub slow: Option<Duration>,
    pub waits: VecDeque<Asked>,
    /// Its position in the dialogue.
    pub stands: At,
    /// The mail that its commands refer to.
    pub mail: usize,
    heard: Vec<u8>,
    /// It never reads a reply.
    pub is_deaf: bool,
    /// It got a reply that closes the connection.
    dismissed: bool,
}

impl Client {
    pub fn new(world: World, end: End, rng: Rng, session: usize) -> Self {
        Self {
            world,
            end,
            rng,
            session,
            trouble: None,
            due: None,
            slow: None,
            waits: VecDeque::from([Asked::Greeting]),
            stands: At::Greeted,
            mail: 0,
            heard: Vec::new(),
            is_deaf: false,
            dismissed: false,
        }
    }

    /// Records the client's position in the world.
    pub fn stand(&self) {
        let at = self.waits.front().map_or(self.stands, |asked| asked.at());
        self.world.stand(self.session, at);
    }

    /// Waits if the client is slow. Planned faults happen here.
    pub async fn pause(&mut self) -> Result<(), Gone> {
        self.stand();
        if let Some(most) = self.slow {
            let time = self.rng.wait(most);
            Sleep::of(&self.world, time).await;
        }
        match &mut self.trouble {
            Some((0, trouble)) => {
                let trouble = *trouble;
                self.trouble = None;
                self.get_into(trouble).await
            }
            Some((pauses, _)) => {
                *pauses -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn get_into(&mut self, trouble: Trouble) -> Result<(), Gone> {
        match trouble {
            Trouble::Reset => self.end.strike(Blow::Reset, Fault::ClientResets),
            Trouble::HalfClose => self.end.strike(Blow::HalfClose, Fault::ClientHalfCloses),
            Trouble::Stall => self.end.strike(Blow::Stall, Fault::ClientStalls),
            Trouble::Vanish => self.end.strike(Blow::Vanish, Fault::ClientVanishes),
            Trouble::StopReading => {
                self.end.strike(Blow::StopReading, Fault::ClientStopsReading);
                return Ok(());
            }
        }
        self.hear_out().await
    }

    // --- sending ---

    /// Sends octets that contain the commands `asked`. Reads replies meanwhile, as a pipelining
    /// client must.
    pub async fn say(&mut self, octets: &[u8], asked: &[Asked]) -> Result<(), Gone> {
        self.waits.extend(asked);
        self.stand();
        let mut said = 0;
        while said < octets.len() {
            let most = match self.slow {
                Some(_) => said + 1 + self.rng.below(octets.len() - said),
                None => octets.len(),
            };
            while said < most {
                match self.write(&octets[said..most]).await {
                    Some(count) => said += count,
                    None => return self.hear_out().await,
                }
            }
            if let (Some(time), true) = (self.slow, said < octets.len()) {
                let time = self.rng.wait(time);
                Sleep::of(&self.world, time).await;
            }
        }
        Ok(())
    }

    /// Writes a part of the octets. Returns `None` if the connection accepts no more.
    async fn write(&mut self, octets: &[u8]) -> Option<usize> {
        let mut buffer = [0; 512];
        poll_fn(|context| {
            loop {
                if let Poll::Ready(result) = Pin::new(&mut self.end).poll_write(context, octets) {
                    return Poll::Ready(result.ok());
                }
                match Pin::new(&mut self.end).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.heard.extend_from_slice(&buffer[..count]);
                    }
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    // --- reading ---

    /// Reads everything until the gate closes.
    pub async fn hear_out(&mut self) -> Result<(), Gone> {
        if self.is_deaf {
            self.end.left().await;
            return Err(Gone);
        }
        loop {
            self.hear().await?;
        }
    }

    /// Reads the replies to all its commands and returns the last code.
    pub async fn hear_all(&mut self) -> Result<u16, Gone> {
        let mut code = 0;
        while !self.waits.is_empty() {
            code = self.hear().await?;
        }
        Ok(code)
    }

    /// Reads one reply.
    pub async fn hear(&mut self) -> Result<u16, Gone> {
        let mut buffer = [0; 512];
        loop {
            if let Some(reply) = self.next_reply() {
                return Ok(self.understand(&reply));
            }
            let read = poll_fn(|context| Pin::new(&mut self.end).poll_read(context, &mut buffer));
            let count = match self.due {
                None => read.await,
                Some((at, trouble)) => {
                    let due = pin!(Sleep::until(&self.world, at));
                    match select(read, due).await {
                        Either::Left((count, _)) => count,
                        Either::Right(_) => {
                            self.due = None;
                            Box::pin(self.get_into(trouble)).await?;
                            continue;
                        }
                    }
                }
            };
            match count {
                Ok(count) if count > 0 => self.heard.extend_from_slice(&buffer[..count]),
                _ => return Err(Gone),
            }
        }
    }

    /// Returns the next reply if it is complete (RFC 5321 section 4.2).
    fn next_reply(&mut self) -> Option<Vec<u8>> {
        let mut at = 0;
        loop {
            let rest = &self.heard[at..];
            let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
            let line = &rest[..end];
            let digits = line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit);
            let plain = line.iter().all(|octet| (b' '..127).contains(octet));
            let same = line.get(..3) == self.heard.get(..3);
            let last = line.get(3) == Some(&b' ');
            if !digits || !plain || !same || end > 510 || !(last || line.get(3) == Some(&b'-')) {
                let text = line.escape_ascii().to_string();
                self.violate(&format!("got `{text}`, which is not a reply"));
            }
            at += end + 2;
            if last || !digits {
                return Some(self.heard.drain(..at).collect());
            }
        }
    }

    pub fn violate(&self, what: &str) {
        self.world.state().violate(format!("client {}: {what}", self.session));
    }

    /// Interprets a reply and returns its code.
    fn understand(&mut self, reply: &[u8]) -> u16 {
        let code = reply[..3].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let text = reply.escape_ascii();
        // After an unsolicited reply of the server, any reply may reach the client.
        let lied_to = self.world.state().sessions[self.session].lied_to;
        let internal = holds(reply, b"INTERNAL") && !lied_to;
        if internal || holds(reply, b"PRIVATE") {
            self.violate(&format!("was told `{text}`, which is internal"));
        }
        let another = ledger::named(reply).is_some_and(|(session, _)| session != self.session);
        if another && !lied_to {
            self.violate(&format!("was told `{text}`, which is another's"));
        }
        if self.dismissed {
            self.violate(&format!("was told `{text}` behind the last reply"));
        }
        self.dismissed = matches!(code, 221 | 421 | 521);
        match self.waits.pop_front() {
            Some(asked) if asked.may_be(code) => self.learn(asked, code, reply),
            // A timeout, or the gate is shutting down.
            None if code == 421 => {}
            asked => self.violate(&format!("was told `{text}` to {asked:?}")),
        }
        self.stand();
        code
    }

    fn learn(&mut self, asked: Asked, code: u16, reply: &[u8]) {
        let yes = (200..300).contains(&code);
        match asked {
            Asked::Hello if yes && self.stands == At::Greeted => self.stands = At::Ready,
            Asked::Mail if yes => self.stands = At::Sender,
            Asked::Rcpt(recipient) if yes => {
                self.stands = At::Recipients;
                let state = &mut *self.world.state();
                let lied_to = state.sessions[self.session].lied_to;
                let mail = &mut state.sessions[self.session].mails[self.mail];
                mail.told |= 1 << recipient;
                if mail.granted & (1 << recipient) == 0 && !lied_to {
                    let name = ledger::name(self.session, self.mail);
                    state.violate(format!("r{recipient}.{name} was accepted by the gate alone"));
                }
            }
            Asked::Data if code == 354 => self.stands = At::Content,
            Asked::Chunk if yes => self.stands = At::Chunks,
            Asked::Content => {
                self.stands = At::Ready;
                let state = &mut *self.world.state();
                state.sessions[self.session].mails[self.mail].answer = Some(reply.to_vec());
                if yes {
                    super::oracle::check_receipt(state, self.session, self.mail, reply);
                }
            }
            _ => {}
        }
    }

    /// Returns whether any recipient of this mail was accepted.
    pub fn accepted(&self) -> bool {
        self.world.state().sessions[self.session].mails[self.mail].told != 0
    }
}
