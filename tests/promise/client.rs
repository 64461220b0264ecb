//! An in-memory client that follows RFC 5321, and what it may conclude from the replies.

use super::gate::Gate;
use super::oracle::{Octets, Reply, normalised, stuffed};
use super::server::OnwardServer;

/// A planned mail transaction.
#[derive(Debug, Clone)]
pub struct Plan {
    pub recipients: usize,
    pub content: Octets,
    pub transfer: Transfer,
    /// Whether groups of commands are pipelined (RFC 2920).
    pub pipelined: bool,
    pub size: bool,
    pub ending: Ending,
}

#[derive(Debug, Clone)]
pub enum Transfer {
    Data,
    /// Chunks of these sizes, repeated.
    Chunks(Vec<usize>),
}

/// Continuation of the transaction after half of the content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    Complete,
    /// Sends the rest of the content and QUIT, then closes the sending side.
    QuitAndHalfClose,
    /// Sends RSET instead of the content.
    Reset,
    /// Ends its input.
    EndOfInput,
    /// Resets the connection.
    Gone,
    /// Sends nothing more.
    Stall,
}

/// The client's knowledge of a transaction.
#[derive(Debug, Default)]
pub struct Account {
    /// A word that is unique to this message.
    pub token: String,
    pub recipients: Vec<(Vec<u8>, Reply)>,
    /// The content that an onward server must have if it accepts the message.
    pub content: Vec<u8>,
    /// The reply to the content, if it was sent completely.
    pub answer: Option<Reply>,
}

impl Account {
    /// Returns the recipients that were accepted according to the replies.
    pub fn accepted(&self) -> Vec<Vec<u8>> {
        let accepted = self.recipients.iter().filter(|(_, reply)| reply.is_yes());
        accepted.map(|(recipient, _)| recipient.clone()).collect()
    }
}

/// Reads the greeting and sends EHLO. Returns whether the client may continue.
pub fn introduce<S: OnwardServer>(gate: &mut Gate<S>) -> bool {
    gate.say(b"").iter().all(Reply::is_yes)
        && !gate.is_closed()
        && gate.say(b"EHLO client.example\r\n").iter().all(Reply::is_yes)
        && !gate.is_closed()
}

/// Runs the `n`th transaction.
pub fn transact<S: OnwardServer>(gate: &mut Gate<S>, n: usize, plan: &Plan) -> Account {
    let token = format!("token-{n}-");
    let mut content = format!("Subject: {token}\r\n\r\n").into_bytes();
    content.extend_from_slice(&plan.content.0);
    if matches!(plan.transfer, Transfer::Data) && !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    let mut account = Account { token, content: normalised(&content), ..Account::default() };

    let size = if plan.size { format!(" SIZE={}", content.len()) } else { String::new() };
    let mut commands = vec![format!("MAIL FROM:<sender-{n}@example.org>{size}\r\n")];
    let recipient = |m: usize| format!("TO:<recipient-{n}-{m}@example.net>");
    commands.extend((0..plan.recipients).map(|m| format!("RCPT {}\r\n", recipient(m))));
    let data = matches!(plan.transfer, Transfer::Data) && plan.ending != Ending::Reset;
    if data && plan.pipelined {
        commands.push("DATA\r\n".into());
    }
    let mut replies = Vec::new();
    if plan.pipelined {
        replies = gate.say(commands.concat().as_bytes());
    } else {
        for command in &commands {
            replies.extend(gate.say(command.as_bytes()));
            if gate.is_closed() {
                break;
            }
        }
    }
    if !gate.is_closed() {
        assert_eq!(
            replies.len(),
            commands.len(),
            "one reply for each of {commands:?}: {replies:?}"
        );
    }
    for (m, reply) in replies.iter().skip(1).take(plan.recipients).enumerate() {
        account.recipients.push((recipient(m).into_bytes(), reply.clone()));
    }
    if gate.is_closed() {
        return account;
    }
    let go_ahead = match (data, plan.pipelined) {
        (false, _) => !account.accepted().is_empty(),
        (true, true) => replies.last().is_some_and(|reply| reply.code == 354),
        (true, false) => gate.say(b"DATA\r\n").last().is_some_and(|reply| reply.code == 354),
    };
    if plan.ending == Ending::Reset || !go_ahead {
        gate.say(b"RSET\r\n");
        return account;
    }
    let octets = match &plan.transfer {
        Transfer::Data => stuffed(&content),
        Transfer::Chunks(sizes) => chunked(&content, sizes),
    };
    if matches!(plan.ending, Ending::Complete | Ending::QuitAndHalfClose) {
        let mut octets = octets;
        if plan.ending == Ending::QuitAndHalfClose {
            octets.extend_from_slice(b"QUIT\r\n");
        }
        let commands = match &plan.transfer {
            Transfer::Data => 1,
            Transfer::Chunks(sizes) => chunks(&content, sizes).len(),
        };
        let replies = gate.say(&octets);
        account.answer = replies.get(commands - 1).cloned();
        assert!(gate.is_closed() || replies.len() == commands, "{replies:?}");
        if plan.ending == Ending::QuitAndHalfClose {
            gate.end_input();
            assert!(gate.is_closed());
        }
        return account;
    }
    gate.say(&octets[..octets.len() / 2]);
    match plan.ending {
        Ending::EndOfInput => {
            gate.end_input();
        }
        Ending::Gone => gate.reset(),
        _ => {
            gate.stall();
        }
    }
    account
}

/// Returns the content as BDAT commands (RFC 3030).
pub fn chunked(content: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut octets = Vec::new();
    let chunks = chunks(content, sizes);
    for (n, chunk) in chunks.iter().enumerate() {
        let last = if n + 1 == chunks.len() { " LAST" } else { "" };
        octets.extend(format!("BDAT {}{last}\r\n", chunk.len()).into_bytes());
        octets.extend_from_slice(chunk);
    }
    octets
}

fn chunks<'c>(content: &'c [u8], sizes: &[usize]) -> Vec<&'c [u8]> {
    let mut chunks = Vec::new();
    let mut rest = content;
    for size in sizes.iter().cycle() {
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    chunks
}
