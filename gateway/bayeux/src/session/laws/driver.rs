//! What the server does with a session, in short: who carries it, who is woken, who is superseded.

use super::client::{Ack, Client, Item};
use super::model::Checked;
use super::transport::{Connection, Exchange, PollEnd, Socket};
use super::*;

/// What carries the session now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    None,
    Poll(usize),
    Socket(usize),
}

pub(super) struct World {
    pub(super) session: Checked,
    pub(super) client: Client,
    pub(super) connections: Vec<Connection>,
    pub(super) link: Link,
    pub(super) now: Instant,
    pub(super) pushed: u32,
    /// The client leaves a connection before it uses another.
    pub(super) one_by_one: bool,
    pub(super) all: Vec<u32>,
}

impl World {
    pub(super) fn new(options: SessionOptions, acknowledges: bool, carriers: &[Carrier], now: Instant) -> Self {
        let connection = |carrier: &Carrier| Connection {
            carrier: *carrier,
            socket: Socket::default(),
            exchange: None,
            wire: VecDeque::new(),
            dead: false,
        };
        World {
            session: Checked::new(options, acknowledges, carriers[0], now),
            client: Client::new(acknowledges, carriers.len()),
            connections: carriers.iter().map(connection).collect(),
            link: Link::None,
            now,
            pushed: 0,
            one_by_one: false,
            all: Vec::new(),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.connections.len()
    }

    /// At most one connect is held, and where one is the session knows it.
    pub(super) fn one_is_held(&self) {
        let held = self.connections.iter().enumerate().filter(|(slot, connection)| {
            let poll = connection.exchange.as_ref().is_some_and(|e| e.hold.is_some() && e.told.is_none());
            let socket = &connection.socket;
            let released = socket.release.is_some() && socket.release == socket.held.map(|(_, ticket, _)| ticket);
            poll || (socket.held.is_some() && !released && socket.ended.is_none() && self.link == Link::Socket(*slot))
        });
        let held: Vec<_> = held.map(|(slot, _)| slot).collect();
        assert!(held.len() <= 1, "held at the same time on {held:?}");
        assert!(held.is_empty() || self.session.held().is_some(), "waits for nobody on {held:?}");
    }

    pub(super) fn push(&mut self, channel: &ChannelName) {
        if self.session.subscribed(channel) && !self.session.ended {
            self.pushed += 1;
            match self.session.push(message(channel, self.pushed)) {
                Push::Overflow => self.end(EndReason::Overflow),
                Push::Wake => {
                    self.all.push(self.pushed);
                    self.wake();
                }
                Push::Waits => self.all.push(self.pushed),
                Push::Lazy(_) => unreachable!("none is lazy"),
                Push::Gone => unreachable!("it lives"),
            }
        }
    }

    pub(super) fn wake(&mut self) {
        match self.link {
            Link::Socket(slot) if self.session.connect_only(Carrier::WebSocket) => {
                if let Some(ticket) = self.session.take_polling_hold(self.now) {
                    self.connections[slot].socket.release = Some(ticket);
                }
            }
            Link::None | Link::Socket(_) => {}
            Link::Poll(slot) => {
                if self.session.take_polling_hold(self.now).is_some() {
                    self.link = Link::None;
                    self.tell(slot, PollEnd::Messages);
                }
            }
        }
    }

    fn tell(&mut self, slot: usize, end: PollEnd) {
        if let Some(exchange) = &mut self.connections[slot].exchange {
            exchange.told = Some(end);
        }
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        if !self.session.end(reason) {
            return;
        }
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Poll(slot) => self.tell(slot, PollEnd::Ended),
            Link::Socket(slot) => self.connections[slot].socket.ended = Some(reason),
        }
    }

    pub(super) fn expire(&mut self) {
        if self.session.expired(self.now) {
            self.end(EndReason::Expired);
        }
    }

    pub(super) fn old_ticket(&mut self, nth: usize) {
        if let Some(ticket) = self.session.old_ticket(nth) {
            self.release(ticket);
        }
    }

    fn retire_other_socket(&mut self, than: Option<usize>) {
        if let Link::Socket(slot) = self.link
            && than != Some(slot)
        {
            let socket = &mut self.connections[slot].socket;
            let unsent = socket.finish();
            socket.held = None;
            self.session.put_back(unsent);
            self.link = Link::None;
        }
    }

    fn leave_poll(&mut self) {
        if let Link::Poll(slot) = self.link {
            self.link = Link::None;
            self.tell(slot, PollEnd::Superseded);
        }
    }

    fn attach(&mut self, slot: usize) {
        self.retire_other_socket(Some(slot));
        if self.link != Link::Socket(slot) {
            self.leave_poll();
            self.link = Link::Socket(slot);
        }
        self.connections[slot].socket.carries = true;
    }

    /// The client may ask by this connection now.
    fn free(&mut self, slot: usize) -> bool {
        if self.one_by_one && !self.connections[slot].dead {
            self.slots().filter(|other| *other != slot).for_each(|other| self.close(other));
        }
        let connection = &self.connections[slot];
        !connection.dead && !connection.socket.finished && connection.exchange.is_none()
    }

    pub(super) fn connect(&mut self, slot: usize, ack: Ack, mut connect: Connect) {
        if !self.free(slot) {
            return;
        }
        let (id, number) = self.client.connect(slot, ack);
        (connect.carrier, connect.ack) = (self.connections[slot].carrier, number);
        if connect.carrier == Carrier::WebSocket {
            (connect.alone, connect.crowded) = (true, false);
            return self.connect_socket(slot, id, &connect);
        }
        let batch = !connect.alone;
        if batch {
            self.session.start_batch();
            self.session.touch(self.now, self.connections[slot].carrier);
        }
        self.retire_other_socket(None);
        let hold = match self.session.connect(self.now, &connect) {
            Ok(outcome) => {
                self.leave_poll();
                if outcome.hold.is_some() {
                    self.link = Link::Poll(slot);
                }
                outcome.hold
            }
            Err(_) => None,
        };
        self.connections[slot].exchange = Some(Exchange { id, connect: !self.session.ended, batch, hold, told: None });
    }

    fn connect_socket(&mut self, slot: usize, id: u32, connect: &Connect) {
        if !self.session.ended {
            self.attach(slot);
        }
        let outcome = self.session.connect(self.now, connect);
        let socket = &mut self.connections[slot].socket;
        let Ok(outcome) = outcome else { return socket.replies.push_back(Item::Reply(id, None)) };
        socket.remembered = None;
        if let Some((older, ..)) = socket.held.take() {
            self.client.settle(older); // without a reply, as in CometD
        }
        match outcome.hold {
            Some((ticket, until)) => {
                socket.remembered = Some(ticket);
                socket.held = Some((id, ticket, until));
            }
            None => self.connected(slot, id),
        }
    }

    pub(super) fn connected(&mut self, slot: usize, id: u32) {
        let mut closes = None;
        let socket = &mut self.connections[slot].socket;
        if self.session.connect_only(Carrier::WebSocket) {
            let (messages, batch) = self.session.take_for_connect();
            socket.replies.extend(messages.iter().map(|delivery| Item::Message(number(delivery))));
            closes = batch;
        }
        self.session.take_untold();
        if !socket.finished {
            socket.replies.push_back(Item::Reply(id, closes));
        }
    }

    /// Any other request. `waits`: its outcome takes time, for which no batch is kept open.
    pub(super) fn send(&mut self, slot: usize, waits: bool) {
        if !self.free(slot) {
            return;
        }
        let id = self.client.ask(slot);
        if self.connections[slot].carrier == Carrier::WebSocket {
            if !self.session.ended {
                self.attach(slot);
            }
            self.connections[slot].socket.replies.push_back(Item::Reply(id, None));
        } else {
            let batch = !waits;
            if batch {
                self.session.start_batch();
            }
            self.connections[slot].exchange = Some(Exchange { id, connect: false, batch, hold: None, told: None });
        }
        self.session.touch(self.now, self.connections[slot].carrier);
    }
}
