//! Scorers that ship with the crate.

mod gtube;
mod spamd;

pub use gtube::Gtube;
pub use spamd::{BadUser, Oversize, Spamd};
