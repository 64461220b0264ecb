//! The contexts that hooks get, called directly or through `Box` and `Arc`.

use std::sync::{Arc, Mutex};

use super::*;

/// Records the contexts of its hooks.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Listener {
    fn note(&self, stage: Stage, told: String) -> Result<Opinion, ScorerError> {
        self.0.lock().unwrap().push(format!("{stage}: {told}"));
        Ok(hidden(&format!("AT_{}", stage.to_string().to_uppercase()), 100).into())
    }
}

#[async_trait]
impl Scorer for Listener {
    fn name(&self) -> &str {
        "listener"
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.note(Stage::Connect, format!("{} {} {}", at.session, at.peer, at.tally))
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let to = String::from_utf8_lossy(at.recipient.path.address());
        self.note(Stage::Rcpt, format!("{} {} {to} {}", at.session, at.envelope.id, at.tally))
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let size = at.message.content().len();
        self.note(Stage::Data, format!("{} {} {size} {}", at.session, at.peer, at.tally))
    }
}

#[test]
fn hooks_get_session_and_findings_through_box_and_arc() {
    let runtime = Rehearsal::new();
    let listener = Arc::new(Listener::default());
    let pointers: [Box<dyn Scorer>; 3] = [
        Box::new(listener.clone()),
        Box::new(Box::new(listener.clone()) as Box<dyn Scorer>),
        Box::new(listener.clone() as Arc<dyn Scorer>),
    ];
    for pointer in pointers {
        let panel = Panel::new().scorer(pointer);
        assert_eq!(panel.names().collect::<Vec<_>>(), ["listener"]);
        let mut tally = Tally::new();
        for stage in [Stage::Connect, Stage::Rcpt, Stage::Data] {
            assert_eq!(ask_at(&runtime, &panel, stage, &mut tally), Verdict::Pass);
        }
        let told: Vec<_> = listener.0.lock().unwrap().drain(..).collect();
        assert_eq!(
            told,
            [
                "connect: test unknown[192.0.2.1] score=0.00",
                "rcpt: test test.1 rcpt@example.org score=1.00 listener:AT_CONNECT=1.00",
                "data: test unknown[192.0.2.1] 17 score=2.00 listener:AT_CONNECT=1.00 listener:AT_RCPT=1.00",
            ]
        );
    }
}
