//! Attackers that follow every rule they know, and hold resources at the lowest cost to themselves.

use std::time::Duration;

use super::client::{Asked, Client, Gone};
use super::clock::Sleep;
use super::contents;
use super::coverage::At;

/// Local part of recipients that no onward server of the simulation has.
pub const UNKNOWN: &str = "unknown";

/// Maximum number of refused recipients in a session (`Limits::refused_recipients`).
pub const REFUSED: u32 = 50;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Asks for one unknown recipient after another, after a known one.
    Harvest,
    /// Sends mail data in chunks of one octet with pauses between them.
    OctetChunks,
    /// Sends most of its mail data, then single octets with long pauses.
    SlowHolder,
    /// Idles after an accepted recipient, then sends its mail.
    IdleBehindRcpt,
}

impl Attack {
    pub const ALL: [Self; 4] =
        [Self::Harvest, Self::OctetChunks, Self::SlowHolder, Self::IdleBehindRcpt];
}

impl Client {
    /// Starts a mail with one recipient, then attacks.
    pub async fn attack(&mut self, attack: Attack) -> Result<(), Gone> {
        let (_, content) = self.new_mail();
        let mut group = self.sender();
        group.extend(self.recipient(0));
        self.say(&group, &[Asked::Mail, Asked::Rcpt(0)]).await?;
        self.hear_all().await?;
        match attack {
            Attack::Harvest => self.harvest().await,
            _ if !self.accepted() => self.give_up().await,
            Attack::OctetChunks => self.send_octet_chunks(&content).await,
            Attack::SlowHolder => self.hold(&content).await,
            Attack::IdleBehindRcpt => {
                self.wait(250).await;
                self.say(b"DATA\r\n", &[Asked::Data]).await?;
                self.hear_all().await?;
                self.send_data(&content).await
            }
        }
    }

    async fn harvest(&mut self) -> Result<(), Gone> {
        let mut refused = 0;
        for n in 0..200 {
            let command = format!("RCPT TO:<{UNKNOWN}{n}@mx.example>\r\n");
            self.say(command.as_bytes(), &[Asked::Other]).await?;
            refused += u32::from(self.hear_all().await? >= 500);
            if refused > REFUSED {
                self.violate(&format!("was refused {refused} recipients and goes on"));
            }
        }
        self.give_up().await
    }

    async fn send_octet_chunks(&mut self, content: &[u8]) -> Result<(), Gone> {
        for octet in content.iter().take(40) {
            self.stands = At::Content;
            let chunk = [&b"BDAT 1\r\n"[..], &[*octet]].concat();
            self.say(&chunk, &[Asked::Chunk]).await?;
            self.stands = At::Chunks;
            if self.hear_all().await? != 250 {
                return self.give_up().await;
            }
            self.wait(170).await;
        }
        let rest = &content[content.len().min(40)..];
        self.stands = At::Content;
        let last = [format!("BDAT {} LAST\r\n", rest.len()).as_bytes(), rest].concat();
        self.say(&last, &[Asked::Content]).await?;
        self.hear_all().await?;
        self.give_up().await
    }

    async fn hold(&mut self, content: &[u8]) -> Result<(), Gone> {
        self.say(b"DATA\r\n", &[Asked::Data]).await?;
        self.hear_all().await?;
        if self.stands != At::Content {
            return self.give_up().await;
        }
        let mut octets = contents::stuffed(content);
        if !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        octets.extend(b".\r\n");
        let (head, tail) = octets.split_at(octets.len().saturating_sub(40));
        self.say(head, &[]).await?;
        for octet in &tail[..tail.len() - 1] {
            self.wait(100).await;
            self.say(&[*octet], &[]).await?;
        }
        self.say(b"\n", &[Asked::Content]).await?;
        self.hear_all().await?;
        Ok(())
    }

    /// Stays silent for at most this many seconds.
    async fn wait(&mut self, seconds: u64) {
        let time = self.rng.wait(Duration::from_secs(seconds));
        Sleep::of(&self.world, time).await;
    }
}
