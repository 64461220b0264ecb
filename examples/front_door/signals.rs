//! Signals: SIGHUP, SIGUSR2, SIGINT and SIGTERM.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::output::Output;
use crate::successor::Heritage;

/// Returns the stream of SIGHUP signals.
pub(crate) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Starts a new process that takes over, on SIGUSR2. This process serves until the new one is
/// ready. Also returns whether there is such a process.
pub(crate) fn succeed_on_signal(
    heritage: Heritage,
    errors: Output,
) -> io::Result<(JoinHandle<()>, Arc<AtomicBool>)> {
    let mut called = signal(SignalKind::user_defined2())?;
    let heir = Arc::new(AtomicBool::new(false));
    let has_heir = heir.clone();
    let task = tokio::spawn(async move {
        while called.recv().await.is_some() {
            let mut child = match heritage.hand_over() {
                Ok(child) => child,
                Err(error) => {
                    errors.report(format_args!("starting the new process failed: {error}"));
                    continue;
                }
            };
            has_heir.store(true, Ordering::Release);
            let ended = child.wait().await;
            has_heir.store(false, Ordering::Release);
            if let Ok(status) = ended {
                errors.report(format_args!(
                    "the new process exited: {status}; the old process stays in service"
                ));
            }
        }
    });
    Ok((task, heir))
}

/// The signals that end the process.
pub(crate) struct End([Signal; 2]);

impl End {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    pub(crate) async fn comes(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
