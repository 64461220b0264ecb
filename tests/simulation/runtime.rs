//! The runtime adapter that connects a gate to the simulated world.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use nobounce::{Address, Runtime};

use super::clock::Sleep;
use super::coverage::{Fault, Onward};
use super::executor::Owner;
use super::network::End;
use super::world::World;

#[derive(Clone)]
pub struct Simulated(pub World);

#[async_trait]
impl Runtime for Simulated {
    type Stream = End;

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn time_of_day(&self) -> SystemTime {
        self.0.state().clock.time_of_day()
    }

    async fn sleep_until(&self, at: Instant) {
        Sleep::until(&self.0, at).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<End> {
        let (ends, luck) = {
            let state = &mut *self.0.state();
            let Owner::Gate(session) = state.owner else {
                panic!("{:?} connects", state.owner);
            };
            let ends = state.connect(&self.0, session, Some(Onward::Connecting));
            state.sessions[session].onward = Some(ends[0].connection);
            let (held, places) = (state.held_by_gate(), state.plan.server.places);
            if held > places {
                state.violate(format!("{held} onward connections, {places} are allowed"));
            }
            let rate = state.plan.server.far;
            let luck = if state.rng.permille(rate) { state.rng.below(4) } else { 4 };
            match luck {
                0 => state.fault(ends[0].connection, Fault::Unreachable),
                1 | 2 => state.fault(ends[0].connection, Fault::ConnectsLate),
                _ => {}
            }
            (ends, luck)
        };
        match luck {
            0 => return Err(io::Error::other("INTERNAL: no route to the server")),
            1 => std::future::pending().await,
            2 => {
                let late = self.0.state().rng.wait(Duration::from_secs(40));
                Sleep::of(&self.0, late).await;
            }
            _ => {}
        }
        let [gate, peer] = ends;
        let state = &mut *self.0.state();
        state.connections[gate.connection].onward = Some(Onward::Greeting);
        state.arrivals.push(peer);
        Ok(gate)
    }
}
