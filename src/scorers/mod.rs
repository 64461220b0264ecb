//! Scorers that ship with the crate.

mod clamd;
mod daemon;
mod excerpt;
mod greylist;
mod gtube;
mod lessons;
mod rate_limit;
mod reputation;
#[cfg(feature = "rspamd")]
mod rspamd;
mod spamd;
mod whose;

pub use clamd::{Clamd, OnVirus};
pub use excerpt::Oversize;
pub use greylist::Greylist;
pub use gtube::Gtube;
pub use lessons::{Conduct, Learner, Lesson, Lessons};
pub use rate_limit::{Over, RateLimit};
pub use reputation::Reputation;
#[cfg(feature = "rspamd")]
pub use rspamd::{Rspamd, RspamdActions};
pub use spamd::{BadUser, Spamd};
pub use whose::Widths;
