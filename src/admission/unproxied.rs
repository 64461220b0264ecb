//! Connections that should have come through a proxy, and did not.

use std::io;

use crate::wire::proxy::ProxyFault;

/// Why it is not known for whom a connection is that should have come through a proxy. It was closed
/// without a word: no SMTP client is there to read one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It does not come from a proxy that is believed.
    #[error("not from a proxy")]
    Stranger,
    /// There is no PROXY header, or a malformed one. The proxy is at fault, or not expected to say
    /// one.
    #[error(transparent)]
    Header(#[from] ProxyFault),
    /// The header has not come in time.
    #[error("no PROXY header in time")]
    Late,
    /// The header was awaited longest when there were too many connections without one: see
    /// [`Admission::enter`](crate::Admission::enter).
    #[error("no PROXY header yet, and too many connections without one")]
    Displaced,
    /// The connection ended before the header did.
    #[error("closed before the PROXY header")]
    Closed,
    /// The connection broke before the header ended.
    #[error("lost before the PROXY header: {0}")]
    Lost(io::Error),
}
