//! Scorers that ship with the crate.

mod behaviour;
mod gtube;
mod spamd;

pub use behaviour::Behaviour;
pub use gtube::Gtube;
pub use spamd::{BadUser, Oversize, Spamd};
