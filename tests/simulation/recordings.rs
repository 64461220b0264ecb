//! Recordings of simulated sessions: a replay of each is the same as what was recorded.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nobounce::observer::Recorder;
use nobounce::panel::Seat;
use nobounce::recording::{
    AddressForm, ClientForm, ContentForm, RecordedSession, RecorderSettings, Recording, Sample,
};
use nobounce::replay::{self, ProtocolReplay};
use nobounce::scorers::RateLimit;
use nobounce::store::Memory;
use nobounce::{Panel, Settings};

use super::plan::Plan;
use super::rng::Rng;
use super::run::{self, run_with};
use super::runtime::Simulated;
use super::trace::Trace;
use super::world::World;
use super::{SEED, THREADS, hush, number};

/// Lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns settings that record everything.
fn everything() -> RecorderSettings {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    settings.content = ContentForm::Whole;
    settings.addresses = AddressForm::Plain;
    settings.clients = ClientForm::Plain;
    settings.max_session = usize::MAX;
    settings.max_memory = usize::MAX;
    settings
}

/// Returns the recording of a run.
fn record(seed: u64, settings: &RecorderSettings) -> Vec<u8> {
    let lines = Lines::default();
    run_with(seed, &|gate, world| {
        let runtime = Simulated(world.clone());
        let recorder = Recorder::new(runtime, lines.clone(), settings.clone()).unwrap();
        gate.report_answers().observed_by(recorder)
    });
    let lines = lines.0.lock().unwrap();
    lines.clone()
}

/// Returns the settings and the panel of a run.
fn policy(seed: u64) -> (Arc<Settings>, Panel) {
    let plan = Plan::draw(&mut Rng::new(seed).fork());
    let world = World::new(plan.clone(), Rng::new(seed), Trace::new(false), Box::default());
    let limits = RateLimit::new(Simulated(world.clone()), Arc::new(Memory::new()));
    let limits = Seat::new(limits).on_failure(nobounce::panel::FailurePolicy::Ignore);
    (run::settings(&plan).into(), run::panel(&world, &plan).seat(limits))
}

/// Replays a session. Returns what differs.
fn difference(
    settings: &Arc<Settings>,
    panel: &Panel,
    session: &RecordedSession,
) -> Option<String> {
    for transaction in replay::policy(panel, session) {
        for question in &transaction.questions {
            let (was, is) = (&question.recorded, &question.replayed);
            let weighs = |it: &nobounce::recording::Judged| {
                let reply = it.reply.as_ref().map(ToString::to_string);
                (it.score, it.verdict, it.monitored, reply, it.weighted.clone())
            };
            if weighs(was) != weighs(is) {
                return Some(format!("{}: {was:?}\nbut {is:?}", transaction.id));
            }
        }
    }
    match replay::protocol(settings, session) {
        ProtocolReplay::Same => None,
        other => Some(format!("{other:?}")),
    }
}

/// Records and replays this number of sessions.
fn replay_all(first: u64, sessions: usize) -> usize {
    hush();
    let (next, count) = (AtomicU64::new(first), AtomicUsize::new(0));
    let settings = everything();
    let play = || {
        while count.load(Ordering::Relaxed) < sessions {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let lines = record(seed, &settings);
            let (gate, panel) = policy(seed);
            let mut again = String::new();
            for session in Recording::new(&lines[..]) {
                let session = session.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert!(session.is_complete(), "seed {seed}: {session}");
                if let Some(difference) = difference(&gate, &panel, &session) {
                    panic!("seed {seed}, {}:\n{difference}\n{session}", session.session);
                }
                again += &session.to_string();
                count.fetch_add(1, Ordering::Relaxed);
            }
            assert!(again.as_bytes() == lines, "seed {seed}: the recording reads otherwise");
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(play)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    count.into_inner()
}

#[test]
fn replays_of_recorded_sessions_are_identical() {
    let first = number("NOBOUNCE_SEED").unwrap_or(SEED);
    assert!(replay_all(first, 1_000) >= 1_000);
}

/// Records and replays as many sessions as `NOBOUNCE_SESSIONS` says. `.ci/run` uses this with
/// optimised code.
#[test]
#[ignore = "takes minutes"]
fn hundred_thousand_replays_are_identical() {
    let first = number("NOBOUNCE_SEED").unwrap_or(SEED);
    let wanted = number("NOBOUNCE_SESSIONS").map_or(100_000, |it| usize::try_from(it).unwrap());
    println!("{} sessions recorded and replayed, 0 differences", replay_all(first, wanted));
}
