//! Clients with various behaviours: the input of each, its order and its timing.

use std::collections::VecDeque;
use std::time::Duration;

use super::attackers::Attack;
use super::client::{Asked, Client, Gone, Trouble};
use super::contents;
use super::coverage::{At, Fault};
use super::ledger::{self, Mail};
use super::network::{Blow, End, Fuse, GATE, PEER};
use super::plan::ClientPlan;
use super::world::World;

/// Lines that are not commands, or commands without effect.
const NONSENSE: [&[u8]; 18] = [
    b"NOOP\r\n",
    b"RSET\r\n",
    b"VRFY somebody\r\n",
    b"EXPN list\r\n",
    b"HELP\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN\r\n",
    b"XCLIENT ADDR=127.0.0.1\r\n",
    b"XFORWARD ADDR=127.0.0.1\r\n",
    b"FOO\r\n",
    b"\r\n",
    b"NOOP\r\r\n",
    b"RSET\nMAIL FROM:<smuggled@client.example>\r\n",
    b"MAIL FROM:<smuggled\0@client.example>\r\n",
    b"RCPT TO:<smuggled@mx.example>\nDATA\r\n",
    b"MAIL FROM:<smuggled@client.example\r\n",
    b"BDAT 5\r\nabcde",
    b"RCPT TO:<smuggled@mx.example> NOTIFY=NEVER,SUCCESS\r\n",
];

const HELLO: [&[u8]; 3] =
    [b"EHLO client.example\r\n", b"EHLO [192.0.2.1]\r\n", b"HELO client.example\r\n"];

/// Lines after which the gate closes the connection.
const FATAL: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n",
    b"BDAT 99999999999999999999999 LAST\r\n",
    b"BDAT -1\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];

/// Runs a client from connecting to its end.
pub async fn converse(world: World, end: End, session: usize) {
    let (plan, rng) = {
        let state = &mut *world.state();
        (state.plan.client, state.rng.fork())
    };
    let mut client = Client::new(world.clone(), end, rng, session);
    client.stand();
    let _ = client.live(&plan).await;
    drop(client);
    world.stand(session, At::Gone);
}

impl Client {
    async fn live(&mut self, plan: &ClientPlan) -> Result<(), Gone> {
        if self.rng.permille(plan.trouble) {
            let trouble = *self.rng.pick(&[
                Trouble::Reset,
                Trouble::HalfClose,
                Trouble::Stall,
                Trouble::Vanish,
                Trouble::StopReading,
            ]);
            if self.rng.permille(500) {
                self.trouble = Some((self.rng.below(14), trouble));
            } else {
                let most = Duration::from_secs(*self.rng.pick(&[1, 60]));
                self.due = Some((self.world.now() + self.rng.wait(most), trouble));
            }
        } else if self.rng.permille(plan.fuses) {
            self.light_fuse();
        }
        if self.rng.permille(plan.slow) {
            let most = *self.rng.pick(&[1, 100, 10_000, 400_000]);
            self.slow = Some(Duration::from_millis(most));
        }
        let odd = if self.rng.permille(plan.odd) { self.rng.below(6) } else { 6 };
        match odd {
            0 => return self.flood().await,
            1 => return self.say_all_and_hear_nothing().await,
            2 => return self.speak_something_else().await,
            3 => self.pregreet().await?,
            _ => {}
        }
        self.hear_all().await?;
        self.pause().await?;
        if odd == 4 {
            self.be_hasty().await?;
        }
        while self.stands == At::Greeted {
            let hello = *self.rng.pick(&HELLO);
            self.say(hello, &[Asked::Hello]).await?;
            self.hear_all().await?;
            self.pause().await?;
        }
        if self.rng.permille(plan.attacks) {
            let attack = *self.rng.pick(&Attack::ALL);
            self.attack(attack).await?;
        }
        for _ in 0..self.rng.below(plan.mails + 1) {
            if self.rng.permille(60) {
                self.talk_nonsense().await?;
            }
            let pipelining = self.rng.permille(500);
            self.send_mail(pipelining).await?;
            self.pause().await?;
        }
        self.take_leave().await
    }

    fn light_fuse(&mut self) {
        let blow = *self.rng.pick(&[
            Blow::Reset,
            Blow::HalfClose,
            Blow::Vanish,
            Blow::Stall,
            Blow::StopReading,
        ]);
        let pipe = *self.rng.pick(&[PEER, PEER, GATE]);
        let at = 1 + self.rng.below(500);
        let fuse = Some(Fuse { pipe, at, blow });
        self.world.state().connections[self.end.connection].fuse = fuse;
    }

    async fn take_leave(&mut self) -> Result<(), Gone> {
        match self.rng.below(8) {
            // Disconnects without QUIT.
            0 => Ok(()),
            // Does not wait for the reply.
            1 => self.say(b"QUIT\r\n", &[Asked::Quit]).await,
            _ => {
                self.say(b"QUIT\r\n", &[Asked::Quit]).await?;
                self.pause().await?;
                self.hear_out().await
            }
        }
    }

    // --- unusual clients ---

    /// Sends commands as fast as possible, without end.
    async fn flood(&mut self) -> Result<(), Gone> {
        let whole = *self.rng.pick(&NONSENSE[..12]);
        for _ in 0..4 + self.rng.below(30) {
            let count = 1 + self.rng.below(12);
            if self.rng.permille(20) {
                // An endless line.
                self.say(&[b'x'; 3000].repeat(count), &[Asked::Other]).await?;
                break;
            }
            self.say(&whole.repeat(count), &vec![Asked::Other; count]).await?;
        }
        self.hear_out().await
    }

    async fn say_all_and_hear_nothing(&mut self) -> Result<(), Gone> {
        self.end.strike(Blow::StopReading, Fault::ClientStopsReading);
        self.is_deaf = true;
        let (_, content) = self.new_mail();
        let mut all = b"EHLO client.example\r\n".repeat(1 + self.rng.below(100));
        all.extend(self.sender());
        all.extend(self.recipient(0));
        all.extend(b"DATA\r\n");
        all.extend(contents::stuffed(&content));
        all.extend(b".\r\nQUIT\r\n");
        self.say(&all, &[]).await?;
        self.hear_out().await
    }

    async fn speak_something_else(&mut self) -> Result<(), Gone> {
        self.hear_all().await?;
        let line = *self.rng.pick(&FATAL);
        self.say(line, &[Asked::Other]).await?;
        self.hear_out().await
    }

    async fn pregreet(&mut self) -> Result<(), Gone> {
        self.world.state().fault_in(self.session, Fault::ClientOutOfTurn);
        self.say(b"EHLO client.example\r\n", &[Asked::Hello]).await
    }

    /// Pipelines before it has seen PIPELINING offered.
    async fn be_hasty(&mut self) -> Result<(), Gone> {
        let (recipients, _) = self.new_mail();
        let mut all = b"EHLO client.example\r\n".to_vec();
        let mut asked = vec![Asked::Hello, Asked::Mail];
        all.extend(self.sender());
        for recipient in 0..recipients {
            all.extend(self.recipient(recipient));
            asked.push(Asked::Rcpt(recipient));
        }
        all.extend(b"RSET\r\n");
        asked.push(Asked::Other);
        self.waits.extend(&asked);
        self.stand();
        self.world.state().fault_in(self.session, Fault::ClientOutOfTurn);
        self.waits = VecDeque::new();
        self.say(&all, &asked).await?;
        self.hear_all().await?;
        self.stands = At::Ready;
        self.pause().await
    }

    async fn talk_nonsense(&mut self) -> Result<(), Gone> {
        let line = *self.rng.pick(&NONSENSE);
        self.say(line, &[Asked::Other]).await?;
        self.pause().await?;
        self.hear_all().await?;
        Ok(())
    }

    // --- mail ---

    /// Draws a new mail. Returns the number of its recipients and its content.
    pub fn new_mail(&mut self) -> (usize, Vec<u8>) {
        let state = &mut *self.world.state();
        let mails = &mut state.sessions[self.session].mails;
        self.mail = mails.len();
        let content = contents::draw(&mut self.rng, self.session, self.mail);
        let strict = state.plan.strict;
        let whole = contents::normalised(&content);
        let too_big = whole.len() > state.plan.content;
        let recipients = 1 + [0, 0, 0, 1, 2, 4][self.rng.below(6)];
        let forbidden = match (too_big, strict && ledger::bare_line_ends(&content)) {
            (true, _) => Some("it is too big"),
            (_, true) => Some("its line ends are wrong"),
            _ => None,
        };
        mails.push(Mail { content: whole, forbidden, ..Mail::default() });
        (recipients, content)
    }

    pub fn sender(&mut self) -> Vec<u8> {
        let name = ledger::name(self.session, self.mail);
        format!("MAIL FROM:<{name}@client.example>\r\n").into_bytes()
    }

    pub fn recipient(&self, recipient: usize) -> Vec<u8> {
        let name = ledger::name(self.session, self.mail);
        format!("RCPT TO:<r{recipient}.{name}@mx.example>\r\n").into_bytes()
    }

    async fn send_mail(&mut self, pipelining: bool) -> Result<(), Gone> {
        let (recipients, content) = self.new_mail();
        let in_chunks = self.rng.permille(350);
        let blind = self.rng.permille(30);
        if pipelining {
            let mut group = self.sender();
            let mut asked = vec![Asked::Mail];
            for recipient in 0..recipients {
                group.extend(self.recipient(recipient));
                asked.push(Asked::Rcpt(recipient));
            }
            if in_chunks && self.rng.permille(500) {
                return self.send_in_one_go(group, asked, content).await;
            }
            if !in_chunks && self.rng.permille(500) {
                group.extend(b"DATA\r\n");
                asked.push(Asked::Data);
                self.say(&group, &asked).await?;
                self.pause().await?;
                self.hear_all().await?;
                return self.send_data(&content).await;
            }
            self.say(&group, &asked).await?;
            self.pause().await?;
            self.hear_all().await?;
        } else {
            let sender = self.sender();
            self.say(&sender, &[Asked::Mail]).await?;
            if self.hear_all().await? != 250 {
                return Ok(());
            }
            self.pause().await?;
            for recipient in 0..recipients {
                let command = self.recipient(recipient);
                self.say(&command, &[Asked::Rcpt(recipient)]).await?;
                self.pause().await?;
                self.hear_all().await?;
                self.pause().await?;
            }
        }
        self.pause().await?;
        if self.rng.permille(30) || !self.accepted() && self.rng.permille(800) {
            return self.give_up().await;
        }
        if in_chunks {
            return self.send_chunks(&content).await;
        }
        if blind {
            return self.send_blind(content).await;
        }
        self.say(b"DATA\r\n", &[Asked::Data]).await?;
        self.pause().await?;
        self.hear_all().await?;
        self.send_data(&content).await
    }

    pub async fn give_up(&mut self) -> Result<(), Gone> {
        self.say(b"RSET\r\n", &[Asked::Other]).await?;
        self.hear_all().await?;
        self.stands = At::Ready;
        Ok(())
    }

    /// Sends content after 354, if that was the reply.
    pub async fn send_data(&mut self, content: &[u8]) -> Result<(), Gone> {
        if self.stands != At::Content {
            return self.give_up().await;
        }
        let mut octets = contents::stuffed(content);
        if !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        let middle = self.rng.below(octets.len() + 1);
        self.say(&octets[..middle], &[]).await?;
        self.pause().await?;
        let mut rest = octets[middle..].to_vec();
        if self.rng.permille(300) {
            self.say(&rest, &[]).await?;
            rest.clear();
            self.pause().await?;
        }
        rest.extend(b".\r\n");
        if self.rng.permille(200) {
            rest.extend(b"NOOP\r\n");
            self.say(&rest, &[Asked::Content, Asked::Other]).await?;
        } else {
            self.say(&rest, &[Asked::Content]).await?;
        }
        self.pause().await?;
        self.hear_all().await?;
        Ok(())
    }

    /// Sends content after DATA without waiting for 354.
    async fn send_blind(&mut self, content: Vec<u8>) -> Result<(), Gone> {
        let mut octets = b"DATA\r\n".to_vec();
        octets.extend(contents::stuffed(&content));
        if !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        octets.extend(b".\r\n");
        self.waits.push_back(Asked::Data);
        self.stand();
        self.world.state().fault_in(self.session, Fault::ClientOutOfTurn);
        self.say(&octets, &[Asked::Content]).await?;
        self.hear_all().await?;
        Ok(())
    }

    /// Sends content in chunks (RFC 3030). Each waits for its reply.
    async fn send_chunks(&mut self, content: &[u8]) -> Result<(), Gone> {
        let mut rest = content;
        while self.rng.permille(500) {
            let (chunk, behind) = rest.split_at(self.rng.below(rest.len() + 1));
            rest = behind;
            let waits = self.stands;
            self.stands = At::Content;
            let mut octets = format!("BDAT {}\r\n", chunk.len()).into_bytes();
            octets.extend(chunk);
            // The last chunk completes the content.
            let (head, tail) = octets.split_at(self.rng.below(octets.len()));
            self.say(head, &[]).await?;
            self.pause().await?;
            self.say(tail, &[Asked::Chunk]).await?;
            self.stands = waits;
            let code = self.hear_all().await?;
            if code != 250 {
                return self.give_up().await;
            }
            self.pause().await?;
        }
        self.stands = At::Content;
        let mut last = format!("BDAT {} LAST\r\n", rest.len()).into_bytes();
        last.extend(rest);
        let middle = self.rng.below(last.len());
        self.say(&last[..middle], &[]).await?;
        self.pause().await?;
        self.say(&last[middle..], &[Asked::Content]).await?;
        self.pause().await?;
        self.hear_all().await?;
        // Without an accepted recipient, the transaction is still open.
        self.give_up().await
    }

    /// Sends the whole transaction in one group, including chunks.
    async fn send_in_one_go(
        &mut self,
        mut group: Vec<u8>,
        mut asked: Vec<Asked>,
        content: Vec<u8>,
    ) -> Result<(), Gone> {
        let (first, last) = content.split_at(self.rng.below(content.len() + 1));
        if self.rng.permille(500) {
            group.extend(format!("BDAT {}\r\n", first.len()).bytes());
            group.extend(first);
            group.extend(format!("BDAT {} LAST\r\n", last.len()).bytes());
            group.extend(last);
            asked.extend([Asked::Chunk, Asked::Content]);
        } else {
            group.extend(format!("BDAT {} LAST\r\n", content.len()).bytes());
            group.extend(content);
            asked.push(Asked::Content);
        }
        self.say(&group, &asked).await?;
        self.pause().await?;
        self.hear_all().await?;
        // After a refused chunk, the transaction is still open.
        self.give_up().await
    }
}
