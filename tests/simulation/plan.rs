//! The plan of a run: its participants and its faults.

use std::num::NonZeroU32;
use std::time::Duration;

use nobounce::Score;
use nobounce::onward::{Identify, ProxyVersion};
use nobounce::panel::FailurePolicy;

use super::rng::Rng;

#[derive(Debug, Clone)]
pub struct Plan {
    pub sessions: usize,
    pub client: ClientPlan,
    pub server: ServerPlan,
    pub seats: Vec<SeatPlan>,
    /// Whether bare line ends are refused.
    pub strict: bool,
    /// Whether clients that send before their turn are tolerated.
    pub tolerant: bool,
    /// Maximum size of a content in octets.
    pub content: usize,
    /// Whether the limits on errors, junk, recipients and transactions are low.
    pub tight: bool,
    /// Whether the timeouts of the panel and the relay target are short.
    pub hurried: bool,
    /// The gate shuts down after this many turns of other tasks, and then after this time.
    pub shutdown: Option<(usize, Duration)>,
    /// Number of clock changes.
    pub turns: usize,
    /// Protection against many, slow or abusive clients.
    pub guard: Option<GuardPlan>,
    /// The time from which a scorer's store hangs.
    pub store_hangs: Option<Duration>,
    /// Permille of cases in which the machine is too slow for its timers.
    pub starved: usize,
}

/// All values are permille.
#[derive(Debug, Clone, Copy)]
pub struct ClientPlan {
    pub trouble: usize,
    pub fuses: usize,
    pub slow: usize,
    pub odd: usize,
    /// Maximum number of mails per client.
    pub mails: usize,
    /// Permille of clients that begin with an attack.
    pub attacks: usize,
}

#[derive(Debug, Clone, Copy)]
pub struct ServerPlan {
    pub lmtp: bool,
    pub pipelining: bool,
    pub chunking: bool,
    pub identify: Identify,
    /// Maximum number of concurrent connections.
    pub places: usize,
    /// Maximum number of idle connections in the pool.
    pub idle: usize,
    /// Permille of faulty answers.
    pub faults: usize,
    /// Maximum delay of an answer.
    pub thinks: Duration,
    /// Permille of connections that fail or are late.
    pub far: usize,
    /// Permille of waits that it ends early.
    pub impatient: usize,
    /// Permille of connections that break at some octet.
    pub fuses: usize,
}

#[derive(Debug, Clone, Copy)]
pub struct GuardPlan {
    /// Limit on concurrent clients, in total and per address. All have the same address.
    pub places: usize,
    pub per_address: usize,
    /// Limit on new clients in ten seconds.
    pub rate: Option<NonZeroU32>,
    /// Tarpit threshold in hundredths. Scorers find that much at every stage.
    pub tarpit_from: i32,
    pub delay: Duration,
    /// Maximum number of sessions in the tarpit.
    pub stuck: usize,
    /// Minimum rate of mail data, and how far a client may fall behind it.
    pub data_rate: u32,
    pub credit: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct SeatPlan {
    pub on_failure: FailurePolicy,
    /// Permille of answers that are opinions.
    pub opinions: usize,
    pub budget: Duration,
}

impl ServerPlan {
    /// Returns whether the server answers everything and none of its connections breaks.
    pub fn is_reliable(&self) -> bool {
        self.faults + self.far + self.impatient + self.fuses == 0
    }
}

impl GuardPlan {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            places: *rng.pick(&[4, 100, 100]),
            per_address: *rng.pick(&[3, 100, 100]),
            rate: NonZeroU32::new(*rng.pick(&[0, 0, 0, 3])),
            tarpit_from: *rng.pick(&[0, 1, 3]),
            delay: Duration::from_secs(*rng.pick(&[1, 10, 60])),
            stuck: *rng.pick(&[1, 3, 100]),
            data_rate: *rng.pick(&[1, 500, 10_000]),
            credit: Duration::from_secs(*rng.pick(&[1, 20, 300])),
        }
    }
}

impl Plan {
    pub fn draw(rng: &mut Rng) -> Self {
        let client = ClientPlan {
            trouble: *rng.pick(&[0, 50, 300]),
            fuses: *rng.pick(&[0, 50, 300]),
            slow: *rng.pick(&[0, 100, 300]),
            odd: *rng.pick(&[0, 30, 150]),
            mails: *rng.pick(&[1, 2, 3]),
            attacks: *rng.pick(&[0, 0, 100, 500]),
        };
        let identify = match rng.below(8) {
            0 => Identify::XClient,
            1 => Identify::XForward,
            2 => Identify::Proxy(ProxyVersion::V1),
            _ => Identify::None,
        };
        let lmtp = rng.permille(250);
        let server = ServerPlan {
            lmtp,
            pipelining: rng.permille(600),
            chunking: rng.permille(500),
            identify,
            places: *rng.pick(&[80, 80, 1, 3]),
            idle: *rng.pick(&[0, 1, 3]),
            faults: *rng.pick(&[0, 0, 20, 100]),
            thinks: Duration::from_millis(*rng.pick(&[0, 0, 10, 2_000])),
            far: *rng.pick(&[0, 0, 0, 200]),
            impatient: *rng.pick(&[0, 50, 300]),
            fuses: *rng.pick(&[0, 0, 200]),
        };
        let seats = (0..rng.below(3))
            .map(|_| SeatPlan {
                on_failure: *rng.pick(&[
                    FailurePolicy::Defer,
                    FailurePolicy::Ignore,
                    FailurePolicy::Score(Score::points(7)),
                ]),
                opinions: *rng.pick(&[20, 100, 400]),
                budget: Duration::from_secs(*rng.pick(&[1, 30, 500])),
            })
            .collect();
        let shutdown = rng.permille(150).then(|| {
            let turns = 1 << rng.below(10);
            let time =
                if rng.permille(500) { Duration::ZERO } else { rng.wait(Duration::from_secs(600)) };
            (rng.below(turns), time)
        });
        Self {
            sessions: 1 + rng.below(10),
            client,
            server,
            seats,
            strict: rng.permille(250),
            tolerant: rng.permille(500),
            content: *rng.pick(&[2_000, 1 << 20]),
            tight: rng.permille(200),
            hurried: rng.permille(200),
            shutdown,
            turns: if rng.permille(250) { 1 + rng.below(6) } else { 0 },
            store_hangs: rng.permille(200).then(|| rng.wait(Duration::from_secs(100))),
            starved: *rng.pick(&[0, 0, 0, 0, 1, 5]),
            guard: rng.permille(250).then(|| GuardPlan::draw(rng)),
        }
    }
}
