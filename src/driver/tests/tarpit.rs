use super::*;
use crate::opinion::{Opinion, ScorerError};
use crate::panel::{Panel, Thresholds};
use crate::score::{Finding, Score};
use crate::scorer::{RcptContext, Scorer};
use crate::tarpit::Tarpit;

/// A scorer that gives every recipient this score.
struct Gives(Score);

#[async_trait]
impl Scorer for Gives {
    fn name(&self) -> &str {
        "gives"
    }

    async fn on_rcpt(&self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(Finding::new("BAD", self.0).into())
    }
}

fn gate(runtime: &Rehearsal, tarpit: Tarpit) -> Gate<Rehearsal> {
    let panel = Panel::new().scorer(Gives(Score::points(4))).thresholds(Thresholds::none());
    let target = Slow::new(runtime, false);
    Gate::new(runtime.clone(), Settings::new("mx.example"), target).panel(panel).tarpit(tarpit)
}

/// Serves a client that sends these groups one after another. Returns how many seconds that takes.
fn takes(gate: &Gate<Rehearsal>, peer: Peer, says: &[&str]) -> u64 {
    let before = gate.runtime.elapsed();
    let mut heard = Vec::new();
    let mut client = Client::new(&says.concat(), &mut heard);
    client.groups = says.iter().map(|group| group.len()).collect();
    gate.runtime.run(serve(client, peer, gate)).unwrap();
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.ends_with("221 2.0.0 Bye\r\n"), "{heard}");
    (gate.runtime.elapsed() - before).as_secs()
}

const MAIL: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
const CONTENT: &str = "x\r\n.\r\n";

fn tarpit(score: i32) -> Tarpit {
    Tarpit::from(Score::points(score)).delay(Duration::from_secs(7))
}

#[test]
fn replies_are_delayed_from_the_tarpit_score_on() {
    let runtime = Rehearsal::new();
    let says = [MAIL, "NOOP\r\n", "VRFY x\r\n", "QUIT\r\n"];
    assert_eq!(takes(&gate(&runtime, tarpit(5)), peer(), &says), 0);
    assert_eq!(takes(&gate(&runtime, tarpit(4)), peer(), &says), 4 * 7);
    let local = Peer::new(([127, 0, 0, 1], 4711).into());
    assert_eq!(takes(&gate(&runtime, tarpit(4)), local, &says), 0);
}

#[test]
fn total_delay_of_a_session_is_bounded() {
    let runtime = Rehearsal::new();
    let says = [&[MAIL][..], &["NOOP\r\n"; 50], &["QUIT\r\n"]].concat();
    let tarpit = tarpit(4).total(Duration::from_secs(30)).sessions(1);
    let gate = gate(&runtime, tarpit);
    for _ in 0..3 {
        assert_eq!(takes(&gate, peer(), &says), 30);
    }
}

#[test]
fn client_is_not_delayed_when_all_tarpit_slots_are_taken() {
    let runtime = Rehearsal::new();
    let gate = gate(&runtime, tarpit(4).sessions(1));
    let stuck = gate.terms().tarpit.as_ref().unwrap().take_in();
    assert_eq!(takes(&gate, peer(), &[MAIL, "QUIT\r\n"]), 0);
    drop(stuck);
    assert_eq!(takes(&gate, peer(), &[MAIL, "QUIT\r\n"]), 2 * 7);
}

#[test]
fn reply_to_an_accepted_message_is_not_delayed() {
    let runtime = Rehearsal::new();
    let gate = gate(&runtime, tarpit(4));
    // RCPT, DATA and QUIT are delayed; the answer to the content is not.
    let says = [MAIL, "DATA\r\n", CONTENT, "QUIT\r\n"];
    assert_eq!(takes(&gate, peer(), &says), 3 * 7);
}

#[test]
fn a_shutdown_does_not_wait_for_the_tarpit() {
    let runtime = Rehearsal::new();
    let gate = gate(&runtime, tarpit(4));
    let listener = |said| {
        if said >= MAIL.len() {
            gate.shut_down();
        }
    };
    let mut heard = Vec::new();
    let mut client = Client::new(&[MAIL, "NOOP\r\n", "NOOP\r\n"].concat(), &mut heard);
    client.groups = vec![MAIL.len(), 6, 6];
    client.listener = &listener;
    runtime.run(serve(client, peer(), &gate)).unwrap();
    // RCPT was delayed; after that the gate shut down.
    assert_eq!(runtime.elapsed().as_secs(), 7);
}
