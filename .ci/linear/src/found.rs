//! Shapes with many recipients. For each recipient, scorers report a different finding, refusal or
//! failure.

use async_trait::async_trait;
use nobounce::message::Budget;
use nobounce::panel::{FailurePolicy, Seat};
use nobounce::{
    Finding, Opinion, Panel, RcptContext, Refusal, Score, Scorer, ScorerError, Thresholds,
};

use crate::input::Input;
use crate::service::Service;
use crate::{Shape, Work};

/// A message has at most twice as many by default.
const RECIPIENTS: usize = 500;

pub(crate) const SHAPES: &[Shape] =
    &[Shape { name: "found-of-recipients", size: RECIPIENTS, least: 5.0, prepare: found }];

/// A scorer that reports this for each recipient, with the recipient's address.
enum Says {
    Finding(&'static str),
    No,
    Failure,
}

#[async_trait]
impl Scorer for Says {
    fn name(&self) -> &str {
        "says"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let recipient = at.recipient.path.to_string();
        match self {
            Self::Finding(symbol) => {
                Ok(Finding::new(symbol, Score::points(1)).with_detail(&recipient).into())
            }
            Self::No => {
                Ok(Refusal::transient(451, nobounce::reply::EnhancedStatus::new(7, 1), &recipient)
                    .into())
            }
            Self::Failure => Err(ScorerError::new(recipient)),
        }
    }
}

fn found(size: usize) -> Work {
    let seats = ["ONE", "TWO", "THREE", "FOUR"].map(|symbol| Seat::new(Says::Finding(symbol)));
    let others = [Seat::new(Says::No).monitor(), Seat::new(Says::Failure)]
        .map(|seat| seat.on_failure(FailurePolicy::Ignore));
    let panel = Panel::new().thresholds(Thresholds::none());
    let panel = seats.into_iter().chain(others).fold(panel, Panel::seat);
    let service = Service::with(Budget::default(), |_| panel);
    let unit = |n: usize| format!("RCPT TO:<recipient{n:05}@example.net>\r\n").into_bytes();
    let octets = unit(0).len() * size;
    let begin = "EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n";
    let input = Input::new(begin, unit, octets, "DATA\r\nx\r\n.\r\n");
    Box::new(move || {
        let got = service.serve(input);
        assert!(got.last == 2 && got.onward > octets, "{got:?}");
        octets
    })
}
