use bytes::Bytes;

use super::*;
use crate::onward::owed::Commands;
use crate::wire::content::Dots;

type Case = fn() -> (&'static str, State);
type Cause = fn() -> (&'static str, Event);

const STATES: [Case; 9] = [
    || ("Disconnected", State::Disconnected),
    || ("Connecting", State::Connecting),
    || ("Awaiting one", State::Awaiting(Owed::one(Awaited::Rset))),
    || ("Awaiting two", State::Awaiting(two())),
    || ("Sending", State::Sending(mail_data())),
    || ("Upgrading", State::Upgrading),
    || ("Ready", State::Ready),
    || ("Answering", State::Answering),
    || ("Broken", State::Broken),
];

const EVENTS: [Cause; 12] = [
    || ("Connect", Event::Connect),
    || ("Connected", Event::Connected),
    || ("Sent", Event::Sent(Owed::one(Awaited::Quit))),
    || ("Heard", Event::Heard),
    || ("StartTls", Event::StartTls),
    || ("TlsStarted", Event::TlsStarted),
    || ("GoAhead", Event::GoAhead(mail_data())),
    || ("Written", Event::Written),
    || ("OwesAnswer", Event::OwesAnswer),
    || ("AnswerAsked", Event::AnswerAsked),
    || ("BrokenOff", Event::BrokenOff),
    || ("Disconnected", Event::Disconnected),
];

/// Every transition of the diagram, except for the two events that apply to every state.
const TRANSITIONS: [(&str, &str, &str); 11] = [
    ("Disconnected", "Connect", "Connecting"),
    ("Connecting", "Connected", "Awaiting Greeting"),
    ("Awaiting one", "Heard", "Ready"),
    ("Awaiting two", "Heard", "Awaiting Rcpt"),
    ("Ready", "Sent", "Awaiting Quit"),
    ("Ready", "StartTls", "Upgrading"),
    ("Ready", "GoAhead", "Sending"),
    ("Ready", "OwesAnswer", "Answering"),
    ("Sending", "Written", "Awaiting Content"),
    ("Upgrading", "TlsStarted", "Ready"),
    ("Answering", "AnswerAsked", "Awaiting Content"),
];

#[test]
fn events_without_a_transition_change_nothing() {
    for state in STATES {
        for event in EVENTS {
            let ((from, state), (cause, event)) = (state(), event());
            let before = described(&state);
            let mut machine = Machine { state };
            machine.apply(event);
            let listed = TRANSITIONS.iter().find(|it| (it.0, it.1) == (from, cause));
            let expected = match (listed, from, cause) {
                (Some((.., to)), ..) => (*to).to_string(),
                (_, "Disconnected" | "Connecting", "BrokenOff") => "Disconnected".into(),
                (_, _, "BrokenOff") => "Broken".into(),
                (_, _, "Disconnected") => "Disconnected".into(),
                _ => before,
            };
            assert_eq!(described(machine.state()), expected, "{from}, {cause}");
        }
    }
}

#[test]
fn mail_data_is_written_completely_before_waiting_for_the_reply() {
    let mut machine = Machine { state: State::Sending(mail_data()) };
    let mut output = Vec::new();
    while let State::Sending(_) = machine.state() {
        machine.write_content(&mut output);
    }
    assert_eq!(output.concat(), b"one\r\n..two\r\n.\r\n");
    assert_eq!(described(machine.state()), "Awaiting Content");
    machine.write_content(&mut output);
    assert_eq!(output.concat(), b"one\r\n..two\r\n.\r\n");
}

fn described(state: &State) -> String {
    match state {
        State::Awaiting(owed) => format!("Awaiting {:?}", owed.first()),
        State::Sending(_) => "Sending".into(),
        state => format!("{state:?}"),
    }
}

fn two() -> Owed {
    let mut commands = Commands::default();
    commands.push(Awaited::Mail, &[b"MAIL FROM:<>\r\n"]);
    commands.push(Awaited::Rcpt, &[b"RCPT TO:<bob@example.org>\r\n"]);
    commands.take(2).unwrap().1
}

fn mail_data() -> Box<DataWriter> {
    let content = Bytes::from_static(b"one\r\n.two\r\n");
    Box::new(DataWriter::new(vec![content], Dots::Perhaps))
}
