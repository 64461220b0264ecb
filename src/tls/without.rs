//! The configurations of a build without TLS: there are none.

#[derive(Debug, Clone, Copy)]
pub(crate) enum TlsServer {}

#[derive(Debug, Clone)]
pub(crate) enum TlsClient {}
