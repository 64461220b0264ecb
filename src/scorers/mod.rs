//! Scorers that ship with the crate.

mod clamd;
mod daemon;
mod excerpt;
mod gtube;
#[cfg(feature = "rspamd")]
mod rspamd;
mod spamd;

pub use clamd::{Clamd, OnVirus};
pub use excerpt::Oversize;
pub use gtube::Gtube;
#[cfg(feature = "rspamd")]
pub use rspamd::{Rspamd, RspamdActions};
pub use spamd::{BadUser, Spamd};
