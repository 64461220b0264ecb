//! The tables on clients: connection limits, tarpit, and scores for protocol violations.

use std::num::NonZeroU32;

use nobounce::Score;
use nobounce::admission::{AdmissionLimits, ConnectionRate, Tarpit};
use nobounce::scorers::Behaviour;
use nobounce::session::Misconduct;
use serde::Deserialize;

use super::Config;
use super::tables::table;
use super::values::{Count, Penalty, Seconds, Threshold, Wait, Width};

/// Limits on the number and the rate of client connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admitted {
    connections: Option<Count>,
    per_address: Option<Count>,
    per_network: Option<Count>,
    address_rate: Option<Often>,
    network_rate: Option<Often>,
    ipv4_width: Option<Width<32>>,
    ipv6_width: Option<Width<128>>,
    remembered: Option<Count>,
}

/// A rate: a number of connections in a number of seconds.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Often {
    connections: NonZeroU32,
    seconds: Seconds,
}

/// Settings of the tarpit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slowed {
    from: Option<Threshold>,
    delay: Option<Wait>,
    total: Option<Seconds>,
    sessions: Option<Count>,
}

table! {
    /// Scores for violations of the protocol by a client.
    Conduct {
        early_talker: Option<Weight>,
        early_data: Option<Weight>,
        unauth_pipelining: Option<Weight>,
        bare_line_end: Option<Weight>,
        malformed_command: Option<Weight>,
        unknown_command: Option<Weight>,
        command_syntax: Option<Weight>,
        command_sequence: Option<Weight>,
        rcpt_refused: Option<Weight>,
    }
}

/// The score of one occurrence, and the maximum of all occurrences in a session together.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    each: Penalty,
    most: Penalty,
}

impl Config {
    /// Returns the connection limits if the file has any. Missing keys are taken from `usual`.
    pub(crate) fn admission(&self, usual: &AdmissionLimits) -> Option<AdmissionLimits> {
        let table = self.file.admission.as_ref()?;
        let mut limits = usual.clone();
        let places = [
            (&mut limits.connections, table.connections),
            (&mut limits.per_address, table.per_address),
            (&mut limits.per_network, table.per_network),
            (&mut limits.remembered, table.remembered),
        ];
        for (place, said) in places {
            *place = said.map_or(*place, |count| count.0);
        }
        let rate = |often: Often| ConnectionRate::new(often.connections, often.seconds.0);
        limits.address_rate = table.address_rate.map(rate);
        limits.network_rate = table.network_rate.map(rate);
        limits.ipv4_prefix = table.ipv4_width.map_or(limits.ipv4_prefix, |width| width.0 as u8);
        limits.ipv6_prefix = table.ipv6_width.map_or(limits.ipv6_prefix, |width| width.0 as u8);
        Some(limits)
    }

    /// Returns the tarpit if the file has one. By default it starts at the score at which mail is
    /// tagged by default.
    pub(crate) fn tarpit(&self) -> Option<Tarpit> {
        let table = self.file.tarpit.as_ref()?;
        let mut tarpit = Tarpit::from(table.from.map_or(Score::points(5), |points| points.0));
        if let Some(Wait(delay)) = table.delay {
            tarpit = tarpit.delay(delay);
        }
        if let Some(Seconds(total)) = table.total {
            tarpit = tarpit.total(total);
        }
        if let Some(sessions) = table.sessions {
            tarpit = tarpit.sessions(sessions.0);
        }
        Some(tarpit)
    }
}

impl Conduct {
    pub(super) fn scorer(&self) -> Behaviour {
        let weights = [
            (Misconduct::EarlyTalker, self.early_talker),
            (Misconduct::EarlyData, self.early_data),
            (Misconduct::Pipelining, self.unauth_pipelining),
            (Misconduct::BareLineEnd, self.bare_line_end),
            (Misconduct::MalformedCommand, self.malformed_command),
            (Misconduct::UnknownCommand, self.unknown_command),
            (Misconduct::CommandSyntax, self.command_syntax),
            (Misconduct::CommandSequence, self.command_sequence),
            (Misconduct::RecipientRefused, self.rcpt_refused),
        ];
        let said = weights.into_iter().filter_map(|(what, weight)| Some((what, weight?)));
        said.fold(Behaviour::new(), |behaviour, (what, Weight { each, most })| {
            behaviour.weigh(what, each.0, most.0)
        })
    }
}
