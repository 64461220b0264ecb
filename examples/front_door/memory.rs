//! Returns freed memory to the operating system.

use std::time::Duration;

use nobounce::message::Budget;
use tokio::time::interval;

const EVERY: Duration = Duration::from_secs(10);

/// Returns freed memory periodically to the system. glibc by itself only returns free memory at the
/// top of the heap. After a burst of mail data or of sessions, there is almost no free memory at
/// the top.
pub(crate) async fn give_back(mail_data: Budget) {
    let mut moments = interval(EVERY);
    loop {
        let now = moments.tick().await;
        mail_data.tidy(now.into());
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no safe wrapper exists")]
fn trim() {
    // SAFETY: `malloc_trim` takes a number, may be called at any time from any thread, and only
    // touches free memory.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Does nothing: other allocators return memory by themselves, or offer no function for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
