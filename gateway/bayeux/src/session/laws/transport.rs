//! The connections: polls and WebSockets in the server, one step of one task at a time, and the way to the client.

use super::client::Item;
use super::driver::{Link, World};
use super::*;

/// What a WebSocket takes from the queue at once, and how much of it waits to be written.
const ROOM: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) enum PollEnd {
    Messages,
    Superseded,
    Ended,
}

/// A request over HTTP that is not answered.
pub(super) struct Exchange {
    pub(super) id: u32,
    pub(super) connect: bool,
    pub(super) batch: bool,
    pub(super) hold: Option<(Ticket, Instant)>,
    pub(super) told: Option<PollEnd>,
}

pub(super) enum Piece {
    Delivery(Arc<Delivery>),
    Reply(Item),
}

/// A WebSocket's sending side, and what others tell its task.
#[derive(Default)]
pub(super) struct Socket {
    pub(super) carries: bool,
    /// Another connection has taken its place: it sends nothing more.
    pub(super) finished: bool,
    pub(super) pieces: VecDeque<Piece>,
    pub(super) replies: VecDeque<Item>,
    pub(super) held: Option<(u32, Ticket, Instant)>,
    /// The ticket that the task remembers, also after its connect was forgotten.
    pub(super) remembered: Option<Ticket>,
    pub(super) release: Option<Ticket>,
    pub(super) ended: Option<EndReason>,
}

impl Socket {
    pub(super) fn finish(&mut self) -> Vec<Arc<Delivery>> {
        self.finished = true;
        self.replies.clear();
        let delivery = |piece| match piece {
            Piece::Delivery(delivery) => Some(delivery),
            Piece::Reply(_) => None,
        };
        self.pieces.drain(..).filter_map(delivery).collect()
    }
}

/// One connection of the client, seen from both ends.
pub(super) struct Connection {
    pub(super) carrier: Carrier,
    pub(super) socket: Socket,
    pub(super) exchange: Option<Exchange>,
    /// What the client has not read yet.
    pub(super) wire: VecDeque<Item>,
    /// The client reads no more, which the server does not know yet.
    pub(super) dead: bool,
}

impl World {
    /// The server's task of a connection has its turn.
    pub(super) fn run(&mut self, slot: usize) {
        if self.connections[slot].socket.finished {
            return self.close(slot);
        }
        if self.connections[slot].carrier == Carrier::WebSocket {
            self.run_socket(slot);
        } else if let Some(exchange) = self.connections[slot].exchange.take() {
            self.run_exchange(slot, exchange);
        }
    }

    fn run_socket(&mut self, slot: usize) {
        let socket = &mut self.connections[slot].socket;
        let (ended, release) = (socket.ended.take(), socket.release.take());
        let over = socket.held.filter(|(_, _, until)| *until <= self.now);
        let due =
            socket.held.take_if(|(_, ticket, until)| release == Some(*ticket) || ended.is_some() || *until <= self.now);
        if let Some((id, ticket, _)) = due {
            socket.remembered = None;
            if ended.is_some() {
                socket.replies.push_back(Item::Reply(id, None));
            } else {
                // Whoever ended the hold before its time was over left the reply to this task.
                if over.is_some() {
                    self.release(ticket);
                }
                self.connected(slot, id);
            }
        }
        if ended.is_some() {
            self.connections[slot].socket.carries = false;
        }
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        if self.session.release(ticket, self.now) && matches!(self.link, Link::Poll(_)) {
            self.link = Link::None;
        }
    }

    fn run_exchange(&mut self, slot: usize, mut exchange: Exchange) {
        let mut superseded = false;
        if let Some((ticket, until)) = exchange.hold {
            if exchange.told.is_none() && until > self.now {
                self.connections[slot].exchange = Some(exchange);
                return;
            }
            superseded = matches!(exchange.told, Some(PollEnd::Superseded));
            exchange.hold = None;
            self.release(ticket);
        }
        let Connection { wire, carrier, .. } = &mut self.connections[slot];
        if superseded {
            wire.push_back(Item::Reply(exchange.id, None)); // HTTP 500
        } else if exchange.connect {
            let (messages, batch) = self.session.take_for_connect();
            self.session.take_untold();
            wire.extend(messages.iter().map(|delivery| Item::Message(number(delivery))));
            wire.push_back(Item::Reply(exchange.id, batch));
            self.session.replied(self.now);
        } else {
            let taken = std::iter::from_fn(|| self.session.pop(*carrier));
            wire.extend(taken.map(|delivery| Item::Message(number(&delivery))));
            wire.push_back(Item::Reply(exchange.id, None));
        }
        self.end_batch(&exchange);
    }

    fn end_batch(&mut self, exchange: &Exchange) {
        if exchange.batch && self.session.end_batch() {
            self.wake();
        }
    }

    /// The flusher comes by: so many pieces go out.
    pub(super) fn write(&mut self, slot: usize, count: usize) {
        let Connection { socket, wire, carrier, .. } = &mut self.connections[slot];
        if *carrier != Carrier::WebSocket || socket.finished {
            return;
        }
        if socket.carries && self.link == Link::Socket(slot) {
            while socket.pieces.len() < ROOM
                && let Some(delivery) = self.session.pop(Carrier::WebSocket)
            {
                socket.pieces.push_back(Piece::Delivery(delivery));
            }
        }
        socket.pieces.extend(socket.replies.drain(..).map(Piece::Reply));
        let count = count.min(socket.pieces.len());
        wire.extend(socket.pieces.drain(..count).map(|piece| match piece {
            Piece::Delivery(delivery) => Item::Message(number(&delivery)),
            Piece::Reply(item) => item,
        }));
    }

    /// So much arrives of what was written; a response only as a whole.
    pub(super) fn arrive(&mut self, slot: usize, count: usize) {
        let Connection { carrier, wire, dead, .. } = &mut self.connections[slot];
        if *dead {
            return;
        }
        let whole = *carrier != Carrier::WebSocket;
        let count = if whole { wire.len() } else { count.min(wire.len()) };
        for item in wire.drain(..count) {
            let ends = whole && matches!(item, Item::Reply(..));
            self.client.receive(slot, item);
            if ends {
                self.client.response(slot);
            }
        }
    }

    /// The client loses this connection, which the server does not see yet.
    pub(super) fn cut(&mut self, slot: usize) {
        if !self.connections[slot].dead {
            self.connections[slot].dead = true;
            self.client.cut(slot, std::iter::empty());
        }
    }

    /// The connection ends on both sides, after the client has read what is there, if it still reads. A new one takes
    /// its place.
    pub(super) fn close(&mut self, slot: usize) {
        self.arrive(slot, usize::MAX);
        let connection = &mut self.connections[slot];
        let wire = std::mem::take(&mut connection.wire);
        let (mut socket, exchange) = (std::mem::take(&mut connection.socket), connection.exchange.take());
        connection.dead = false;
        self.client.cut(slot, wire.into_iter());
        if let Some(exchange) = exchange {
            if let Some((ticket, _)) = exchange.hold {
                self.release(ticket);
            }
            self.end_batch(&exchange);
        }
        let unsent = socket.finish();
        if socket.carries {
            self.session.put_back(unsent);
            if let Some(ticket) = socket.remembered {
                self.session.release(ticket, self.now);
            }
            if self.link == Link::Socket(slot) {
                self.link = Link::None;
            }
        }
    }

    /// Whoever is dead is noticed; all that can go out does, and all that is on its way arrives.
    pub(super) fn settle(&mut self) {
        for slot in self.slots().chain(self.slots()) {
            if self.connections[slot].dead {
                self.close(slot);
            }
            self.run(slot);
            while !self.connections[slot].socket.replies.is_empty() || !self.connections[slot].socket.pieces.is_empty()
            {
                self.write(slot, usize::MAX);
            }
            self.write(slot, usize::MAX);
            self.arrive(slot, usize::MAX);
        }
    }
}
