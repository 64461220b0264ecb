//! Scorers that ship with the crate.

#[cfg(feature = "auth")]
mod authentication;
mod gtube;
#[cfg(feature = "dns")]
mod helo;
#[cfg(feature = "dns")]
mod links;
#[cfg(feature = "dns")]
mod lists;
#[cfg(feature = "dns")]
mod reverse_name;
mod spamd;

#[cfg(feature = "auth")]
pub use authentication::{Authentication, AuthenticationError, UnknownSymbol};
pub use gtube::Gtube;
#[cfg(feature = "dns")]
pub use helo::{HeloFlaw, HeloNames};
#[cfg(feature = "dns")]
pub use lists::{BadCodes, Codes, DnsList, Dnsbl, Rhsbl, Uribl};
#[cfg(feature = "dns")]
pub use reverse_name::ReverseNames;
pub use spamd::{BadUser, Oversize, Spamd};
