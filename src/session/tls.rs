//! The TLS handshake after STARTTLS (RFC 3207), which the caller does.

use super::state::State;
use super::{Session, SessionEnd};
use crate::conduct::Misconduct;
use crate::peer::TlsInfo;

impl Session {
    /// Reports that the TLS handshake is done.
    pub fn tls_started(&mut self, tls: TlsInfo) {
        if self.upgrade() {
            // Everything that the client said before TLS is discarded.
            let mut peer = (*self.peer).clone();
            peer.tls = Some(tls);
            peer.helo = None;
            self.peer = peer.into();
            self.input.clear();
            self.lines.restart();
            self.deadline = None;
        }
    }

    /// Reports that the TLS handshake failed. The client counts as lost, and the failure counts as
    /// a violation by the client.
    pub fn tls_failed(&mut self) {
        if matches!(self.machine.state(), State::StartTls) {
            self.note(Misconduct::HandshakeFailed);
            self.end = Some((SessionEnd::HandshakeFailed, None));
        }
        self.lose_client();
    }

    /// Sets whether TLS handshakes are suspended. While they are, STARTTLS gets `421 4.7.0`. After
    /// 454, the client might continue without TLS.
    pub fn hold_tls(&mut self, on: bool) {
        self.tls_held = on;
    }
}
