//! Notifications to systemd: ready, stopping, and watchdog keep-alives.

use std::io;

use sd_notify::NotifyState;
use tokio::time::interval;

/// Reports that clients are served. With `WatchdogSec=` in the unit, systemd gets two keep-alives
/// in that time. If the runtime no longer runs tasks, they stop and systemd restarts front_door.
pub(crate) fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])?;
    if let Some(patience) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut moments = interval(patience / 2);
            loop {
                moments.tick().await;
                // With several workers, a spawned task can run on another worker than this one.
                if tokio::spawn(async {}).await.is_ok() {
                    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
                }
            }
        });
    }
    Ok(())
}

/// Reports the begin of a reload.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Reports the end of a reload. `systemctl status` shows the result.
pub(crate) fn reloaded(result: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(result)]);
}

pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
