//! Generated cases.

use proptest::collection::vec;
use proptest::prelude::*;

use nobounce::message::LineEndings;
use nobounce::onward::{OnwardSettings, Protocol};
use nobounce::reply::EnhancedStatus;
use nobounce::session::EarlyInput;
use nobounce::{Refusal, Settings};

use super::client::{Ending, Plan, Transfer};
use super::gate::{Chunks, Gate, Judgement};
use super::oracle::Octets;
use super::server::{Act, Profile, Server};

/// A test case: a client, a panel, an onward server, and the chunking of their octets.
#[derive(Debug, Clone)]
pub struct Case {
    pub profile: Profile,
    pub acts: Vec<Act>,
    pub judgements: Vec<Judgement>,
    pub plans: Vec<Plan>,
    pub strict: bool,
    /// Maximum size of the content in octets.
    pub limit: Option<u64>,
    pub chunks: (Chunks, Chunks),
}

impl Case {
    /// Returns the same case with a client that stays to the end.
    pub fn attended(mut self) -> Self {
        self.judgements.retain(|judgement| !matches!(judgement, Judgement::ClientGone));
        self
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new("gate.example");
        if self.strict {
            settings.line_endings = LineEndings::Refuse;
        }
        if let Some(limit) = self.limit {
            settings.limits.content = limit;
        }
        settings
    }

    pub fn gate(&self) -> Gate<Server> {
        self.gate_in(self.chunks.clone(), EarlyInput::Refuse)
    }

    pub fn gate_in(&self, chunks: (Chunks, Chunks), early_input: EarlyInput) -> Gate<Server> {
        let mut settings = self.settings();
        settings.early_input = early_input;
        let server = Server::new(self.profile, self.acts.clone());
        let judgements = self.judgements.clone();
        Gate::new(settings, onward_settings(self.profile), server, judgements, chunks)
    }
}

pub fn onward_settings(profile: Profile) -> OnwardSettings {
    let mut onward = OnwardSettings::new("gate.example");
    if profile.lmtp {
        onward.protocol = Protocol::Lmtp;
    }
    onward
}

pub fn case() -> impl Strategy<Value = Case> {
    let flags = (prop::bool::weighted(0.1), prop::option::weighted(0.2, 30..130_u64));
    let chunks = (chunks(), chunks());
    let judgements = vec(judgement(), 0..12);
    (profile(), acts(), judgements, vec(plan(), 1..4), flags, chunks).prop_map(
        |(profile, acts, judgements, plans, (strict, limit), chunks)| Case {
            profile,
            acts,
            judgements,
            plans,
            strict,
            limit,
            chunks,
        },
    )
}

pub fn profile() -> impl Strategy<Value = Profile> {
    (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(
        |(pipelining, chunking, helo_only, lmtp)| Profile {
            pipelining,
            chunking,
            helo_only: helo_only && !lmtp,
            lmtp,
        },
    )
}

pub fn chunks() -> impl Strategy<Value = Chunks> {
    prop_oneof![
        Just(Chunks::Whole),
        Just(Chunks::Of(vec![1])),
        vec(1..40_usize, 1..6).prop_map(Chunks::Of),
    ]
}

pub fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        1 => Just(Vec::new()),
        4 => vec(act(), 0..30),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let refusal = prop::sample::select(vec![421_u16, 450, 451, 452, 521, 550, 552, 554]);
    prop_oneof![
        40 => Just(Act::Accept),
        2 => Just(Act::AcceptAtLength),
        2 => (0..700_u16).prop_map(Act::AcceptAfter),
        1 => Just(Act::AcceptAndClose),
        1 => Just(Act::AcceptInSilence),
        1 => (0..60_usize).prop_map(Act::AcceptCut),
        4 => refusal.prop_map(Act::Refuse),
        1 => Just(Act::Leave),
        1 => Just(Act::Close),
        1 => Just(Act::Silence),
        1 => Just(Act::StopReading),
        2 => nonsense().prop_map(Act::Nonsense),
    ]
}

/// Generates invalid replies, none of them positive.
fn nonsense() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![
        b"\r\n".as_slice(),
        b"what?\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-\0",
        b"199 early\r\n",
        b"600 late\r\n",
        b"354 go on\r\n",
        b"550 a\n250 b\n",
        b"334 VXNlcm5hbWU6\r\n",
        b"25\xb2 ok\r\n",
        b"2500 ok\r\n",
        b"-250 ok\r\n",
    ])
}

fn judgement() -> impl Strategy<Value = Judgement> {
    prop_oneof![
        30 => Just(Judgement::Pass),
        3 => Just(Judgement::Tag),
        3 => refusal().prop_map(Judgement::Refuse),
        1 => Just(Judgement::Late),
        1 => Just(Judgement::ClientGone),
    ]
}

/// Generates refusals of a panel, including refusals that it may not send.
pub fn refusal() -> impl Strategy<Value = Refusal> {
    let text = prop_oneof!["[ -~]{0,40}", "[ -~]{480,700}", "[a-z\r\n\u{0}-\u{20ac}]{0,60}"];
    (any::<bool>(), 0..700_u16, any::<(u16, u16)>(), text).prop_map(
        |(transient, code, (subject, detail), text)| {
            let status = EnhancedStatus::new(subject, detail);
            if transient {
                Refusal::transient(code, status, &text)
            } else {
                Refusal::permanent(code, status, &text)
            }
        },
    )
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let transfer =
        prop_oneof![Just(Transfer::Data), vec(1..60_usize, 1..5).prop_map(Transfer::Chunks),];
    let ending = prop_oneof![
        12 => Just(Ending::Complete),
        1 => Just(Ending::QuitAndHalfClose),
        1 => Just(Ending::Reset),
        1 => Just(Ending::EndOfInput),
        1 => Just(Ending::Gone),
        1 => Just(Ending::Stall),
    ];
    (1..4_usize, content(), transfer, any::<bool>(), any::<bool>(), ending).prop_map(
        |(recipients, content, transfer, pipelined, size, ending)| Plan {
            recipients,
            content,
            transfer,
            pipelined,
            size,
            ending,
        },
    )
}

/// Generates contents on whose end real servers have disagreed.
pub fn content() -> impl Strategy<Value = Octets> {
    let word = prop::sample::select(vec![
        b"\r\n".as_slice(),
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"..",
        b"\0",
        b"a",
        b" ",
        b"\xff",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\r\n.\r\r\n",
        b"\n.\r\n",
        b"\r\0\n.\r\n",
        b"\r\n.\0\r\n",
        b"QUIT\r\n",
        b"MAIL FROM:<evil@example.org>\r\n",
        b"BDAT 5 LAST\r\n",
    ]);
    let awkward = vec(word, 0..24).prop_map(|words| words.concat());
    prop_oneof![6 => awkward, 1 => vec(any::<u8>(), 0..200)].prop_map(Octets)
}
