//! The promise and its invariants, checked against the observations on the wire.
//!
//! I1: a client gets 2xx for a content only if the onward server replied 2xx for this very message.
//! I2: if the server did and the client was not told, there is an event.
//! I3: a refused message is never completed onward (`server.rs` checks this, and that nothing else is sent).
//! I4: every connection ends with a reply or a recorded loss of the peer.
//! I5: all resources are released (`run.rs`).

use nobounce::driver::ServeError;

use super::attackers::REFUSED;
use super::ledger::{Kept, Session, holds, name};
use super::network::{Connection, GATE, PEER};
use super::world::State;

/// I1: checks a positive reply to the content that the client has just read.
pub fn check_receipt(state: &mut State, session: usize, number: usize, reply: &[u8]) {
    let Session { mails, lied_to, .. } = &state.sessions[session];
    let mail = &mails[number];
    let is_its =
        |kept: &&Kept| kept.said.as_ref().is_some_and(|(mark, _)| holds(reply, mark.as_bytes()));
    let name = name(session, number);
    let text = reply.escape_ascii();
    if *lied_to {
        // After an unsolicited reply of the onward server, replies cannot be matched to requests.
    } else if let Some(kept) = mail.kept.iter().find(is_its) {
        if kept.recipients != mail.told || !kept.is_whole {
            let (is, was) = (kept.recipients, mail.told);
            state.violate(format!("I1: {name} is for {is:#b}, the client was told of {was:#b}"));
        }
    } else {
        state.violate(format!("I1: {name} was answered with `{text}`, and nobody has it"));
    }
}

/// I4: checks the end of the gate's session with a client.
pub fn check_ending(state: &mut State, session: usize, result: Result<(), ServeError>) {
    let Session { wire, .. } = state.sessions[session];
    let Some(wire) = wire else { return };
    let connection = &state.connections[wire];
    let said = connection.pipes[GATE].record.as_deref().unwrap_or_default();
    let fault = match result {
        Ok(()) if connection.pipes[PEER].ended => None,
        Ok(()) if is_good_bye(said) => None,
        Ok(()) => Some("was left without a word".into()),
        Err(ServeError::TurnedAway(_)) if state.sessions[session].turned_away => {
            let told =
                is_good_bye(said) || connection.is_broken() || connection.pipes[GATE].is_stuck;
            (!told).then(|| "was turned away without a word".into())
        }
        Err(ServeError::ClientLost(_)) if connection.is_broken() => None,
        Err(ServeError::ClientLost(error)) => Some(format!("is there, not lost: {error}")),
        Err(ServeError::ClientStuck) if connection.pipes[GATE].is_stuck => None,
        Err(error) => Some(format!("was left because of `{error}`")),
    };
    if let Some(fault) = fault {
        let last = &said[said.len().saturating_sub(100)..];
        let last = last.escape_ascii();
        state.violate(format!("I4: client {session} {fault}; the last words were `{last}`"));
    }
}

/// Returns whether these replies end with one after which a server may close the connection.
fn is_good_bye(said: &[u8]) -> bool {
    let Some(said) = said.strip_suffix(b"\r\n") else { return false };
    let begin = said.windows(2).rposition(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    let last = &said[begin..];
    if begin == 0 && matches!(last.first(), Some(b'4' | b'5')) {
        // In place of a greeting.
        return true;
    }
    match &last[..last.len().min(4)] {
        b"221 " | b"421 " | b"521 " => true,
        b"554 " => holds(last, b"synchronization"),
        b"501 " => holds(last, b"chunk"),
        _ => false,
    }
}

/// Checks what can only be checked at the end of the run.
pub fn conclude(state: &mut State) {
    let mut faults = Vec::new();
    for (session, seen) in state.sessions.iter().enumerate() {
        let Some(wire) = seen.wire else { continue };
        let said = state.connections[wire].pipes[GATE].record.as_deref().unwrap_or_default();
        let times = usize::from(!seen.turned_away);
        if seen.connected != times || seen.disconnected != times {
            let (connected, disconnected) = (seen.connected, seen.disconnected);
            faults.push(format!("I4: {session} began {connected} and ended {disconnected} times"));
        }
        let accepted = count(said, b"250 2.1.0 Sender ok\r\n");
        if seen.ended < accepted {
            let ended = seen.ended;
            faults.push(format!("I4: {session} began {accepted} mails and ended {ended}"));
        }
        // If no connection breaks, no recipient is asked about twice.
        if state.plan.server.is_reliable() && seen.harvested > REFUSED as usize {
            let harvested = seen.harvested;
            faults.push(format!("{session} asked for {harvested} unknown recipients"));
        }
        if seen.lied_to {
            continue;
        }
        if holds(said, b"INTERNAL") || holds(said, b"PRIVATE") {
            faults.push(format!("client {session} was written what is internal"));
        }
        for (number, mail) in seen.mails.iter().enumerate() {
            let name = name(session, number);
            if mail.kept.len() > 1 {
                faults.push(format!("{name} went onward {} times", mail.kept.len()));
            }
            let unseen = mail.kept.iter().filter(|kept| {
                was_heard(kept, &state.connections)
                    && !was_told(kept, said)
                    && !seen.unacknowledged.contains(&number)
            });
            faults.extend(
                unseen.map(|_| format!("I2: {name} was accepted without a reply to a client")),
            );
        }
        for number in &seen.unacknowledged {
            let kept = seen.mails.get(*number).is_some_and(|mail| {
                mail.kept.iter().any(|kept| was_heard(kept, &state.connections))
            });
            if !kept && !seen.mails[*number].kept.iter().any(|kept| kept.said.is_some()) {
                faults.push(format!("{} is unacknowledged and not kept", name(session, *number)));
            }
        }
    }
    faults.into_iter().for_each(|fault| state.violate(fault));
}

/// Returns whether the gate has read the complete positive reply to this mail.
fn was_heard(kept: &Kept, connections: &[Connection]) -> bool {
    let read = connections[kept.connection].pipes[PEER].read;
    kept.is_plain && kept.said.as_ref().is_some_and(|(_, end)| read >= *end)
}

/// Returns whether the positive reply was written to the client, received or not.
fn was_told(kept: &Kept, said: &[u8]) -> bool {
    let Some((mark, _)) = &kept.said else { return false };
    let at = said.windows(mark.len()).rposition(|it| it == mark.as_bytes());
    at.is_some_and(|at| holds(&said[at..], b"\r\n"))
}

fn count(text: &[u8], line: &[u8]) -> usize {
    text.windows(line.len()).filter(|it| *it == line).count()
}
