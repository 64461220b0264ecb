//! The TLS handshake after STARTTLS (RFC 3207), which the caller does.

use super::Session;
use super::state::State;
use crate::conduct::Misconduct;
use crate::peer::Tls;

impl Session {
    /// The TLS handshake is done.
    pub fn tls_started(&mut self, tls: Tls) {
        if self.upgrade() {
            // All that is known of the client now is what TLS says of it.
            let mut peer = (*self.peer).clone();
            peer.tls = Some(tls);
            peer.helo = None;
            self.peer = peer.into();
            self.input.clear();
            self.lines.restart();
            self.deadline = None;
        }
    }

    /// The TLS handshake has failed: the client has gone, and that counts as its conduct.
    pub fn tls_failed(&mut self) {
        if matches!(self.machine.state(), State::StartTls) {
            self.note(Misconduct::HandshakeFailed);
        }
        self.lose_client();
    }

    /// No handshake can begin now, or can again. STARTTLS is answered with `421 4.7.0` meanwhile: a client
    /// that was told 454 might go on in the clear.
    pub fn hold_tls(&mut self, on: bool) {
        self.tls_held = on;
    }
}
