//! Connections that did not come through a trusted proxy as required.

use std::io;

use crate::wire::proxy::ProxyHeaderError;

/// Error for a connection without a valid PROXY header from a trusted proxy. The connection was
/// closed without a reply, because no SMTP client was connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection does not come from a trusted proxy.
    #[error("not from a trusted proxy")]
    Stranger,
    /// The PROXY header is missing or malformed. Fault of the proxy or of its configuration.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// The header did not arrive in time.
    #[error("no PROXY header in time")]
    Late,
    /// There were too many connections without a header, and this one had waited longest; see
    /// [`Admission::enter`](crate::admission::Admission::enter).
    #[error("closed before its PROXY header, because too many connections had none")]
    Displaced,
    /// The connection ended before the header did.
    #[error("the proxy closed the connection before the end of the PROXY header")]
    Closed,
    /// The connection broke before the header ended.
    #[error("the connection was lost before the end of the PROXY header: {0}")]
    Lost(io::Error),
}
