//! One run: a gate, its clients, onward servers, scorers and clock changes, from the first
//! connection until nothing is left.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures::FutureExt;
use nobounce::admission::{Admission, AdmissionLimits, ConnectionRate, Tarpit};
use nobounce::message::LineEndings;
use nobounce::onward::{OnwardSettings, Protocol};
use nobounce::panel::{FailurePolicy, Seat};
use nobounce::relay::Smtp;
use nobounce::scorers::RateLimit;
use nobounce::session::{Awaiting, EarlyInput};
use nobounce::store::{Rate, Store};
use nobounce::{Event, Gate, Panel, Peer, Score, Settings, serve};

use super::clock::Sleep;
use super::coverage::{Coverage, Fault};
use super::executor::{Executor, Owner, step_back};
use super::ledger;
use super::network::{End, GATE};
use super::plan::Plan;
use super::rng::Rng;
use super::runtime::Simulated;
use super::sabotage::{Sabotage, Sabotaged};
use super::scorers::{Chancy, PANIC};
use super::server::{self, PORT};
use super::store;
use super::trace::Trace;
use super::world::{Guarded, World};
use super::{oracle, tempers};

/// More polls than any run needs.
const POLLS: usize = 400_000;

pub struct Report {
    pub seed: u64,
    pub sessions: usize,
    /// Mails received by the onward server.
    pub kept: usize,
    pub polls: usize,
    pub guarded: Guarded,
    pub violations: Vec<String>,
    /// Hash of all events.
    pub hash: u64,
    pub dialogue: Vec<String>,
}

/// Returns the number of sessions in the run of this seed.
pub fn sessions(seed: u64) -> usize {
    Plan::draw(&mut Rng::new(seed).fork()).sessions
}

/// Runs this seed. Visited pairs are added to `coverage`.
pub fn run(seed: u64, told: bool, coverage: &mut Coverage, sabotage: Option<Sabotage>) -> Report {
    let began = AssertUnwindSafe(|| run_to_the_end(seed, told, sabotage, None));
    match catch_unwind(began) {
        Ok((report, visited)) => {
            coverage.add(&visited);
            report
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_string()));
            let violations = vec![format!("a panic: {}", text.unwrap_or_default())];
            let (sessions, dialogue) = (sessions(seed), Vec::new());
            let guarded = Guarded::default();
            Report { seed, sessions, kept: 0, polls: 0, guarded, violations, hash: 0, dialogue }
        }
    }
}

/// Runs this seed with an addition to its gate, which gets the world.
#[cfg(feature = "recording")]
pub fn run_with(seed: u64, add: &Addition<'_>) -> Report {
    run_to_the_end(seed, false, None, Some(add)).0
}

/// An addition to the gate of a run.
pub type Addition<'a> = dyn Fn(Gate<Simulated>, &World) -> Gate<Simulated> + 'a;

fn run_to_the_end(
    seed: u64,
    told: bool,
    sabotage: Option<Sabotage>,
    add: Option<&Addition<'_>>,
) -> (Report, Box<Coverage>) {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng.fork());
    let trace = Trace::new(told);
    let world = World::new(plan.clone(), rng.fork(), trace, Box::default());
    let admission = Arc::new(Admission::new(admission_limits(&plan)));
    let hanging = plan.store_hangs.map(|after| store::hanging(&world, world.now() + after));
    let (shared, hung) = hanging.unzip();
    let gate = gate(&world, &plan, admission.clone(), shared, sabotage);
    let gate = Arc::new(match add {
        Some(add) => add(gate, &world),
        None => gate,
    });
    let mut executor = Executor::new(world.clone(), rng.fork(), plan.starved);
    for session in 0..plan.sessions {
        let latest = Duration::from_secs(*rng.pick(&[0, 0, 2, 100]));
        let call = call(world.clone(), session, rng.wait(latest));
        executor.spawn(Owner::Client(session), Box::pin(call));
    }
    if let Some((turns, time)) = plan.shutdown {
        let hand = shut_down(world.clone(), gate.clone(), turns, time);
        executor.spawn(Owner::Hand, Box::pin(hand));
    }
    if plan.turns > 0 {
        let hand = turn_clocks(world.clone(), rng.fork(), plan.turns);
        executor.spawn(Owner::Hand, Box::pin(hand));
    }
    drive(&world, &gate, &mut executor, sabotage);
    clear_up(&world, gate, &mut executor, &plan);
    if admission.connections() > 0 {
        let inside = admission.connections();
        world.state().violate(format!("I5: {inside} places are taken"));
    }
    if let Some(hung) = hung {
        let (hung, time) = (hung.load(Ordering::Relaxed), world.state().clock.elapsed());
        if hung > store::may_hang(plan.sessions, time) {
            world.state().violate(format!("{hung} operations hung in {time:?}"));
        }
    }
    let polls = executor.polls();
    drop(executor);
    let mut state = world.state();
    oracle::conclude(&mut state);
    let mails = state.sessions.iter().flat_map(|session| &session.mails);
    let kept = mails.map(|mail| mail.kept.len()).sum();
    let mut violations = std::mem::take(&mut state.violations);
    let trace = std::mem::take(&mut state.trace);
    let coverage = std::mem::take(&mut state.coverage);
    let guarded = state.guarded;
    drop(state);
    if !world.end() {
        violations.push("I5: the world is still referenced".into());
    }
    let (sessions, hash, dialogue) = (plan.sessions, trace.hash(), trace.into_dialogue());
    (Report { seed, sessions, kept, polls, guarded, violations, hash, dialogue }, coverage)
}

fn admission_limits(plan: &Plan) -> AdmissionLimits {
    let mut limits = AdmissionLimits::default();
    if let Some(guard) = plan.guard {
        limits.connections = guard.places;
        limits.per_address = guard.per_address;
        limits.address_rate =
            guard.rate.map(|rate| ConnectionRate::new(rate, Duration::from_secs(10)));
    }
    limits
}

/// Returns the settings of the gate.
pub fn settings(plan: &Plan) -> Settings {
    let mut settings = Settings::new("mx.example");
    settings.limits.content = plan.content as u64;
    if plan.strict {
        settings.line_endings = LineEndings::Refuse;
    }
    if plan.tolerant {
        settings.early_input = EarlyInput::Tolerate;
    }
    if plan.tight {
        settings.limits.command_line = 512;
        settings.limits.errors = 4;
        settings.limits.junk_commands = 5;
        settings.limits.recipients = 2;
        settings.limits.transactions = 2;
    }
    if plan.hurried {
        settings.timeouts.verdict = Duration::from_secs(20);
        settings.timeouts.recipient = Duration::from_secs(30);
        settings.timeouts.outcome = Duration::from_secs(40);
    }
    if let Some(guard) = plan.guard {
        settings.limits.data_rate = guard.data_rate;
        settings.timeouts.data_rate = guard.credit;
    }
    settings
}

/// Returns the panel of the gate, without the scorer that has a store.
pub fn panel(world: &World, plan: &Plan) -> Panel {
    let mut panel = Panel::new();
    for (number, seat) in plan.seats.iter().enumerate() {
        let name = format!("scorer{number}");
        let scorer = Chancy { world: world.clone(), name, plan: *seat };
        panel = panel.seat(Seat::new(scorer).budget(seat.budget).on_failure(seat.on_failure));
    }
    panel
}

fn gate(
    world: &World,
    plan: &Plan,
    admission: Arc<Admission>,
    shared: Option<Arc<dyn Store>>,
    sabotage: Option<Sabotage>,
) -> Gate<Simulated> {
    let settings = settings(plan);
    let mut onward = OnwardSettings::new("mx.example");
    onward.identify = plan.server.identify;
    if plan.server.lmtp {
        onward.protocol = Protocol::Lmtp;
    }
    let address = "192.0.2.25:25".parse().unwrap();
    let smtp = Smtp::with_settings(Simulated(world.clone()), address, onward)
        .keep_idle(plan.server.idle, Duration::from_secs(60))
        .connections(plan.server.places);
    let mut panel = panel(world, plan);
    if let Some(store) = shared {
        let often = Rate::new(u32::MAX, Duration::from_secs(1)).unwrap();
        let limits = RateLimit::new(Simulated(world.clone()), store).per_sender(often);
        panel = panel.seat(Seat::new(limits).on_failure(FailurePolicy::Ignore));
    }
    if sabotage == Some(Sabotage::Disobeys) {
        panel = panel.monitor();
    }
    let watcher = world.clone();
    let gate = Gate::new(Simulated(world.clone()), settings, Sabotaged(smtp, sabotage))
        .session_prefix("g")
        .panel(panel)
        .admission(admission)
        .observed_by(panicking())
        .observer(move |event| watch(&watcher, event, sabotage));
    match plan.guard {
        None => gate,
        Some(guard) => gate.tarpit(
            Tarpit::from(Score::hundredths(guard.tarpit_from))
                .delay(guard.delay)
                .sessions(guard.stuck),
        ),
    }
}

/// Returns an observer that panics at every third event. No reply and no event of another observer
/// may depend on it.
fn panicking() -> impl Fn(&Event<'_>) + Send + Sync {
    let events = AtomicUsize::new(0);
    move |_| {
        if events.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            // Bypasses the panic hook, which would write to standard error.
            resume_unwind(Box::new(PANIC));
        }
    }
}

/// Checks the gate's own reports against the observations.
fn watch(world: &World, event: &Event<'_>, sabotage: Option<Sabotage>) {
    let of = |peer: &Peer| peer.address.map_or(0, |it| usize::from(it.port()) - PORT);
    match event {
        Event::Connected { peer, .. } => world.state().sessions[of(peer)].connected += 1,
        Event::Disconnected(record) => {
            let session = &mut world.state().sessions[of(record.peer)];
            session.disconnected += 1;
            session.tarpitted = false;
        }
        Event::Tarpitted { peer, .. } => {
            let state = &mut *world.state();
            state.guarded.tarpitted += 1;
            state.sessions[of(peer)].tarpitted = true;
        }
        Event::TurnedAway { peer, .. } => {
            let state = &mut *world.state();
            state.guarded.turned_away += 1;
            state.sessions[of(peer)].turned_away = true;
        }
        Event::Late { awaiting: Awaiting::DataRate, .. } => world.state().guarded.too_slow += 1,
        Event::Ended(record) => {
            world.state().sessions[of(&record.end.envelope.peer)].ended += 1;
        }
        Event::Unacknowledged(record) if sabotage != Some(Sabotage::Conceals) => {
            let envelope = &record.end.envelope;
            let mail = ledger::named(envelope.reverse_path.path.address());
            let state = &mut *world.state();
            let session = &mut state.sessions[of(&envelope.peer)];
            session.unacknowledged.extend(mail.map(|(_, mail)| mail));
            let elapsed = state.clock.elapsed();
            state.trace.tell(elapsed, || format!("    E: unacknowledged {mail:?}"));
        }
        _ => {}
    }
}

/// Connects a client.
async fn call(world: World, session: usize, after: Duration) {
    Sleep::of(&world, after).await;
    let end = {
        let state = &mut *world.state();
        let [gate, client] = state.connect(&world, session, None);
        let wire = client.connection;
        state.sessions[session].wire = Some(wire);
        state.connections[wire].pipes[GATE].record = Some(Vec::new());
        state.callers.push((session, gate));
        client
    };
    tempers::converse(world, end, session).await;
}

/// Serves a client.
async fn answer(
    world: World,
    gate: Arc<Gate<Simulated>>,
    end: End,
    session: usize,
    sabotage: Option<Sabotage>,
) {
    world.state().sessions[session].live = true;
    let port = u16::try_from(PORT + session).unwrap();
    let serving = serve(end, Peer::new(([192, 0, 2, 1], port).into()), &gate);
    let result = if sabotage == Some(Sabotage::Leaves) {
        let had_enough = step_back(300);
        futures::pin_mut!(serving, had_enough);
        match futures::future::select(serving, had_enough).await {
            futures::future::Either::Left((result, _)) => result,
            futures::future::Either::Right(_) => Ok(()),
        }
    } else {
        serving.await
    };
    let state = &mut *world.state();
    state.sessions[session].live = false;
    let elapsed = state.clock.elapsed();
    state.trace.tell(elapsed, || format!("{session} <served: {result:?}>"));
    oracle::check_ending(state, session, result);
}

async fn shut_down(world: World, gate: Arc<Gate<Simulated>>, turns: usize, time: Duration) {
    step_back(turns).await;
    Sleep::of(&world, time).await;
    gate.shut_down();
    world.state().fault_for_all(Fault::Shutdown);
    gate.drained().await;
    let state = &mut *world.state();
    if state.sessions.iter().any(|session| session.live) {
        state.violate("I5: drained, and somebody is served".into());
    }
}

async fn turn_clocks(world: World, mut rng: Rng, turns: usize) {
    for _ in 0..turns {
        let turns = 1 << rng.below(9);
        step_back(rng.below(turns)).await;
        if rng.permille(300) {
            Sleep::of(&world, rng.wait(Duration::from_secs(600))).await;
        }
        let state = &mut *world.state();
        let day = i64::try_from(rng.wait(Duration::from_secs(2_000_000_000)).as_secs()).unwrap();
        match rng.below(3) {
            0 => {
                state.fault_for_all(Fault::Leap);
                let time = rng.wait(Duration::from_secs(4_000));
                state.clock.leap(time);
            }
            1 => {
                state.fault_for_all(Fault::DayForward);
                state.clock.turn(day);
            }
            _ => {
                state.fault_for_all(Fault::DayBack);
                state.clock.turn(-day);
            }
        }
    }
}

/// Runs all tasks until clients, gate and hand are done.
fn drive(
    world: &World,
    gate: &Arc<Gate<Simulated>>,
    executor: &mut Executor,
    sabotage: Option<Sabotage>,
) {
    while executor.is_busy() {
        let went_on = executor.step();
        let (callers, arrivals) = {
            let state = &mut *world.state();
            (std::mem::take(&mut state.callers), std::mem::take(&mut state.arrivals))
        };
        for (session, end) in callers {
            let work = answer(world.clone(), gate.clone(), end, session, sabotage);
            executor.spawn(Owner::Gate(session), Box::pin(work));
        }
        for end in arrivals {
            let owner = Owner::Server(end.connection);
            executor.spawn(owner, Box::pin(server::serve(world.clone(), end)));
        }
        if !went_on || executor.polls() > POLLS {
            let left = executor.left();
            return world.state().violate(format!("I5: no end in sight: {left:?}"));
        }
    }
}

/// I5: checks what is left after all clients were served, and after the gate was dropped.
fn clear_up(world: &World, gate: Arc<Gate<Simulated>>, executor: &mut Executor, plan: &Plan) {
    let mut faults = Vec::new();
    if gate.sessions() != 0 {
        faults.push(format!("the gate counts {} sessions", gate.sessions()));
    }
    let mut context = Context::from_waker(Waker::noop());
    if Box::pin(gate.drained()).poll_unpin(&mut context).is_pending() {
        faults.push("the gate is not drained".into());
    }
    {
        let state = world.state();
        let (timers, held) = (state.clock.held_by_gate(), state.held_by_gate());
        if timers > 0 {
            faults.push(format!("{timers} timers are left"));
        }
        if held > plan.server.idle {
            faults.push(format!("{held} onward connections are left"));
        }
    }
    if Arc::into_inner(gate).is_none() {
        faults.push("the gate is still referenced".into());
    }
    while !executor.left().is_empty() {
        if !executor.step() || executor.polls() > 2 * POLLS {
            faults.push(format!("left without a gate: {:?}", executor.left()));
            break;
        }
    }
    let state = &mut *world.state();
    if state.open_ends() > 0 {
        faults.push(format!("{} ends of connections are open", state.open_ends()));
    }
    faults.into_iter().for_each(|fault| state.violate(format!("I5: {fault}")));
}
