//! Replacements for the TLS settings in builds without TLS. They cannot be created.

#[derive(Debug, Clone)]
pub(crate) enum TlsServer {}

#[derive(Debug, Clone)]
pub(crate) enum TlsClient {}
