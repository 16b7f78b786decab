//! The life of the sessions on a connection: how one begins here, gives its place to another, and ends.

use super::{Answer, Connection};
use crate::session::LiveSession;
use crate::websocket::frame::close_code;
use crate::websocket::outlet::Held;
use bayeux::reply::{Advice, Reconnect, Reply};
use bayeux::session::{Carrier, EndReason, Session, unknown_session};
use std::sync::Arc;
use std::time::Instant;

impl Connection {
    /// A connect that finds its session disconnected by the server is refused behind what waited for it.
    pub(super) fn send_last_words_before(&self, reply: &Reply) {
        let refused = !reply.successful() && reply.channel.as_deref() == Some("/meta/connect");
        if let Some(session) = self.session.as_ref().filter(|s| refused && s.with(|s| s.disconnected())) {
            self.outlet.push_deliveries(&session.take_for_connect().0);
        }
    }

    /// A disconnect among the messages of this envelope ended the session: what waited for it, such as a message that it
    /// published to itself just before, goes before the replies.
    pub(super) fn send_what_waited(&self) {
        let ended = |session: &&Arc<LiveSession>| {
            session.ended() && session.with(|s| s.disconnected() && !s.connect_only(Carrier::WebSocket))
        };
        if let Some(session) = self.session.as_ref().filter(ended) {
            self.outlet.push_deliveries(&session.take_for_connect().0);
        }
    }

    /// The reply of a handshake goes alone, and behind it what waits for the new session, if it may.
    pub(super) fn handshaken(&mut self, answers: Vec<Answer>) {
        let Some(session) = self.session.clone() else { return };
        self.held = None; // a session that it took back may have held a connect here
        for answer in answers {
            if let Answer::Reply(mut reply) = answer {
                let messages = session.welcome(&mut reply);
                self.send(vec![reply]);
                self.outlet.push_deliveries(&messages);
            }
        }
        self.outlet.flush();
        session.replied(Instant::now());
    }

    /// Another session has taken this one's place. Its messages go on going out here until it ends; a connect that it
    /// holds gets no reply any more.
    pub(super) fn succeeded(&mut self, before: Arc<LiveSession>) {
        self.outlet.control().held = None;
        if let Some((ticket, _)) = self.held.take() {
            before.release(ticket, Instant::now());
        }
        if before.ended() {
            return;
        }
        if let Some(oldest) = self.outlet.keep_former(before) {
            let unsent = self.outlet.take_back(oldest.key());
            oldest.detach(&self.outlet, None, unsent);
        }
    }

    /// The session is over: a connect that it holds is answered, and the socket stays for another handshake where there
    /// may be one.
    pub(super) fn session_ended(&mut self, reason: EndReason) {
        let held = self.outlet.control().held.take();
        self.held = None;
        self.wake_at(None);
        let disconnected = matches!(reason, EndReason::Disconnected | EndReason::Server);
        if let Some(session) = self.session.as_ref().filter(|_| disconnected) {
            // What waits goes with a connect's reply, or without one where messages need none.
            if held.is_some() || !session.with(|s| s.connect_only(Carrier::WebSocket)) {
                self.outlet.push_deliveries(&session.take_for_connect().0);
            }
        }
        let swept = held.is_some() && reason == EndReason::Expired;
        if let Some(held) = held.filter(|_| !swept) {
            let mut reply = held.reply;
            if disconnected {
                // Advice that is due is given, but for one thing.
                reply.advice.get_or_insert(Advice::none()).reconnect = Reconnect::None;
            } else {
                reply = reply.refuse(unknown_session());
            }
            self.send(vec![reply]);
        }
        self.outlet.flush();
        if swept {
            self.close(close_code::NORMAL, "swept"); // its client was not heard for `max_processing`: as in CometD
        } else if reason == EndReason::Overflow {
            self.close(close_code::POLICY, "queue is full");
        } else if reason == EndReason::Gap {
            self.close(close_code::POLICY, "messages are missing");
        } else {
            // The client closes; or it stays and handshakes again, for which it has some time.
            self.wake_at(Some(Instant::now() + self.server.settings().handshake_timeout));
            self.session = None;
            self.outlet.carry(None);
        }
    }

    /// Ends the hold of the connect that is held here, if it `is_due`: its reply, which is this task's to send. A message
    /// may have ended the hold just now, but it left the reply to this task.
    pub(super) fn let_go(&mut self, session: &LiveSession, is_due: impl FnOnce(&Held) -> bool) -> Option<Reply> {
        let held = self.outlet.control().held.take_if(|held| is_due(held))?;
        if !session.release(held.ticket, Instant::now()) && session.ended() {
            self.outlet.control().held = Some(held); // it is answered by the reason, of which the task has been told
            return None;
        }
        self.held = None;
        Some(held.reply)
    }

    /// The reply of a connect that is answered now: with the messages before it, where only it may carry them.
    pub(super) fn connected(&self, session: &LiveSession, mut reply: Reply) -> Reply {
        let mut positions = self.server.listener().positions(session, None);
        if session.with(|s| s.connect_only(Carrier::WebSocket)) {
            let (messages, batch) = session.take_for_connect();
            self.outlet.push_deliveries(&messages);
            reply.close_batch(batch);
        } else if session.waiting().0 > 0 {
            positions = None; // not all that is before them has gone out
        }
        reply.tell_positions(positions);
        reply.tell_dropped(session.with(Session::take_untold));
        reply
    }
}
