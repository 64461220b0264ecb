//! Metrics of transactions.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{Histogram, Scale, TIMES};
use super::series::{Counters, Labels, counter};
use crate::observer::TransactionRecord;
use crate::session::EndCause;

/// Sizes in octets: 1 KiB to 64 MiB.
static SIZES: Scale = Scale {
    bounds: &[
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
        4 << 20,
        16 << 20,
        64 << 20,
    ],
    unit: 1.0,
};
/// Scores in hundredths of a point.
static SCORES: Scale =
    Scale { bounds: &[-500, 0, 200, 400, 500, 631, 800, 1_000, 1_500, 3_000], unit: 100.0 };

const CAUSES: [EndCause; 9] = [
    EndCause::Accepted,
    EndCause::RefusedByPanel,
    EndCause::RefusedByRelay,
    EndCause::RelayFailed,
    EndCause::RefusedBySession,
    EndCause::Reset,
    EndCause::ClientLost,
    EndCause::TimedOut,
    EndCause::Closed,
];

#[derive(Debug)]
pub(super) struct Transactions {
    ended: Counters<EndCause>,
    unacknowledged: Counter,
    content: Histogram,
    score: Histogram,
    scoring: Histogram,
    relaying: Histogram,
    all: Histogram,
}

impl Transactions {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let times: Family<Labels<1>, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(&TIMES));
        let help =
            "Duration of transactions, and the time spent waiting for scorers and relay target";
        registry.register_with_unit("transaction", help, Unit::Seconds, times.clone());
        let phase = |phase| times.get_or_create_owned(&[("phase", phase)]);
        let content = Histogram::new(&SIZES);
        let help = "Size of the content of messages";
        registry.register_with_unit("content", help, Unit::Bytes, content.clone());
        let score = Histogram::new(&SCORES);
        registry.register(
            "score",
            "Score of messages that got a reply to their content",
            score.clone(),
        );
        Self {
            ended: Counters::new(
                registry,
                "transactions",
                "Transactions that have ended",
                CAUSES,
                |cause| [("cause", cause_word(*cause))],
            ),
            unacknowledged: counter(
                registry,
                "unacknowledged",
                "Accepted messages whose client may not have read the reply",
            ),
            content,
            score,
            scoring: phase("scoring"),
            relaying: phase("relaying"),
            all: phase("all"),
        }
    }

    pub(super) fn ended(&self, record: &TransactionRecord) {
        let end = &record.end;
        self.ended.count(end.cause);
        self.scoring.observe_time(record.scoring);
        self.relaying.observe_time(record.relaying);
        self.all.observe_time(end.duration);
        if end.reply.is_some() {
            self.content.observe(i64::try_from(end.size).unwrap_or(i64::MAX));
            self.score.observe(i64::from(record.tally.total().as_hundredths()));
        }
    }

    pub(super) fn unacknowledged(&self) {
        self.unacknowledged.inc();
    }
}

fn cause_word(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Accepted => "accepted",
        EndCause::RefusedByPanel => "refused_by_panel",
        EndCause::RefusedByRelay => "refused_by_relay",
        EndCause::RelayFailed => "relay_failed",
        EndCause::RefusedBySession => "refused_by_session",
        EndCause::Reset => "reset",
        EndCause::ClientLost => "client_lost",
        EndCause::TimedOut => "timed_out",
        EndCause::Closed => "closed",
    }
}
