//! Scorers that ship with the crate.

#[cfg(feature = "auth")]
mod authentication;
mod greylist;
mod gtube;
#[cfg(feature = "dns")]
mod helo;
mod lessons;
#[cfg(feature = "dns")]
mod links;
#[cfg(feature = "dns")]
mod lists;
mod rate_limit;
mod reputation;
#[cfg(feature = "dns")]
mod reverse_name;
mod spamd;
mod whose;

#[cfg(feature = "auth")]
pub use authentication::{Authentication, AuthenticationError, UnknownSymbol};
pub use greylist::Greylist;
pub use gtube::Gtube;
#[cfg(feature = "dns")]
pub use helo::{HeloFlaw, HeloNames};
pub use lessons::{Conduct, Learner, Lesson, Lessons};
#[cfg(feature = "dns")]
pub use lists::{BadCodes, Codes, DnsList, Dnsbl, Rhsbl, Uribl};
pub use rate_limit::{Over, RateLimit};
pub use reputation::Reputation;
#[cfg(feature = "dns")]
pub use reverse_name::ReverseNames;
pub use spamd::{BadUser, Oversize, Spamd};
pub use whose::Widths;
