//! The shared state of a run, apart from the gate and the tasks.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::clock::Clock;
use super::coverage::{At, Coverage, Fault, Onward, Place};
use super::executor::Owner;
use super::ledger::{Mail, Session};
use super::network::{Connection, End, GATE, PEER};
use super::plan::Plan;
use super::rng::Rng;
use super::trace::Trace;

#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

pub struct State {
    pub plan: Plan,
    pub clock: Clock,
    /// Owner of the running task.
    pub owner: Owner,
    pub connections: Vec<Connection>,
    pub sessions: Vec<Session>,
    /// Clients that have connected, but are not served yet.
    pub callers: Vec<(usize, End)>,
    /// Connections that no onward server has accepted yet.
    pub arrivals: Vec<End>,
    pub rng: Rng,
    pub trace: Trace,
    pub coverage: Box<Coverage>,
    pub guarded: Guarded,
    pub violations: Vec<String>,
}

/// Numbers of clients that the gate turned away, slowed down or disconnected.
#[derive(Debug, Default, Clone, Copy)]
pub struct Guarded {
    pub turned_away: usize,
    pub tarpitted: usize,
    /// Clients whose mail data came too slowly.
    pub too_slow: usize,
}

impl Guarded {
    pub fn add(&mut self, other: Self) {
        self.turned_away += other.turned_away;
        self.tarpitted += other.tarpitted;
        self.too_slow += other.too_slow;
    }
}

impl World {
    pub fn new(plan: Plan, rng: Rng, trace: Trace, coverage: Box<Coverage>) -> Self {
        let sessions = std::iter::repeat_with(Session::default).take(plan.sessions).collect();
        Self(Arc::new(Mutex::new(State {
            plan,
            clock: Clock::new(),
            owner: Owner::Hand,
            connections: Vec::new(),
            sessions,
            callers: Vec::new(),
            arrivals: Vec::new(),
            rng,
            trace,
            coverage,
            guarded: Guarded::default(),
            violations: Vec::new(),
        })))
    }

    /// Locks the state. The holder must not wake, poll or drop anything of another task.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Drops the world. Returns `false` if another reference to it is left.
    pub fn end(self) -> bool {
        Arc::into_inner(self.0).is_some()
    }

    pub fn now(&self) -> Instant {
        self.state().clock.now
    }

    pub fn fork(&self) -> Rng {
        self.state().rng.fork()
    }

    pub fn enter(&self, owner: Owner) {
        let mut state = self.state();
        state.owner = owner;
        state.trace.note([owner.number(), 1], &[]);
    }

    /// Advances the time to the next timer.
    pub fn pass(&self, starved: bool) -> bool {
        let mut state = self.state();
        state.trace.note([u64::from(starved), 3], &[]);
        state.clock.pass()
    }

    /// Records the position of this session's client.
    pub fn stand(&self, session: usize, at: At) {
        self.state().sessions[session].at = Some(at);
    }
}

impl State {
    /// Records a violation of an invariant.
    pub fn violate(&mut self, what: String) {
        let elapsed = self.clock.elapsed();
        self.trace.tell(elapsed, || format!("    !: {what}"));
        self.violations.push(what);
    }

    pub fn connect(&mut self, world: &World, session: usize, onward: Option<Onward>) -> [End; 2] {
        let rng = self.rng.fork();
        self.connections.push(Connection::new(session, onward, rng));
        End::both(world, self.connections.len() - 1)
    }

    /// Records a write of the gate. On an onward connection, it belongs to the session of the
    /// running task.
    pub fn gate_writes(&mut self, at: usize) {
        if let (Owner::Gate(session), Some(_)) = (self.owner, self.connections[at].onward) {
            self.connections[at].session = session;
            self.sessions[session].onward = Some(at);
            let connection = &mut self.connections[at];
            if let Some(lie) = connection.lie.take() {
                connection.lied |= connection.pipes[PEER].read <= lie;
            }
            self.sessions[session].lied_to |= connection.lied;
        }
    }

    pub fn mail(&mut self, (session, mail): (usize, usize)) -> Option<&mut Mail> {
        self.sessions.get_mut(session)?.mails.get_mut(mail)
    }

    /// Records a fault at this connection.
    pub fn fault(&mut self, at: usize, fault: Fault) {
        let Connection { session, onward, .. } = self.connections[at];
        match onward {
            None => self.fault_in(session, fault),
            Some(onward) => {
                self.coverage.visit(Place::Onward(onward), fault);
                if self.sessions[session].live && self.sessions[session].onward == Some(at) {
                    self.visit_client(session, fault);
                }
                self.tell_fault(&self.label(at), fault);
            }
        }
    }

    /// Records a fault in this session.
    pub fn fault_in(&mut self, session: usize, fault: Fault) {
        self.visit_client(session, fault);
        let onward = self.onward_of(session);
        self.coverage.visit(Place::Onward(onward), fault);
        self.tell_fault(&session.to_string(), fault);
    }

    /// Records a fault in all sessions.
    pub fn fault_for_all(&mut self, fault: Fault) {
        for session in 0..self.sessions.len() {
            if self.sessions[session].live {
                self.fault_in(session, fault);
            }
        }
    }

    fn visit_client(&mut self, session: usize, fault: Fault) {
        let Session { at, tarpitted, .. } = self.sessions[session];
        if let Some(at) = at {
            self.coverage.visit(Place::Client(at), fault);
        }
        if tarpitted {
            self.coverage.visit(Place::Tarpit, fault);
        }
    }

    fn onward_of(&self, session: usize) -> Onward {
        let used = self.sessions[session].onward.map(|at| &self.connections[at]);
        used.filter(|it| it.session == session && it.open == [true, true])
            .and_then(|it| it.onward)
            .unwrap_or(Onward::None)
    }

    fn tell_fault(&mut self, label: &str, fault: Fault) {
        let elapsed = self.clock.elapsed();
        self.trace.tell(elapsed, || format!("{label} !: {fault:?}"));
        self.trace.note([fault as u64, 10], &[]);
    }

    /// Returns the label of a connection in the dialogue.
    pub fn label(&self, at: usize) -> String {
        let Connection { session, onward, .. } = &self.connections[at];
        match onward {
            None => session.to_string(),
            Some(_) => format!("{session}/{at}"),
        }
    }

    /// Returns the number of open onward connections of the gate.
    pub fn held_by_gate(&self) -> usize {
        let held = |it: &&Connection| it.onward.is_some() && it.open[GATE];
        self.connections.iter().filter(held).count()
    }

    /// Returns the number of connection ends that are still open.
    pub fn open_ends(&self) -> usize {
        let open = |it: &Connection| usize::from(it.open[GATE]) + usize::from(it.open[PEER]);
        self.connections.iter().map(open).sum()
    }
}
