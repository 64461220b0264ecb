//! The activity of a session when input arrives.

/// What a session was doing when its client sent something or was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum During {
    /// It waited for the client.
    Receive,
    /// It waited for an answer of the panel or of the relay target.
    Question,
    /// It wrote replies. If the client was lost, they may not have arrived.
    Transmit,
    /// Anything else: it had work to do.
    Work,
}
