//! Replay: clients read on from a position, and those who fell behind catch up, from the mapping's ring or the broker's log.
//!
//! Each replay mapping has one [`Replay`] beside its feed. A subscription begins *behind*: it is recorded with its session,
//! but the feed does not reach it. It catches up (`scan.rs`) and joins (`catch_up.rs`): in one step for the feed it takes
//! from the ring what is missing and is reached from then on. A session whose queue is full goes behind again and reads
//! on at its own speed.

mod catch_up;
mod request;
mod resolve;
mod ring;
mod scan;
mod sub;

pub(crate) use request::{Asked, Invalid, asked};
pub(crate) use resolve::NoStart;
pub(crate) use sub::{Sub, Subs};

use crate::egress::{Message, Reader};
use crate::mapping::{self, Table};
use crate::observe::Observer;
use bayeux::channel::ChannelName;
use bayeux::session::EndReason;
use bayeux_server::{Handed, LiveSession, Server};
use catch_up::Join;
use connector::{Connector, Cursor, Inbound, Place, Position, Ready, Start, TopicFilter};
use parking_lot::Mutex;
use ring::{Limits, Ring};
use scan::Scanner;
use std::sync::{Arc, OnceLock};
use sub::State;

/// What the ring of a mapping keeps: enough for those who come back soon.
const RING: Limits = Limits { messages: 10_000, bytes: 16 << 20 };

/// The replay of one mapping.
pub(crate) struct Replay {
    table: Arc<Table>,
    mapping: usize,
    bounds: mapping::Replay,
    /// A fixed partition: a number says it all, although the topic may have others.
    partition: Option<i32>,
    filter: TopicFilter,
    connector: Arc<dyn Connector>,
    server: Arc<OnceLock<Server>>,
    observer: Arc<dyn Observer>,
    subs: Arc<Subs>,
    live: Mutex<Option<Live>>,
    scanner: Scanner,
    resolver: resolve::Resolver,
}

/// The feed, as far as it has read.
struct Live {
    ring: Ring<Message>,
    sole: bool,
}

impl Replay {
    /// The replay of that mapping; `None` where its clients may not read back.
    pub(crate) fn new(
        table: &Arc<Table>,
        mapping: usize,
        connector: &Arc<dyn Connector>,
        server: &Arc<OnceLock<Server>>,
        observer: &Arc<dyn Observer>,
        subs: &Arc<Subs>,
    ) -> Option<Arc<Self>> {
        let compiled = table.get(mapping)?;
        let spec = compiled.spec();
        Some(Arc::new(Replay {
            table: Arc::clone(table),
            mapping,
            bounds: spec.replay?,
            partition: spec.partition,
            filter: compiled.filter().clone(),
            connector: Arc::clone(connector),
            server: Arc::clone(server),
            observer: Arc::clone(observer),
            subs: Arc::clone(subs),
            live: Mutex::default(),
            scanner: Scanner::default(),
            resolver: resolve::Resolver::default(),
        }))
    }

    /// What makes messages of this mapping's records.
    pub(crate) fn reader(self: &Arc<Self>, server: &Server) -> Reader {
        Reader::new(
            Arc::clone(&self.table),
            self.mapping,
            server.clone(),
            Arc::clone(&self.observer),
            Some(Arc::clone(self)),
        )
    }

    /// How far the feed has read; `None` before it has begun.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.live.lock().as_ref().map(|live| live.ring.cursor().clone())
    }

    /// A cursor as clients have it.
    pub(crate) fn position(&self, cursor: &Cursor) -> Position {
        let number = cursor
            .iter()
            .next()
            .filter(|_| self.is_sole() && cursor.len() == 1)
            .map(|(_, seen)| Position::Number(seen.n));
        let fixed = cursor.iter().find(|(log, _)| Some(log.partition) == self.partition);
        number.or(fixed.map(|(_, seen)| Position::Number(seen.n))).unwrap_or_else(|| cursor.position())
    }

    /// One log is all there can be.
    fn is_sole(&self) -> bool {
        self.live.lock().as_ref().is_some_and(|live| live.sole)
    }

    /// A reader at that cursor finds all it lacks in the ring.
    fn ring_joins(&self, cursor: &Cursor) -> bool {
        self.live.lock().as_ref().is_some_and(|live| live.ring.joins(cursor))
    }

    /// A place as clients have it.
    pub(crate) fn position_of(&self, place: &Place) -> Position {
        if self.partition.is_some() { Position::Number(place.n) } else { place.position() }
    }

    /// Where the feed is to begin: where it stopped, so that nothing is missed; the first time with what is new.
    pub(crate) fn start(&self) -> Start {
        match self.cursor() {
            Some(cursor) => Start::After { cursor, others: None },
            None => Start::Live,
        }
    }

    /// The feed begins here.
    pub(crate) fn begin(&self, ready: Ready) {
        self.live.lock().get_or_insert_with(|| Live { ring: Ring::new(RING, ready.cursor), sole: ready.sole });
        self.scanner.look_again();
    }

    /// The feed is closed, as nobody holds it. When it opens again it begins with what is new then, not with what came
    /// meanwhile.
    pub(crate) fn closed(&self) {
        self.live.lock().take();
    }

    /// What the feed had read is gone from the log: what was between is lost, and whoever relies on positions must be
    /// told. Those sessions end; their clients come back with their position, and learn that it is gone.
    pub(crate) fn lost(&self) {
        self.live.lock().take();
        let Some(server) = self.server.get() else { return };
        for session in self.subs.sessions_of(self) {
            server.end_session(&session, EndReason::Gap);
        }
    }

    /// The feed has read up to here.
    pub(crate) fn reached(&self, place: &Place) {
        if let Some(live) = &mut *self.live.lock() {
            live.ring.reached(place);
        }
        self.scanner.look_again();
    }

    /// The feed has read a record that became a message, or none.
    pub(crate) fn fed(self: &Arc<Self>, server: &Server, record: &Inbound, message: Option<Message>) {
        let Some(place) = record.place.clone() else { return };
        let mut live = self.live.lock();
        let Some(live) = &mut *live else { return };
        let Some(message) = message else { return live.ring.reached(&place) };
        for session in server.publish_shared(message.publisher.as_deref(), &message.channel, &message.delivery) {
            if !self.falls_behind(server, &session, &message.channel, live.ring.cursor()) {
                server.end_session(&session, EndReason::Overflow);
            }
        }
        let weight = message.delivery.weight();
        live.ring.push(place, message, weight);
        self.scanner.look_again();
    }

    /// The session's queue is full: it reads on at its own speed, from what it was given last. False when it has nothing to
    /// read on with.
    fn falls_behind(
        self: &Arc<Self>,
        server: &Server,
        session: &Arc<LiveSession>,
        channel: &ChannelName,
        cursor: &Cursor,
    ) -> bool {
        let mut behind = false;
        for sub in self.subs.reaching(session.key(), channel) {
            let mut state = sub.state();
            if matches!(*state, State::Live) {
                server.unreach(session, sub.channel());
                *state = State::Behind(catch_up::CatchUp::new(cursor.clone()));
                drop(state);
                self.scanner.add(self, sub);
                behind = true;
            }
        }
        behind
    }

    /// The subscription is made, and its reply is on its way: it catches up and joins.
    pub(crate) fn begins(self: &Arc<Self>, sub: Arc<Sub>) {
        if self.join(&sub) != Join::Live {
            self.scanner.add(self, sub);
        }
    }

    /// Gives a subscription what the ring has for it, and makes it live if that is all.
    fn join(&self, sub: &Arc<Sub>) -> Join {
        let (Some(session), Some(server)) = (sub.session(), self.server.get()) else { return Join::Live };
        let others = self.subs.others(sub);
        let mut live = self.live.lock();
        let Some(live) = &mut *live else { return Join::Behind };
        let mut state = sub.state();
        let State::Behind(catch_up) = &mut *state else { return Join::Live };
        let joined = catch_up.join(&live.ring, |place, message| {
            !sub.channel().reaches(message.channel.as_str())
                || others.gave(&message.channel, place)
                || session.hand(&message.delivery) != Handed::Full
        });
        if joined == Join::Live {
            server.reach(&session, sub.channel());
            *state = State::Live;
        }
        joined
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "replay of {:?}", self.filter)
    }
}
