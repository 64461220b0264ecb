//! Declares which faults can happen at which positions. A run fails if a required pair is not
//! visited. It also fails if an impossible pair is visited, since the reason given here is then
//! wrong.

use super::coverage::{At, Fault, Onward, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Must,
    /// Possible, but not required. It needs an answer in transit that nothing waits for any more,
    /// or that the client has not read yet.
    Perhaps(&'static str),
    Never(&'static str),
}

pub fn reach(place: Place, fault: Fault) -> Reach {
    match place {
        Place::Client(at) => of_client(at, fault),
        Place::Onward(onward) => of_onward(onward, fault),
        Place::Tarpit => Reach::Must,
    }
}

fn of_client(at: At, fault: Fault) -> Reach {
    use At::{Chunk, Chunks, Content, Data, Greeted, Greeting, Hello, Other, Quit, Ready};
    use At::{Gone, Mail, Rcpt, Recipients, Sender};
    use Reach::{Must, Never, Perhaps};
    match (at, fault) {
        (Gone, fault) if is_client(fault) => Never("a client that is gone does nothing"),
        (Greeting | Hello | Data, Fault::ClientOutOfTurn) => Must,
        (_, Fault::ClientOutOfTurn) => Never("a client may say there what it likes"),
        // Everything has been answered, and nothing was sent since.
        (Greeted | Ready | Sender | Recipients | Chunks, fault) if is_scorer(fault) => {
            Never("there is nothing that scorers could be asked about")
        }
        (Greeting | Hello | Chunk, Fault::ScorerTags) => {
            Perhaps("tags are for contents, of which the client waits for the answer, or should")
        }
        (Gone, Fault::ScorerTags) => {
            Perhaps("a client that waits for the answer to its content is still there")
        }
        (Chunks, fault) if is_server(fault) => Perhaps("few stand there, and not for long"),
        (Data | Content | Chunk | Other | Quit, fault) if is_scorer(fault) => {
            Perhaps("the gate asks nobody there")
        }
        (Greeting | Hello | Mail | Rcpt | At::Ended | Gone, _) => Must,
        (_, Fault::Unreachable | Fault::ConnectsLate) => {
            Perhaps("the gate connects to be able to answer, and there it has nothing to answer")
        }
        (_, fault) if is_answer(fault) => Perhaps("the gate asks nobody there"),
        _ => Must,
    }
}

fn of_onward(onward: Onward, fault: Fault) -> Reach {
    use Onward::{Connecting, Content, Data, Ended, Greeting, Held, Hello, Identify, Idle, Quit};
    use Onward::{Mail, Rcpt, Rset};
    use Reach::{Must, Never, Perhaps};
    match (onward, fault) {
        (Connecting, Fault::Unreachable | Fault::ConnectsLate) => Must,
        (_, Fault::Unreachable | Fault::ConnectsLate) => Never("a connection is made once"),
        (Onward::None | Connecting, fault) if is_server(fault) => {
            Never("the server is not connected yet")
        }
        (Idle | Held, Fault::ServerStopsReading | Fault::ServerOutOfTurn) => Must,
        (Idle | Held, fault) if is_answer(fault) => Never("nothing is asked"),
        (
            Content,
            Fault::Late
            | Fault::Cuts
            | Fault::Endless
            | Fault::Nonsense
            | Fault::WrongClass
            | Fault::ServerOutOfTurn,
        ) => Never("within a content a server says that it takes no more of it, or nothing"),
        (Idle, Fault::ScorerTags) => Perhaps("a content has recipients, which the server holds"),
        (
            Connecting | Greeting | Hello | Identify | Rset | Mail | Rcpt | Data | Content | Ended
            | Quit,
            fault,
        ) if is_scorer(fault) => Perhaps("the gate asks scorers or the server, not both"),
        (Connecting | Identify | Rset | Data | Content | Ended | Quit, Fault::ClientOutOfTurn) => {
            Perhaps("the gate asks the server for a client that waits")
        }
        (Quit, fault) if is_client(fault) => {
            Perhaps("the gate has closed the client's connection by then")
        }
        _ => Must,
    }
}

fn is_client(fault: Fault) -> bool {
    fault <= Fault::ClientOutOfTurn
}

fn is_server(fault: Fault) -> bool {
    (Fault::Refuses..=Fault::ServerStopsReading).contains(&fault)
}

/// Returns whether this is a faulty answer of a server.
fn is_answer(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Refuses
            | Fault::Defers
            | Fault::Late
            | Fault::Cuts
            | Fault::Endless
            | Fault::Nonsense
            | Fault::WrongClass
            | Fault::ServerStopsReading
    )
}

fn is_scorer(fault: Fault) -> bool {
    (Fault::ScorerErrs..=Fault::ScorerTags).contains(&fault)
}
