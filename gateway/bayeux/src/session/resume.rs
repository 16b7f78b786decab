//! A handshake that takes a session back (`handshake_reconnect`).

use super::{Carrier, Session, State};
use std::time::Instant;

impl Session {
    /// The client of this session has handshaken again, and keeps it: what waits, what it is subscribed to, and what it has
    /// not acknowledged, if it acknowledges from now on. All else is as after any handshake: a held connect is void, the
    /// next one is answered at once, and until then nothing is sent. False when the session has ended.
    pub fn resume(&mut self, now: Instant, carrier: Carrier, acknowledges: bool) -> bool {
        if self.ended() {
            return false;
        }
        self.heard(now, carrier);
        self.active(now);
        self.silent = true;
        self.state = State::Handshaken;
        self.hold = None;
        self.interval_override = None;
        if acknowledges != self.acks.is_some() {
            // Without acknowledgement, what was sent is taken for received.
            for _ in 0..self.unseen() {
                self.queue.pop();
            }
            self.acks = acknowledges.then(Default::default);
        }
        self.answered(now);
        true
    }
}
