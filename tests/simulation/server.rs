//! Onward servers, written from RFC 5321, 2033, 3030 and Postfix's readmes. They follow the
//! protocol except for random faults, and check everything that they receive.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use nobounce::onward::Identify;

use super::acts::{Act, Over};
use super::attackers::UNKNOWN;
use super::clock::Sleep;
use super::coverage::{Fault, Onward};
use super::ledger::{self, Kept, holds};
use super::network::{Blow, End, Fuse, GATE, PEER};
use super::plan::ServerPlan;
use super::rng::Rng;
use super::world::World;

pub struct Server {
    pub world: World,
    pub end: End,
    pub rng: Rng,
    pub plan: ServerPlan,
    /// Index of its connection.
    pub at: usize,
    pub input: Vec<u8>,
    pub replies: usize,
    /// Number of octets sent up to the end of its last answer, if there was one.
    pub said_at: Option<usize>,
    /// Whether it has sent an unsolicited reply.
    pub is_talkative: bool,
    hello: bool,
    /// The session whose client it was told of.
    told: Option<usize>,
    /// The mail it is asked about.
    pub mail: Option<(usize, usize)>,
    recipients: u32,
    chunks: Vec<u8>,
}

/// Serves a connection from greeting to end.
pub async fn serve(world: World, end: End) {
    let (plan, rng) = {
        let state = &mut *world.state();
        (state.plan.server, state.rng.fork())
    };
    let at = end.connection;
    let mut server = Server {
        world,
        end,
        rng,
        plan,
        at,
        input: Vec::new(),
        replies: 0,
        said_at: None,
        is_talkative: false,
        hello: false,
        told: None,
        mail: None,
        recipients: 0,
        chunks: Vec::new(),
    };
    server.light_fuse();
    // In every case, the connection is closed.
    let _ = server.converse().await;
}

impl Server {
    /// Plans a random break of the connection.
    fn light_fuse(&mut self) {
        if !self.rng.permille(self.plan.fuses) {
            return;
        }
        let blow = *self.rng.pick(&[Blow::Reset, Blow::HalfClose, Blow::Vanish, Blow::StopReading]);
        let pipe = *self.rng.pick(&[PEER, GATE]);
        let at = 1 + self.rng.below(800);
        self.world.state().connections[self.at].fuse = Some(Fuse { pipe, at, blow });
    }

    async fn converse(mut self) -> Result<(), Over> {
        if matches!(self.plan.identify, Identify::Proxy(_)) {
            let header = self.line().await?;
            if !header.starts_with(b"PROXY TCP4 192.0.2.1 0.0.0.0 ") {
                self.violate(&format!("a PROXY header `{}`", header.escape_ascii()));
            }
            self.be_told(&header, b" 0.0.0.0 ");
        }
        let act = self.act();
        self.answer(act, 220, &["INTERNAL greeting"]).await?;
        loop {
            let onward = if self.mail.is_some() { Onward::Held } else { Onward::Idle };
            self.stand(onward);
            let line = self.line().await?;
            if holds(&line, b"INTERNAL") || line.iter().any(|octet| matches!(octet, 0..32)) {
                self.violate(&format!("a command `{}`", line.escape_ascii()));
            }
            self.command(&line).await?;
        }
    }

    pub fn stand(&self, onward: Onward) {
        self.world.state().connections[self.at].onward = Some(onward);
    }

    pub fn violate(&self, what: &str) {
        let state = &mut *self.world.state();
        if !state.connections[self.at].lied {
            state.violate(format!("onward connection {}: {what}", self.at));
        }
    }

    /// Identifies the session by the client port that the gate sends.
    fn be_told(&mut self, text: &[u8], before: &[u8]) {
        let at = text.windows(before.len()).position(|it| it == before);
        let behind = at.map_or(&[][..], |at| &text[at + before.len()..]);
        let digits = behind.iter().take_while(|octet| octet.is_ascii_digit());
        let port = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        self.told = port.checked_sub(PORT);
    }

    async fn command(&mut self, line: &[u8]) -> Result<(), Over> {
        let verb = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let identify = self.plan.identify;
        match verb {
            b"EHLO" | b"LHLO" | b"HELO" => self.hello(verb).await,
            b"XCLIENT" if self.hello && self.mail.is_none() && identify == Identify::XClient => {
                self.stand(Onward::Identify);
                let act = self.act();
                self.hello = false;
                self.answer(act, 220, &["INTERNAL greeting"]).await?;
                self.be_told(line, b"PORT=");
                Ok(())
            }
            b"XFORWARD" if self.hello && self.mail.is_none() && identify == Identify::XForward => {
                self.stand(Onward::Identify);
                let act = self.act();
                self.answer(act, 250, &["INTERNAL Ok"]).await?;
                self.be_told(line, b"PORT=");
                Ok(())
            }
            b"RSET" => {
                self.stand(Onward::Rset);
                if self.rng.permille(300) {
                    // A long wait for this rare answer, so that faults can happen meanwhile.
                    let time = self.rng.wait(Duration::from_secs(20));
                    Sleep::of(&self.world, time).await;
                }
                let act = self.act();
                self.forget();
                self.answer(act, 250, &["INTERNAL Ok"]).await
            }
            b"MAIL" => self.sender(line).await,
            b"RCPT" => self.recipient(line).await,
            b"DATA" => self.data().await,
            b"BDAT" => self.chunk(line).await,
            b"QUIT" => {
                self.stand(Onward::Quit);
                let act = self.act();
                self.answer(act, 221, &["INTERNAL Bye"]).await?;
                Err(Over)
            }
            _ => {
                self.violate(&format!("out of turn: `{}`", line.escape_ascii()));
                Err(Over)
            }
        }
    }

    /// Ends the transaction.
    fn forget(&mut self) {
        if self.plan.identify == Identify::XForward {
            self.told = None;
        }
        self.mail = None;
        self.recipients = 0;
        self.chunks.clear();
    }

    async fn hello(&mut self, verb: &[u8]) -> Result<(), Over> {
        self.stand(Onward::Hello);
        if (verb == b"LHLO") != self.plan.lmtp {
            self.violate("the wrong protocol");
        }
        self.mail = None;
        self.recipients = 0;
        let act = self.act();
        self.hello = !act.is_no();
        if verb == b"HELO" {
            return self.answer(act, 250, &["INTERNAL.example"]).await;
        }
        let mut lines = vec!["INTERNAL.example", "SIZE 100000", "8BITMIME", "SMTPUTF8", "DSN"];
        lines.extend(self.plan.pipelining.then_some("PIPELINING"));
        lines.extend(self.plan.chunking.then_some("CHUNKING"));
        lines.push("ENHANCEDSTATUSCODES");
        match self.plan.identify {
            // From time to time, its configuration no longer includes us.
            _ if self.rng.permille(self.plan.faults / 4) => {}
            Identify::XClient => lines.push("XCLIENT NAME ADDR PORT PROTO HELO"),
            Identify::XForward => lines.push("XFORWARD NAME ADDR PORT PROTO HELO"),
            _ => {}
        }
        self.answer(act, 250, &lines).await
    }

    async fn sender(&mut self, line: &[u8]) -> Result<(), Over> {
        self.stand(Onward::Mail);
        let named = ledger::named(line);
        {
            let state = &mut *self.world.state();
            let barred = named.is_some_and(|(session, _)| state.sessions[session].barred);
            let foreign = holds(line, b"smuggled") || named.is_none();
            let for_nobody = self.plan.identify != Identify::None
                && self.told.is_none_or(|told| named.is_some_and(|(session, _)| session != told));
            let text = line.escape_ascii();
            let lied = state.connections[self.at].lied;
            if (self.mail.is_some() || !self.hello) && !lied {
                state.violate(format!("MAIL out of turn: `{text}`"));
            } else if barred || foreign {
                state.violate(format!("a sender that must not come here: `{text}`"));
            } else if for_nobody {
                state.violate(format!("told of {:?}, then `{text}`", self.told));
            }
        }
        let Some((session, mail)) = named else { return Err(Over) };
        let act = self.act();
        self.mail = named;
        let said = self.answer(act, 250, &[&text("Sender", session, mail)]).await;
        if act.is_no() {
            self.mail = None;
        }
        said
    }

    async fn recipient(&mut self, line: &[u8]) -> Result<(), Over> {
        self.stand(Onward::Rcpt);
        if holds(line, UNKNOWN.as_bytes()) {
            return self.refuse_unknown().await;
        }
        let (Some(named), Some(recipient)) = (ledger::named(line), ledger::recipient(line)) else {
            self.violate(&format!("a recipient of nobody: `{}`", line.escape_ascii()));
            return Err(Over);
        };
        let bit = 1_u32 << recipient;
        let of_mail = self.mail == Some(named);
        {
            let state = &mut *self.world.state();
            let pipelined = self.plan.pipelining && self.mail.is_none();
            let barred = state.mail(named).is_some_and(|mail| mail.barred & bit != 0);
            let lied = state.connections[self.at].lied;
            if barred || holds(line, b"smuggled") || !of_mail && !pipelined && !lied {
                let text = line.escape_ascii();
                state.violate(format!("a recipient that must not come here: `{text}`"));
            }
        }
        let act = if of_mail { self.act() } else { Act::Refuse(503) };
        self.answer(act, 250, &[&text("Recipient", named.0, named.1)]).await?;
        if !act.is_no() {
            self.recipients |= bit;
            if let Some(mail) = self.world.state().mail(named) {
                mail.granted |= bit;
            }
        }
        Ok(())
    }

    /// Refuses a recipient that does not exist.
    async fn refuse_unknown(&mut self) -> Result<(), Over> {
        if let Some((session, _)) = self.mail {
            self.world.state().sessions[session].harvested += 1;
        }
        self.answer(Act::Refuse(550), 250, &["INTERNAL unknown"]).await
    }

    async fn data(&mut self) -> Result<(), Over> {
        self.stand(Onward::Data);
        let Some((session, mail)) = self.mail.filter(|_| self.recipients != 0) else {
            self.violate("DATA without a recipient");
            return Err(Over);
        };
        let act = self.act();
        let said = self.answer(act, 354, &[&text("Data", session, mail)]).await;
        if act.is_no() {
            // As in Postfix, the transaction stays open.
            return said;
        }
        said?;
        self.stand(Onward::Content);
        let mut content = Vec::new();
        let mut short = self.misfortune();
        loop {
            let line = self.line_of(&mut short).await?;
            if line == b"." {
                break;
            }
            if line.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
                self.violate(&format!("a bare line end: `{}`", line.escape_ascii()));
            }
            content.extend(line.strip_prefix(b".").unwrap_or(&line));
            content.extend(b"\r\n");
        }
        self.take(content).await
    }

    async fn chunk(&mut self, line: &[u8]) -> Result<(), Over> {
        let mut words = line.split(|octet| *octet == b' ').skip(1);
        let size = words.next().and_then(|word| str::from_utf8(word).ok()?.parse::<usize>().ok());
        let last = words.next() == Some(b"LAST");
        let Some(size) = size.filter(|_| self.recipients != 0 && self.plan.chunking) else {
            self.violate(&format!("out of turn: `{}`", line.escape_ascii()));
            return Err(Over);
        };
        self.stand(Onward::Content);
        let mut short = self.misfortune();
        while self.input.len() < size {
            self.read(&mut short).await?;
        }
        self.chunks.extend(self.input.drain(..size));
        if !last {
            self.violate("a chunk that is not the last");
        }
        let content = std::mem::take(&mut self.chunks);
        if ledger::bare_line_ends(&content) {
            self.violate("a bare line end in a chunk");
        }
        self.take(content).await
    }

    /// Handles a complete content.
    async fn take(&mut self, content: Vec<u8>) -> Result<(), Over> {
        self.stand(Onward::Ended);
        let Some(named @ (session, number)) = self.mail else { return Err(Over) };
        let act = self.act();
        let recipients = self.recipients;
        if self.plan.lmtp && recipients.count_ones() != 1 {
            self.violate("more recipients than there can be answers");
        }
        let keeps = act.keeps(&mut self.rng);
        {
            let state = &mut *self.world.state();
            let Some(mail) = state.mail(named) else { return Err(Over) };
            let forbidden = mail.forbidden;
            let is_whole = is_whole(&content, &mail.content);
            if keeps {
                let (said, is_plain) = (None, act != Act::Odd);
                let connection = self.at;
                mail.kept.push(Kept { connection, recipients, said, is_whole, is_plain });
            }
            let name = ledger::name(session, number);
            if let Some(why) = forbidden {
                state.violate(format!("I3: {name} went onward, although {why}"));
            }
            if !is_whole {
                state.violate(format!("{name} arrived as `{}`", content.escape_ascii()));
            }
            if holds(&content, b"INTERNAL") {
                state.violate(format!("{name} tells what is internal"));
            }
        }
        let said = self.answer(act, 250, &[&text("Content", session, number)]).await;
        self.forget();
        if let Some(written) = self.said_at.filter(|_| keeps) {
            let state = &mut *self.world.state();
            let mark = format!("c{}.{} ", self.at, self.replies);
            if let Some(kept) = state.mail(named).and_then(|mail| mail.kept.last_mut()) {
                kept.said = Some((mark, written));
            }
        }
        said
    }

    // --- reading ---

    /// Returns after how many octets of content a fault happens.
    fn misfortune(&mut self) -> Option<usize> {
        let strikes = self.rng.permille(self.plan.faults);
        let behind = self.rng.below(400);
        strikes.then_some(behind)
    }

    async fn line(&mut self) -> Result<Vec<u8>, Over> {
        self.line_of(&mut None).await
    }

    async fn line_of(&mut self, short: &mut Option<usize>) -> Result<Vec<u8>, Over> {
        let mut from = 0;
        loop {
            if let Some(at) = self.input[from..].windows(2).position(|pair| pair == b"\r\n") {
                let line = self.input[..from + at].to_vec();
                self.input.drain(..from + at + 2);
                return Ok(line);
            }
            from = self.input.len().saturating_sub(1);
            self.read(short).await?;
        }
    }

    async fn read(&mut self, short: &mut Option<usize>) -> Result<(), Over> {
        if std::mem::take(&mut self.is_talkative) {
            self.talk_out_of_turn().await?;
        }
        let mut buffer = [0; 2048];
        let most = short.map_or(buffer.len(), |short| short.clamp(1, buffer.len()));
        let standing = matches!(
            self.world.state().connections[self.at].onward,
            Some(Onward::Idle | Onward::Held)
        );
        let count = if standing && self.rng.permille(self.plan.impatient) {
            let patience = self.rng.wait(std::time::Duration::from_secs(400));
            let impatience = pin!(Sleep::of(&self.world, patience));
            let read = pin!(self.end.read(&mut buffer[..most]));
            match select(read, impatience).await {
                Either::Left((count, _)) => Some(count),
                Either::Right(_) => None,
            }
        } else {
            Some(self.end.read(&mut buffer[..most]).await)
        };
        let Some(count) = count else {
            self.lose_patience().await?;
            return Ok(());
        };
        let count = count.ok().filter(|count| *count > 0).ok_or(Over)?;
        self.input.extend_from_slice(&buffer[..count]);
        if let Some(left) = short {
            *left = left.saturating_sub(count);
            if *left == 0 {
                *short = None;
                return self.fail_in_content().await;
            }
        }
        Ok(())
    }

    async fn lose_patience(&mut self) -> Result<(), Over> {
        match self.rng.below(5) {
            0 => self.answer(Act::Close, 421, &[]).await,
            1 => self.answer(Act::Reset, 421, &[]).await,
            2 => self.talk_out_of_turn().await,
            3 => {
                self.end.strike(Blow::Vanish, Fault::Silent);
                Err(Over)
            }
            _ => self.answer(Act::Leave, 421, &[]).await,
        }
    }

    async fn fail_in_content(&mut self) -> Result<(), Over> {
        let fault = match self.rng.below(7) {
            0 => Act::Close,
            1 => Act::Reset,
            2 => Act::Silent,
            3 => Act::Leave,
            4 => Act::Refuse(552),
            5 => Act::Refuse(452),
            _ => {
                self.world.state().fault(self.at, Fault::ServerStopsReading);
                self.end.left().await;
                return Err(Over);
            }
        };
        // An answer to a content that was not read completely closes the connection.
        self.answer(fault, 250, &[]).await?;
        Err(Over)
    }

    pub async fn write(&mut self, octets: &[u8]) -> Result<(), Over> {
        self.end.write_all(octets).await.map_err(|_| Over)
    }
}

/// Port of the client of session 0.
pub const PORT: usize = 20_000;

fn text(what: &str, session: usize, mail: usize) -> String {
    format!("{what} for {}", ledger::name(session, mail))
}

/// Returns whether this is the content after header fields of the gate.
fn is_whole(arrived: &[u8], content: &[u8]) -> bool {
    let ours = |line: &[u8]| {
        [&b"Received:"[..], b"X-Nobounce-", b" ", b"\t"].iter().any(|it| line.starts_with(it))
    };
    arrived.strip_suffix(content).is_some_and(|added| {
        let begins = added.starts_with(b"Received:") || added.starts_with(b"X-Nobounce-");
        begins && added.split_inclusive(|octet| *octet == b'\n').all(ours)
    })
}
