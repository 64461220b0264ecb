//! Sessions of small messages, with and without metrics. Small messages make the share of the
//! observers the largest.

use std::sync::Arc;

use nobounce::observer::Metrics;
use nobounce::prometheus_client::registry::Registry;
use nobounce::scorers::{Behaviour, Gtube, Structure};
use nobounce::{Gate, Panel, Settings};

use crate::Work;
use crate::dialogue::{CONTENT, served};

/// Messages in each session.
pub const MESSAGES: usize = 20;

/// Prepares sessions of a gate with these observers: `without`, `metrics`, or `answers` for metrics
/// with the times of scorers. The scorers are those of `front_door` without a configuration file.
pub fn sessions(how: &str, count: usize) -> Work {
    let mut settings = Settings::new("mx.example");
    settings.limits.transactions = u32::MAX;
    let panel = Panel::new().scorer(Gtube).scorer(Structure::new()).scorer(Behaviour::new());
    let gate = served::gate(&settings, panel);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, &settings);
    let gate = match how {
        "without" => gate,
        "metrics" => gate.observed_by(metrics),
        "answers" => gate.observed_by(metrics).report_answers(),
        _ => panic!("expected `without`, `metrics` or `answers`"),
    };
    let content: Arc<[u8]> = CONTENT.into();
    serve(&gate, 2, &content);
    Box::new(move || {
        serve(&gate, count, &content);
        count * MESSAGES
    })
}

fn serve(gate: &Gate<served::Memory>, sessions: usize, content: &Arc<[u8]>) {
    for _ in 0..sessions {
        assert_eq!(served::session(gate, MESSAGES, 1, content), MESSAGES);
    }
}
