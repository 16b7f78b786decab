//! How a session changes its carrier: a client that comes back by another way, a socket that is gone, the server that
//! drains.

use super::{Link, LiveSession, PollEnd};
use crate::websocket::outlet::Outlet;
use bayeux::delivery::Delivery;
use bayeux::session::{Carrier, Ticket};
use std::sync::Arc;
use std::time::Instant;

impl LiveSession {
    /// Its client has handshaken again, and keeps it ([`Session::resume`]): by a poll, or by this socket, which may have
    /// carried another session since. A connect that is held elsewhere is superseded. False when it has ended.
    pub(crate) fn resume(
        &self,
        now: Instant,
        carrier: Carrier,
        acknowledges: bool,
        outlet: Option<&Arc<Outlet>>,
    ) -> bool {
        self.retire_other_socket(outlet);
        let unsent = outlet.and_then(|outlet| outlet.forget_former(self.key)).unwrap_or_default();
        let mut inner = self.inner.lock();
        inner.session.put_back(unsent.into_iter());
        if !inner.session.resume(now, carrier, acknowledges) {
            return false;
        }
        inner.taken();
        match &inner.link {
            Link::Socket(outlet) => outlet.forget_held(),
            _ => inner.leave(),
        }
        true
    }

    /// The client came back by another way: the socket that carried the session is closed, unless it has another by now,
    /// and what it had taken but not sent goes out by the new way, in its place. (A socket's `write` lock comes before
    /// `inner`, so it is asked first.)
    pub(super) fn retire_other_socket(&self, than: Option<&Arc<Outlet>>) {
        let old = match &self.inner.lock().link {
            Link::Socket(current) if than.is_none_or(|new| !Arc::ptr_eq(current, new)) => Arc::clone(current),
            _ => return,
        };
        let unsent = match old.forget_former(self.key) {
            Some(unsent) => unsent,
            None => {
                let unsent = old.finish();
                old.forget_held();
                unsent
            }
        };
        let mut inner = self.inner.lock();
        inner.session.put_back(unsent.into_iter());
        if matches!(&inner.link, Link::Socket(current) if Arc::ptr_eq(current, &old)) {
            inner.link = Link::None;
        }
    }

    /// The socket is gone: what was taken from the queue and not sent comes back, a connect it held is let go.
    pub(crate) fn detach(&self, outlet: &Outlet, held: Option<Ticket>, unsent: Vec<Arc<Delivery>>) {
        let mut inner = self.inner.lock();
        inner.session.put_back(unsent.into_iter());
        if let Some(ticket) = held {
            inner.session.release(ticket, Instant::now());
        }
        if matches!(&inner.link, Link::Socket(current) if std::ptr::eq(Arc::as_ptr(current), outlet)) {
            inner.link = Link::None;
        }
    }

    /// The server drains: a held connect is answered now.
    pub(crate) fn drain(&self) {
        let mut inner = self.inner.lock();
        match &inner.link {
            Link::None | Link::Local(_) => {}
            Link::Poll(_) => {
                if let Link::Poll(poll) = std::mem::replace(&mut inner.link, Link::None) {
                    let _ = poll.send(PollEnd::Draining);
                }
            }
            Link::Socket(outlet) => outlet.drain(),
        }
    }
}
