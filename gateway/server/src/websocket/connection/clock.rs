//! What happens to a connection by the time alone: the end of a hold, no session in time, idleness. One timer for all.

use super::Connection;
use crate::websocket::frame::close_code;
use std::time::{Duration, Instant};

impl Connection {
    /// Has the timer go off when that is due, or before, when nothing will have come or gone for too long.
    pub(super) fn wake_at(&mut self, due: Option<Instant>) {
        if self.outlet.take_wrote() {
            self.active = Instant::now();
        }
        self.due = due;
        let idle = self.server.settings().websocket.idle_timeout.map(|time| self.active + time);
        match (due.into_iter().chain(idle).min(), &mut self.timer) {
            (None, timer) => *timer = None,
            (Some(at), Some(timer)) => timer.as_mut().reset(at.into()),
            (Some(at), timer) => *timer = Some(Box::pin(tokio::time::sleep_until(at.into()))),
        }
    }

    /// The timer went off.
    pub(super) fn look_at_the_clock(&mut self) {
        // The timer of the runtime has whole milliseconds.
        let now = Instant::now() + Duration::from_millis(2);
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.time_is_over();
        }
        self.wake_at(self.due);
        let idle = self.server.settings().websocket.idle_timeout;
        if idle.is_some_and(|time| self.active + time <= now) {
            self.timer = None;
            self.close(close_code::GOING_AWAY, "idle timeout");
        }
    }

    fn time_is_over(&mut self) {
        let Some(session) = self.session.clone() else {
            self.close(close_code::POLICY, "no session in time");
            return;
        };
        let soon = Instant::now() + Duration::from_millis(2);
        if let Some(reply) = self.let_go(&session, |held| held.until <= soon) {
            let reply = self.connected(&session, reply);
            self.send(vec![reply]);
        }
    }
}
