//! What a run is like: who takes part, and how much goes wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use nobounce::{FailurePolicy, Identify, ProxyVersion, Score};

use super::rng::Rng;

#[derive(Debug, Clone)]
pub struct Plan {
    pub sessions: usize,
    pub client: ClientPlan,
    pub server: ServerPlan,
    pub seats: Vec<SeatPlan>,
    /// Bare line ends are refused.
    pub strict: bool,
    /// Clients that do not wait for their turn are put up with.
    pub tolerant: bool,
    /// Octets that a content may have.
    pub content: usize,
    /// Limits on errors, junk, recipients and transactions are low.
    pub tight: bool,
    /// The panel and the relay target are given little time.
    pub hurried: bool,
    /// The gate goes down behind so many turns of others, and then so much time.
    pub shutdown: Option<(usize, Duration)>,
    /// So many times somebody turns the clocks.
    pub turns: usize,
    /// What the gate does against clients that are many, slow or bad.
    pub guard: Option<GuardPlan>,
    /// A scorer's store hangs from this moment on.
    pub store_hangs: Option<Duration>,
    /// In so many of a thousand cases the machine is too slow for its timers.
    pub starved: usize,
}

/// All in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct ClientPlan {
    pub trouble: usize,
    pub fuses: usize,
    pub slow: usize,
    pub odd: usize,
    /// Most mails that one client sends.
    pub mails: usize,
    /// Begins with an attack.
    pub attacks: usize,
}

#[derive(Debug, Clone, Copy)]
pub struct ServerPlan {
    pub lmtp: bool,
    pub pipelining: bool,
    pub chunking: bool,
    pub identify: Identify,
    /// Connections at once.
    pub places: usize,
    /// Connections that are kept between clients.
    pub idle: usize,
    /// Thousandths of answers that go wrong.
    pub faults: usize,
    /// How long it thinks about an answer, at most.
    pub thinks: Duration,
    /// Thousandths of connections that are not made, or late.
    pub far: usize,
    /// Thousandths of waits that it does not wait out.
    pub impatient: usize,
    /// Thousandths of connections that break somewhere.
    pub fuses: usize,
}

#[derive(Debug, Clone, Copy)]
pub struct GuardPlan {
    /// Clients at once: in all, and of one address, which is that of all.
    pub places: usize,
    pub per_address: usize,
    /// New ones in ten seconds.
    pub rate: Option<NonZeroU32>,
    /// In hundredths; scorers find that much at every turn.
    pub tarpit_from: i32,
    pub delay: Duration,
    /// Sessions that may be in the tarpit at once.
    pub stuck: usize,
    /// Least rate of mail data, and how far behind it a client may fall.
    pub data_rate: u32,
    pub credit: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct SeatPlan {
    pub on_failure: FailurePolicy,
    /// Thousandths of answers that are not silence.
    pub opinions: usize,
    pub budget: Duration,
}

impl ServerPlan {
    /// Whether it answers everything, and no connection to it breaks.
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
