//! The end of a connection: by the server, by the peer, or by its task being given up.

use super::Connection;
use crate::websocket::{frame, io};
use futures_util::stream::FuturesUnordered;

/// However the task ends, also when it is given up: the session stays, with what was not sent.
impl Drop for Connection {
    fn drop(&mut self) {
        self.server.stats().websockets.dec();
        let unsent = self.outlet.finish();
        self.outlet.control().held = None;
        if let Some(session) = self.session.take() {
            session.detach(&self.outlet, self.held.take().map(|(ticket, _)| ticket), unsent);
        }
    }
}

impl Connection {
    /// Nothing more is read; what is in flight is answered first.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        self.closing.get_or_insert_with(|| (code, reason.to_owned()));
    }

    /// The peer listens no more: what it was not sent stays with the session, answers are nobody's any more.
    pub(super) fn closed_by_peer(&mut self, code: Option<u16>) {
        let unsent = self.outlet.retract();
        if let Some(session) = self.session.take() {
            session.detach(&self.outlet, self.held.take().map(|(ticket, _)| ticket), unsent);
        }
        self.awaited = FuturesUnordered::new();
        // Its own code comes back to it, or none (RFC 6455, 5.5.1).
        self.outlet.push_close(code.map_or_else(frame::empty_close_frame, |code| frame::close_frame(code, "")));
        self.outlet.flush();
        self.closed = true;
    }

    /// Sends what waits, for as long as a closing socket may take; the session's queue is not emptied into it.
    pub(super) async fn last_words(&mut self) {
        if !self.outlet.dead() {
            io::finish(&self.outlet, &mut self.tls, self.closed).await;
        }
    }
}
