//! Connections to the onward server that serve one client after another.
