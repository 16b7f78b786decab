//! One connection, from CONNACK to its end.
//!
//! Between two polls of the event loop the link hands it as many requests as it may ([`Live::fill`]). While any of these
//! is not yet written the poll is not interrupted, because an interrupted write loses its packet; when all are written, the
//! poll only waits, and new work interrupts it. Each request is confirmed by an event, those of one kind in the same order,
//! which tells the packet id it got.

use crate::ids::PacketIds;
use crate::inflow::Arrival;
use crate::link::{AHEAD, Limits, Link};
use crate::parked::STILL;
use crate::publish::Entry;
use crate::reason;
use crate::subscribe::Ask;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, PubAck, Publish, SubAck, SubscribeProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Request};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// After so much silence the broker is asked whether it is there.
const QUIET: Duration = Duration::from_secs(1);

/// If it then says nothing for so long, it is not. Both together stay below five seconds.
const SILENT: Duration = Duration::from_secs(3);

/// Refused subscriptions that once worked are asked for again so often.
const RETRY_REFUSED: Duration = Duration::from_secs(5);

/// The shortest that the event loop takes.
pub(crate) const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How a connection ended.
pub(crate) enum Over {
    /// In order, because the connector is being closed.
    Closed,
    /// The broker stopped answering.
    Silent,
    /// The event loop says why.
    Lost(Box<ConnectionError>),
}

/// A request handed to the event loop and not yet written, with the packet id that it should get.
enum Handed {
    Ack,
    Ask(Ask, u16),
    Publish(Entry, u16),
    Goodbye,
}

pub(crate) struct Live<'a> {
    link: &'a mut Link,
    client: AsyncClient,
    event_loop: EventLoop,
    limits: Limits,
    ids: PacketIds,
    handed: VecDeque<Handed>,
    /// Written and not acknowledged, by packet id.
    publishes: HashMap<u16, Entry>,
    asks: HashMap<u16, Ask>,
    /// When the broker last said something, and when it was asked to.
    heard: Instant,
    pinged: Option<Instant>,
    /// When the event loop last got something done.
    moved: Instant,
    retry_refused: Option<Instant>,
    leaving: bool,
    /// What is reported of a reader that takes no messages, or when to.
    complaint: Option<String>,
    complain: Option<Instant>,
}

impl<'a> Live<'a> {
    pub(crate) fn new(link: &'a mut Link, client: AsyncClient, mut event_loop: EventLoop, connected: &ConnAck) -> Self {
        // A broker may ask for another keep-alive; a very short one would make the event loop ping without end, and ours
        // is short enough anyway.
        if event_loop.options.keep_alive() < SHORTEST_KEEP_ALIVE {
            event_loop.options.set_keep_alive(SHORTEST_KEEP_ALIVE);
        }
        let limits = Limits::of(connected);
        link.inflow.connected(connected.session_present);
        link.shared.table.lock().connected(connected.session_present, limits.has_ids);
        link.shared.health.up();
        tracing::info!(session_present = connected.session_present, "connected to {}", link.shared.broker.lock());
        let now = Instant::now();
        Live {
            link,
            client,
            event_loop,
            ids: PacketIds::up_to(limits.receive_maximum),
            limits,
            handed: VecDeque::new(),
            publishes: HashMap::new(),
            asks: HashMap::new(),
            heard: now,
            pinged: None,
            moved: now,
            retry_refused: None,
            leaving: false,
            complaint: None,
            complain: None,
        }
    }

    pub(crate) async fn serve(&mut self) -> Over {
        let over = self.turns().await;
        // What was read before the end is as good as ever: acknowledgements that came need no second sending, and a
        // message at QoS 0 comes only once.
        for event in std::mem::take(&mut self.event_loop.state.events) {
            self.moved = Instant::now();
            if let Some(closed) = self.take(event) {
                return closed;
            }
        }
        over
    }

    async fn turns(&mut self) -> Over {
        loop {
            let now = Instant::now();
            let full = self.unpark(now);
            if let Some(over) = self.check(now) {
                return over;
            }
            if full {
                // The broker is not read meanwhile: TCP tells it to wait, and if it loses patience, what was not
                // acknowledged comes again by a new connection.
                let alarm = tokio::time::sleep_until(self.alarm().into());
                tokio::select! {
                    () = self.link.shared.work.notified() => {}
                    () = alarm => {}
                }
                continue;
            }
            self.fill();
            // Whether the broker answers is judged here and not by the event loop, which would take any ping of its own
            // that meets one of ours for a dead connection.
            self.event_loop.state.await_pingresp = false;
            let event = if self.handed.is_empty() {
                let alarm = tokio::time::sleep_until(self.alarm().into());
                tokio::select! {
                    event = self.event_loop.poll() => event,
                    () = self.link.shared.work.notified() => continue,
                    () = alarm => continue,
                }
            } else {
                let give_up = tokio::time::sleep_until(self.give_up().into());
                tokio::select! {
                    event = self.event_loop.poll() => event,
                    () = give_up => return self.check(Instant::now()).unwrap_or(Over::Silent),
                }
            };
            self.moved = Instant::now();
            let event = match event {
                Ok(event) => event,
                Err(error) => return Over::Lost(Box::new(error)),
            };
            if let Some(over) = self.take(event) {
                return over;
            }
        }
    }

    /// Gives readers whose queue was full what they have room for now. True: no more may be read before they take some.
    fn unpark(&mut self, now: Instant) -> bool {
        let (full, since, complaint) = {
            let parked = &mut self.link.shared.table.lock().parked;
            parked.retry(now);
            (parked.is_full(), parked.since(), parked.complaint(now))
        };
        self.complain = since.map(|since| since + STILL).filter(|at| *at > now);
        if complaint != self.complaint {
            self.complaint = complaint;
            self.tell_health();
        }
        if full {
            // The broker's silence is our own.
            self.heard = now;
            self.moved = now;
            self.pinged = None;
        }
        full
    }

    /// Connected, but does all work?
    fn tell_health(&self) {
        let refused = self.link.shared.table.lock().refused();
        match refused.or_else(|| self.complaint.clone()) {
            Some(why) => self.link.shared.health.degraded(why),
            None => self.link.shared.health.up(),
        }
    }

    /// When to look at the clock again.
    fn alarm(&self) -> Instant {
        let answer = match self.pinged {
            Some(pinged) => pinged + SILENT,
            None => self.heard + QUIET,
        };
        let closing = *self.link.shared.closing.borrow();
        [self.retry_refused, self.complain, closing].into_iter().flatten().fold(answer, Instant::min)
    }

    /// When to give up a write that does not end.
    fn give_up(&self) -> Instant {
        let stuck = self.pinged.unwrap_or(self.moved) + SILENT;
        self.link.shared.closing.borrow().map_or(stuck, |closing| stuck.min(closing))
    }

    /// What the clock alone brings about.
    fn check(&mut self, now: Instant) -> Option<Over> {
        if self.link.shared.closing.borrow().is_some_and(|by| by <= now) {
            return Some(Over::Closed);
        }
        match self.pinged {
            Some(pinged) if pinged + SILENT <= now => return Some(Over::Silent),
            None if self.heard + QUIET <= now => {
                self.pinged = Some(now);
                self.event_loop.pending.push_back(Request::PingReq);
            }
            _ => {}
        }
        if self.retry_refused.is_some_and(|at| at <= now) {
            self.retry_refused = None;
            let refused = {
                let mut table = self.link.shared.table.lock();
                let refused = table.refused().is_some();
                table.retry_refused();
                refused
            };
            if !refused {
                self.tell_health(); // those who wanted it have left
            }
        }
        None
    }

    /// Hands the event loop what it may have: acknowledgements first, then filters, then records.
    fn fill(&mut self) {
        while self.handed.len() < AHEAD && self.hand_one() {}
    }

    /// False: nothing more can be handed over now.
    fn hand_one(&mut self) -> bool {
        if let Some(id) = self.link.inflow.next() {
            if self.limits.receive_maximum == 1 {
                // The one publish that may be under way would hold it back in the event loop's queue; this one has no
                // such rule, but it has a price of a millisecond or so each.
                self.event_loop.pending.push_back(Request::PubAck(PubAck::new(id, None)));
                return self.push(Handed::Ack);
            }
            let ack = Publish { pkid: id, qos: QoS::AtLeastOnce, ..Publish::default() };
            return self.client.try_ack(&ack).is_ok() && self.push(Handed::Ack);
        }
        let Some(id) = self.ids.peek() else { return false };
        let ask = self.link.shared.table.lock().next();
        if let Some(ask) = ask {
            let sent = match &ask {
                Ask::Subscribe { native, id, retained, .. } => {
                    let mut filter = Filter::new(native.as_ref(), QoS::AtLeastOnce);
                    filter.retain_forward_rule = retained.clone();
                    let properties = SubscribeProperties { id: id.map(|id| id as usize), user_properties: Vec::new() };
                    self.client.try_subscribe_many_with_properties([filter], properties)
                }
                Ask::Unsubscribe { native } => self.client.try_unsubscribe(native.as_ref()),
            };
            self.ids.take(id);
            return sent.is_ok() && self.push(Handed::Ask(ask, id));
        }
        if self.window_is_full() {
            return false;
        }
        let max_packet = self.limits.max_packet.map_or(usize::MAX, |bytes| bytes as usize);
        let Some(entry) = self.link.shared.line.next(max_packet) else { return self.leave() };
        let (topic, payload) = (entry.topic.to_string(), entry.payload.clone());
        let sent = match entry.properties() {
            None => self.client.try_publish(topic, QoS::AtLeastOnce, false, payload),
            Some(properties) => {
                self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            }
        };
        if sent.is_err() {
            // Not reached: the topic was checked, and what is handed over is counted.
            self.link.shared.line.put_back(vec![entry]);
            return false;
        }
        self.ids.take(id);
        self.push(Handed::Publish(entry, id))
    }

    fn push(&mut self, handed: Handed) -> bool {
        self.handed.push_back(handed);
        true
    }

    /// One less than the broker allows: with all it allows under way, the event loop would hold acknowledgements and
    /// filters back too. If it allows but one, that one goes, acknowledgements take a way around, and filters wait.
    fn window_is_full(&self) -> bool {
        let under_way = self.publishes.len() + self.handed.iter().filter(|h| matches!(h, Handed::Publish(..))).count();
        under_way >= usize::from(self.limits.receive_maximum.saturating_sub(1).max(1))
    }

    /// Closing, step by step, once no record waits: all acknowledged, all filters let go, goodbye.
    fn leave(&mut self) -> bool {
        let idle = self.publishes.is_empty() && self.handed.iter().all(|h| !matches!(h, Handed::Publish(..)));
        if self.link.shared.closing.borrow().is_none() || !idle {
            return false;
        }
        if !self.leaving {
            self.leaving = true;
            self.link.shared.table.lock().leave_all();
            return true;
        }
        let said = self.handed.iter().any(|h| matches!(h, Handed::Goodbye));
        !said && self.client.try_disconnect().is_ok() && self.push(Handed::Goodbye)
    }

    /// What the event loop did or got.
    fn take(&mut self, event: Event) -> Option<Over> {
        match event {
            Event::Outgoing(outgoing) => return self.written(&outgoing),
            Event::Incoming(packet) => {
                self.heard = self.moved;
                self.pinged = None;
                match packet {
                    Packet::Publish(publish) => self.arrived(&publish),
                    Packet::PubAck(ack) => self.acknowledged(&ack),
                    Packet::SubAck(ack) => self.granted(&ack),
                    Packet::UnsubAck(ack) => {
                        self.ids.free(ack.pkid);
                        if let Some(Ask::Unsubscribe { native }) = self.asks.remove(&ack.pkid) {
                            self.link.shared.table.lock().unsubscribed(&native);
                        }
                    }
                    Packet::PingResp(_) => self.link.inflow.ponged(),
                    _ => {}
                }
            }
        }
        None
    }

    fn written(&mut self, outgoing: &Outgoing) -> Option<Over> {
        match *outgoing {
            Outgoing::PingReq => self.link.inflow.pinged(),
            // A packet id was still taken; the event loop tells again when it has sent the packet.
            Outgoing::AwaitAck(_) => {}
            Outgoing::PubAck(id) => {
                self.confirmed(|handed| matches!(handed, Handed::Ack));
                self.link.inflow.written(id);
            }
            Outgoing::Publish(id) => {
                if let Some(Handed::Publish(entry, expected)) = self.confirmed(|h| matches!(h, Handed::Publish(..))) {
                    self.ids.settle(expected, id);
                    self.publishes.insert(id, entry);
                }
            }
            Outgoing::Subscribe(id) | Outgoing::Unsubscribe(id) => {
                if let Some(Handed::Ask(ask, expected)) = self.confirmed(|h| matches!(h, Handed::Ask(..))) {
                    self.ids.settle(expected, id);
                    self.asks.insert(id, ask);
                }
            }
            // The event loop says it also of a broker's fault in the protocol; that is no end in order.
            Outgoing::Disconnect if self.leaving => return Some(Over::Closed),
            _ => {}
        }
        None
    }

    /// The oldest request of a kind is written: an acknowledgement may have overtaken others, within a kind none do.
    fn confirmed(&mut self, kind: impl Fn(&Handed) -> bool) -> Option<Handed> {
        self.handed.iter().position(kind).and_then(|at| self.handed.remove(at))
    }

    fn arrived(&mut self, publish: &Publish) {
        let ticket = match publish.qos {
            QoS::AtMostOnce => None,
            _ => match self.link.inflow.arrived(publish) {
                Arrival::Again => return,
                Arrival::New(ticket) => Some(ticket),
            },
        };
        self.link.shared.table.lock().dispatch(publish, ticket);
    }

    fn acknowledged(&mut self, ack: &PubAck) {
        self.ids.free(ack.pkid);
        if let Some(entry) = self.publishes.remove(&ack.pkid) {
            let answer = reason::of_puback(ack, &entry.topic, entry.resent).map(|()| None);
            entry.finish(answer);
        }
    }

    fn granted(&mut self, ack: &SubAck) {
        self.ids.free(ack.pkid);
        let Some(Ask::Subscribe { native, making, .. }) = self.asks.remove(&ack.pkid) else { return };
        let Some(code) = ack.return_codes.first() else { return };
        let refused = {
            let mut table = self.link.shared.table.lock();
            table.answered(&native, making, *code);
            table.refused().is_some()
        };
        if refused {
            self.retry_refused.get_or_insert(self.moved + RETRY_REFUSED);
        }
        self.tell_health();
    }

    /// The connection is over: what was not acknowledged goes back to the head of the line.
    pub(crate) fn give_back(self) {
        let handed = self.handed.into_iter().filter_map(|handed| match handed {
            Handed::Publish(entry, _) => Some(entry),
            _ => None,
        });
        self.link.shared.line.put_back(self.publishes.into_values().chain(handed).collect());
    }
}
