//! Memory that was freed goes back to the system.

use std::time::Duration;

use nobounce::Budget;
use tokio::time::interval;

const EVERY: Duration = Duration::from_secs(10);

/// Gives the system what was freed, now and then. By itself glibc gives back only what lies behind
/// everything that is in use: of the mail data of a burst next to nothing, of many sessions neither.
pub(crate) async fn give_back(mail_data: Budget) {
    let mut moments = interval(EVERY);
    loop {
        let now = moments.tick().await;
        mail_data.tidy(now.into());
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "nobody offers it otherwise")]
fn trim() {
    // SAFETY: it takes a number, may be called at any time by any thread, and touches free memory only.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other allocators do so by themselves, or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
