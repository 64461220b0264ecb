//! Blocks forwarding until the self-test has passed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::self_test::SelfTestError;
use crate::outcome::RelayError;

/// State that decides whether requests of clients are forwarded, with the reason if not.
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether forwarding depends on the self-test.
    guards: bool,
    is_open: AtomicBool,
    why: Mutex<RelayError>,
}

impl Guard {
    /// Creates a guard that is always open, or closed until the self-test has passed.
    pub(super) fn new(guards: bool) -> Self {
        let why = Mutex::new(RelayError::Untested);
        Self { guards, is_open: AtomicBool::new(!guards), why }
    }

    /// Returns the reason why requests are not forwarded; `None` if they are.
    pub(super) fn objection(&self) -> Option<RelayError> {
        let is_open = self.is_open.load(Ordering::Acquire);
        (!is_open).then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Records the result of a self-test. If a server that passed before does not answer now, it is
    /// down, and the guard stays open. If such a server is an open relay now, the guard closes.
    pub(super) fn conclude(&self, result: &Result<(), SelfTestError>) {
        let why = match result {
            Ok(()) => None,
            Err(SelfTestError::WouldRelay { .. }) => Some(RelayError::OpenRelay),
            Err(SelfTestError::Loop) => Some(RelayError::Loop),
            Err(SelfTestError::Unidentified(error)) => Some(error.clone()),
            Err(SelfTestError::Unanswered(_)) if self.is_open.load(Ordering::Acquire) => None,
            Err(SelfTestError::Unanswered(error)) => Some(error.clone()),
        };
        let is_open = why.is_none() || !self.guards;
        if let Some(why) = why {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        }
        self.is_open.store(is_open, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use crate::outcome::Outcome;
    use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn, envelope, peer, recipient};
    use crate::relay::{SelfTestError, Smtp, Target};

    /// Returns a server that greets and gives this reply to each command after EHLO.
    fn server(reply: &str) -> Script {
        let greeting = Turn { cue: Cue::Octets(0), says: b"220 onward.example\r\n".to_vec() };
        let reply = format!("{reply}\r\n");
        let mut replies = vec!["250 onward.example\r\n"];
        replies.extend([reply.as_str(); 20]);
        let mut script = Script::turns(b"\r\n", &replies, Then::Hang);
        script.turns.insert(0, greeting);
        script
    }

    #[test]
    fn no_recipient_is_forwarded_before_the_self_test_has_passed() {
        let runtime = Rehearsal::with_each([
            Script::refuses(),
            server("250 2.0.0 Ok"),
            server("550 5.7.1 No"),
            server("250 2.0.0 Ok"),
        ]);
        let address = "192.0.2.25:25".parse().unwrap();
        let target = Smtp::new(runtime.clone(), address, "mx.example").tested_first();
        let asked = || {
            let (envelope, recipient) = (envelope("<a@example.com>"), recipient());
            let outcome = runtime.run(target.open(&peer()).rcpt(&envelope, &recipient));
            if let Outcome::Accepted(_) = outcome {
                "taken".into()
            } else {
                outcome.reply().to_string()
            }
        };
        let unreachable = "451 4.4.1 The next server cannot be reached, try again later";
        assert_eq!(asked(), unreachable);
        assert_eq!(runtime.connections().0, 0, "no command was sent");
        // The server is unreachable first, then an open relay.
        let tested = runtime.run(target.self_test());
        assert!(matches!(tested, Err(SelfTestError::Unanswered(_))), "{tested:?}");
        assert_eq!(asked(), unreachable);
        let tested = runtime.run(target.self_test());
        assert!(tested.is_err(), "{tested:?}");
        assert!(asked().starts_with("451 4."), "{}", asked());
        assert_eq!(runtime.connections().0, 2, "only the self-test asked");
        let tested = runtime.run(target.self_test());
        assert!(tested.is_ok(), "{tested:?}");
        assert_eq!(asked(), "taken");
    }
}
