//! What systemd is told: that we are ready, that we end, and that we still work.

use std::io;

use sd_notify::NotifyState;
use tokio::time::interval;

/// Clients are served from here on. With `WatchdogSec=` in the unit, systemd hears of us twice in that time;
/// when the runtime no longer runs tasks, it does not, and starts us anew.
pub(crate) fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])?;
    if let Some(patience) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut moments = interval(patience / 2);
            loop {
                moments.tick().await;
                // A worker that is not this one, if there are several.
                if tokio::spawn(async {}).await.is_ok() {
                    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
                }
            }
        });
    }
    Ok(())
}

pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
