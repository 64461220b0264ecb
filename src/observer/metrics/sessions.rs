//! Metrics of connections and sessions.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::series::{Counters, counter, gauge};
use crate::admission::AdmissionError;
use crate::deadline::Awaiting;
use crate::observer::Event;

#[derive(Debug)]
pub(super) struct Sessions {
    running: Gauge,
    overloaded: Gauge,
    connections: Counters<How>,
    turned_away: Counters<AdmissionError>,
    accept_failures: Counter,
    evicted: Counter,
    tarpitted: Counter,
    tls: Counters<&'static str>,
    late: Counters<&'static str>,
    panics: Counters<Component>,
}

/// The fate of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Served,
    TurnedAway,
    Unproxied,
    /// TLS from the first octet failed.
    HandshakeFailed,
}

/// A component that panicked. Panics of scorers are counted as their failures.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Component {
    RelayTarget,
    Observer,
}

const REASONS: [AdmissionError; 5] = [
    AdmissionError::Full,
    AdmissionError::Address,
    AdmissionError::Network,
    AdmissionError::AddressRate,
    AdmissionError::NetworkRate,
];

const VERSIONS: [&str; 3] = ["TLSv1.2", "TLSv1.3", OTHER];
const OTHER: &str = "other";

const WAITS: [&str; 10] = [
    "command",
    "mail_data",
    "data_rate",
    "end_of_mail_data",
    "tls",
    "transmission",
    "verdict",
    "recipient_outcome",
    "content_outcome",
    OTHER,
];

impl Sessions {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            running: gauge(registry, "sessions", "Sessions that are running"),
            overloaded: gauge(registry, "overloaded", "1 while the gate is under stress"),
            connections: Counters::new(
                registry,
                "connections",
                "Connections of clients",
                [How::Served, How::TurnedAway, How::Unproxied, How::HandshakeFailed],
                |how| {
                    let word = match how {
                        How::Served => "served",
                        How::TurnedAway => "turned_away",
                        How::Unproxied => "unproxied",
                        How::HandshakeFailed => "handshake_failed",
                    };
                    [("how", word)]
                },
            ),
            turned_away: Counters::new(
                registry,
                "turned_away",
                "Clients that were turned away because of connection limits",
                REASONS,
                |reason| [("reason", reason_word(*reason))],
            ),
            accept_failures: counter(
                registry,
                "accept_failures",
                "Connections that could not be accepted",
            ),
            evicted: counter(
                registry,
                "evicted",
                "Idle sessions that were closed in favour of other clients",
            ),
            tarpitted: counter(
                registry,
                "tarpitted",
                "Sessions with delayed replies because of their score",
            ),
            tls: Counters::new(
                registry,
                "tls_sessions",
                "Sessions with TLS that have ended",
                VERSIONS,
                |version| [("version", version)],
            ),
            late: Counters::new(registry, "late", "Waits that timed out", WAITS, |wait| {
                [("awaiting", wait)]
            }),
            panics: Counters::new(
                registry,
                "panics",
                "Panics that were caught; of observers, only the first of each",
                [Component::RelayTarget, Component::Observer],
                |component| {
                    let word = match component {
                        Component::RelayTarget => "relay_target",
                        Component::Observer => "observer",
                    };
                    [("component", word)]
                },
            ),
        }
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected { .. } => {
                self.running.inc();
                self.connections.count(How::Served);
            }
            Event::Disconnected(record) => {
                self.running.dec();
                if let Some(tls) = &record.peer.tls {
                    let known = VERSIONS.into_iter().find(|version| *version == &*tls.version);
                    self.tls.count(known.unwrap_or(OTHER));
                }
            }
            Event::TurnedAway { reason, .. } => {
                self.connections.count(How::TurnedAway);
                self.turned_away.count(*reason);
            }
            Event::Unproxied { .. } => self.connections.count(How::Unproxied),
            Event::HandshakeFailed { .. } => self.connections.count(How::HandshakeFailed),
            Event::AcceptFailed { .. } => _ = self.accept_failures.inc(),
            Event::Overload { on, .. } => _ = self.overloaded.set(i64::from(*on)),
            Event::Evicted { .. } => _ = self.evicted.inc(),
            Event::Tarpitted { .. } => _ = self.tarpitted.inc(),
            Event::Late { awaiting, .. } => self.late.count(wait_word(*awaiting)),
            Event::RelayPanicked { .. } => self.panics.count(Component::RelayTarget),
            Event::ObserverFailed { .. } => self.panics.count(Component::Observer),
            _ => {}
        }
    }
}

fn reason_word(reason: AdmissionError) -> &'static str {
    match reason {
        AdmissionError::Full => "all",
        AdmissionError::Address => "address",
        AdmissionError::Network => "network",
        AdmissionError::AddressRate => "address_rate",
        AdmissionError::NetworkRate => "network_rate",
    }
}

fn wait_word(awaiting: Awaiting) -> &'static str {
    match awaiting {
        Awaiting::Command => "command",
        Awaiting::MailData => "mail_data",
        Awaiting::DataRate => "data_rate",
        Awaiting::EndOfMailData => "end_of_mail_data",
        Awaiting::Tls => "tls",
        Awaiting::Transmission => "transmission",
        Awaiting::Verdict => "verdict",
        Awaiting::RecipientOutcome => "recipient_outcome",
        Awaiting::ContentOutcome => "content_outcome",
        _ => OTHER,
    }
}
