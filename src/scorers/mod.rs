//! Scorers that ship with the crate.

mod greylist;
mod gtube;
mod lessons;
mod rate_limit;
mod reputation;
mod spamd;
mod whose;

pub use greylist::Greylist;
pub use gtube::Gtube;
pub use lessons::{Conduct, Learner, Lesson, Lessons};
pub use rate_limit::{Over, RateLimit};
pub use reputation::Reputation;
pub use spamd::{BadUser, Oversize, Spamd};
pub use whose::Widths;
