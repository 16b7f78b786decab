//! Which filters are wanted and by whom, and who gets an incoming message.
//!
//! All subscriptions with the same filter in MQTT's notation share one at the broker. Each SUBSCRIBE carries a subscription
//! identifier of its own, and the broker names it in every copy that it sends for that filter. So a copy goes exactly to
//! those whose filter it was sent for, however filters overlap; and as a later SUBSCRIBE for the same filter has a later
//! identifier, the retained messages that it brings go to those who came with it, not again to all.

use crate::inflow::Ticket;
use crate::parked::Parked;
use crate::reason;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Inbound, Ready, SubscribeError, TopicFilter};
use rumqttc::v5::mqttbytes::v5::{Publish, RetainForwardRule, SubscribeReasonCode};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Identifiers are numbers from 1 to this.
const MAX_ID: u32 = 268_435_455;

/// How many identifiers of one filter are remembered for copies that are still on their way.
const IDS_PER_FILTER: usize = 1024;

/// How many messages at QoS 0, which no acknowledgement holds back, may wait for one reader; more are dropped and counted.
pub(crate) const QOS0_ROOM: usize = 1024;

/// A message on its way to a reader.
pub(crate) struct Parcel {
    pub(crate) inbound: Inbound,
    pub(crate) ticket: Option<Arc<Ticket>>,
}

/// One subscriber.
pub(crate) struct Subscriber {
    pub(crate) filter: TopicFilter,
    pub(crate) ready: oneshot::Sender<Result<Ready, SubscribeError>>,
    pub(crate) to: mpsc::Sender<Parcel>,
    /// Stops the task that reads from `to`.
    pub(crate) stop: CancellationToken,
}

/// What to ask of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Subscribe { native: Arc<str>, id: Option<u32>, making: u64, retained: RetainForwardRule },
    Unsubscribe { native: Arc<str> },
}

struct Member {
    key: u64,
    filter: TopicFilter,
    to: mpsc::Sender<Parcel>,
    stop: CancellationToken,
    /// Until the broker has granted it.
    ready: Option<oneshot::Sender<Result<Ready, SubscribeError>>>,
    /// It gets what was sent for this making of the SUBSCRIBE and later ones.
    from: u64,
    /// It gets the retained messages of this one.
    retained: u64,
    /// These may repeat some that it got before.
    again: bool,
    burst: Burst,
}

/// Messages at QoS 0 dropped because one reader is too slow. They are logged when it begins and when the reader has caught
/// up, not at each turn between the two.
#[derive(Default)]
pub(crate) struct Burst {
    dropped: u64,
}

impl Burst {
    /// True: this is the first.
    pub(crate) fn begins(&mut self) -> bool {
        self.dropped += 1;
        self.dropped == 1
    }

    /// With `room` of all places for messages at QoS 0 free: how many were dropped, if this ends a burst.
    pub(crate) fn ends(&mut self, room: usize) -> Option<u64> {
        (self.dropped > 0 && room >= QOS0_ROOM / 2).then(|| std::mem::take(&mut self.dropped))
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(dropped = self.dropped, "a reader that was too slow has left");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Not,
    Sent,
    Granted,
    Refused,
}

/// A filter at the broker.
struct Shared {
    members: Vec<Member>,
    /// The newest SUBSCRIBE for it: its number, and its identifier.
    making: u64,
    id: u32,
    /// All its identifiers, oldest first.
    ids: VecDeque<u32>,
    asked: Asked,
    /// The broker's session has it, so that a further SUBSCRIBE need not bring retained messages.
    held: bool,
    why_refused: String,
}

/// The book of it.
pub(crate) struct Table {
    filters: HashMap<Arc<str>, Shared>,
    /// By identifier: the filter, and which making.
    routes: HashMap<u32, (Arc<str>, u64)>,
    todo: VecDeque<Arc<str>>,
    /// Filters that the broker's session may have and nobody wants.
    leaving: BTreeSet<Arc<str>>,
    /// The identifier given out last.
    last_id: u32,
    makings: u64,
    keys: u64,
    /// The broker has no subscription identifiers.
    by_topic: bool,
    closed: bool,
    /// What waits for readers whose queue is full.
    pub(crate) parked: Parked,
    /// Messages that had to be dropped.
    pub(crate) dropped: u64,
}

impl Table {
    /// `last_id`: as if identifiers up to it had been given out. `backlog`: messages that may wait for one reader whose
    /// queue is full.
    pub(crate) fn new(last_id: u32, backlog: usize) -> Table {
        Table {
            filters: HashMap::new(),
            routes: HashMap::new(),
            todo: VecDeque::new(),
            leaving: BTreeSet::new(),
            last_id,
            makings: 0,
            keys: 0,
            by_topic: false,
            closed: false,
            parked: Parked::new(backlog),
            dropped: 0,
        }
    }

    /// A new subscriber to a filter in MQTT's notation: the key to remove it by.
    pub(crate) fn add(&mut self, native: &str, new: Subscriber) -> Result<u64, SubscribeError> {
        if self.closed {
            return Err(SubscribeError::Closed);
        }
        self.keys += 1;
        let key = self.keys;
        let native: Arc<str> = native.into();
        self.leaving.remove(&native);
        // What is still to be asked for the first time can be shared; all else would bring no retained messages.
        if self.filters.get(&native).is_none_or(|shared| shared.asked != Asked::Not || shared.held) {
            self.make(&native);
        }
        if let Some(shared) = self.filters.get_mut(&native) {
            shared.members.push(Member {
                key,
                filter: new.filter,
                to: new.to,
                stop: new.stop,
                ready: Some(new.ready),
                from: shared.making,
                retained: shared.making,
                again: false,
                burst: Burst::default(),
            });
        }
        Ok(key)
    }

    /// A subscriber wants what is retained once more: a new SUBSCRIBE brings it, to this one alone.
    pub(crate) fn ask_retained(&mut self, key: u64) {
        let of = |shared: &Shared| shared.members.iter().any(|member| member.key == key);
        let Some(native) = self.filters.iter().find(|(_, shared)| of(shared)).map(|(native, _)| Arc::clone(native))
        else {
            return;
        };
        let waits = self.filters.get(&native).is_some_and(|shared| shared.asked == Asked::Not && !shared.held);
        if waits {
            return; // the SUBSCRIBE that is yet to be sent brings it
        }
        let making = self.make(&native);
        let members = self.filters.get_mut(&native).map(|shared| shared.members.iter_mut()).into_iter().flatten();
        for member in members.filter(|member| member.key == key) {
            member.retained = making;
            member.again = false;
        }
    }

    /// A new making of the SUBSCRIBE for a filter, to be sent.
    fn make(&mut self, native: &Arc<str>) -> u64 {
        let id = loop {
            self.last_id = if self.last_id >= MAX_ID { 1 } else { self.last_id + 1 };
            if !self.routes.contains_key(&self.last_id) {
                break self.last_id;
            }
        };
        self.makings += 1;
        let making = self.makings;
        self.routes.insert(id, (Arc::clone(native), making));
        let shared = self.filters.entry(Arc::clone(native)).or_insert_with(|| Shared {
            members: Vec::new(),
            making,
            id,
            ids: VecDeque::new(),
            asked: Asked::Not,
            held: false,
            why_refused: String::new(),
        });
        shared.making = making;
        shared.id = id;
        shared.asked = Asked::Not;
        shared.held = false;
        shared.ids.push_back(id);
        if shared.ids.len() > IDS_PER_FILTER
            && let Some(old) = shared.ids.pop_front()
        {
            self.routes.remove(&old);
        }
        self.todo.push_back(Arc::clone(native));
        making
    }

    /// A subscriber that left.
    pub(crate) fn remove(&mut self, key: u64) {
        let found = self.filters.iter_mut().find_map(|(native, shared)| {
            let at = shared.members.iter().position(|member| member.key == key)?;
            let member = shared.members.remove(at);
            member.stop.cancel();
            shared.members.is_empty().then(|| Arc::clone(native))
        });
        if let Some(native) = found {
            self.forget(&native);
        }
    }

    /// Nobody wants the filter any more.
    fn forget(&mut self, native: &Arc<str>) {
        let Some(shared) = self.filters.remove(native) else { return };
        for id in &shared.ids {
            self.routes.remove(id);
        }
        let sent = matches!(shared.asked, Asked::Sent | Asked::Granted);
        if shared.held || sent || shared.ids.len() > 1 {
            self.leaving.insert(Arc::clone(native));
            self.todo.push_back(Arc::clone(native));
        }
    }

    /// A connection begins. Every filter is asked for again, whatever the broker says to remember.
    pub(crate) fn connected(&mut self, session_present: bool, has_ids: bool) {
        self.by_topic = !has_ids;
        self.todo.clear();
        if session_present {
            self.todo.extend(self.leaving.iter().cloned());
        } else {
            self.leaving.clear();
        }
        let natives: Vec<_> = self.filters.keys().cloned().collect();
        for native in natives {
            let keeps = self.filters.get(&native).is_some_and(|shared| session_present && shared.held);
            if keeps {
                // The same making: only what the broker has already forgotten is made up for.
                if let Some(shared) = self.filters.get_mut(&native) {
                    shared.asked = Asked::Not;
                }
                self.todo.push_back(native);
                continue;
            }
            let was_asked = self.filters.get(&native).is_some_and(|shared| shared.asked != Asked::Not);
            let making = self.make(&native);
            for member in self.filters.get_mut(&native).map(|s| s.members.iter_mut()).into_iter().flatten() {
                let waits = member.ready.is_some();
                if waits {
                    member.from = making;
                }
                // After a lost session what is retained may have changed: all are told again.
                if waits || !session_present {
                    member.retained = making;
                    member.again |= was_asked || !waits;
                }
            }
        }
    }

    /// What to ask of the broker next.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        while let Some(native) = self.todo.pop_front() {
            if let Some(shared) = self.filters.get_mut(&native) {
                if shared.asked == Asked::Not {
                    shared.asked = Asked::Sent;
                    let retained = if shared.held {
                        RetainForwardRule::OnNewSubscribe
                    } else {
                        RetainForwardRule::OnEverySubscribe
                    };
                    let id = (!self.by_topic).then_some(shared.id);
                    return Some(Ask::Subscribe { native, id, making: shared.making, retained });
                }
            } else if self.leaving.contains(&native) {
                return Some(Ask::Unsubscribe { native });
            }
        }
        None
    }

    /// The broker's answer to a SUBSCRIBE.
    pub(crate) fn answered(&mut self, native: &Arc<str>, making: u64, code: SubscribeReasonCode) {
        let Some(shared) = self.filters.get_mut(native) else { return };
        let newest = shared.making == making;
        if code == SubscribeReasonCode::SubscriptionIdNotSupported && !self.by_topic {
            self.by_topic = true;
            shared.asked = Asked::Not;
            self.todo.push_back(Arc::clone(native));
            return;
        }
        match reason::of_suback(code, native) {
            Ok(()) => {
                if newest {
                    shared.asked = Asked::Granted;
                    shared.held = true;
                }
                for member in shared.members.iter_mut().filter(|member| member.from <= making) {
                    if let Some(ready) = member.ready.take() {
                        let _ = ready.send(Ok(Ready::default()));
                    }
                }
            }
            Err(error) => {
                if newest {
                    shared.asked = Asked::Refused;
                    shared.held = false;
                    shared.why_refused = error.to_string();
                }
                // Those who were never granted it are told and leave; the others go on waiting for it.
                shared.members.retain_mut(|member| {
                    if member.from > making {
                        return true;
                    }
                    let Some(ready) = member.ready.take() else { return true };
                    let _ = ready.send(Err(error.clone()));
                    member.stop.cancel();
                    false
                });
                if shared.members.is_empty() {
                    self.forget(native);
                }
            }
        }
    }

    /// The broker has dropped a filter.
    pub(crate) fn unsubscribed(&mut self, native: &Arc<str>) {
        self.leaving.remove(native);
    }

    /// Why one of the running subscriptions does not work, if one does not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.filters.values().find(|shared| shared.asked == Asked::Refused).map(|shared| shared.why_refused.clone())
    }

    /// Asks again for what was refused.
    pub(crate) fn retry_refused(&mut self) {
        for (native, shared) in self.filters.iter_mut().filter(|(_, shared)| shared.asked == Asked::Refused) {
            shared.asked = Asked::Not;
            self.todo.push_back(Arc::clone(native));
        }
    }

    /// Lets go of all filters at the broker, so that it does not keep messages for nobody.
    pub(crate) fn leave_all(&mut self) {
        self.closed = true;
        let natives: Vec<_> = self.filters.keys().cloned().collect();
        for native in natives {
            for member in self.filters.get(&native).map(|s| s.members.iter()).into_iter().flatten() {
                member.stop.cancel();
            }
            self.forget(&native);
        }
    }

    /// Takes no more subscribers.
    pub(crate) fn shut(&mut self) {
        self.closed = true;
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.parked.clear();
        for member in self.filters.drain().flat_map(|(_, shared)| shared.members) {
            member.stop.cancel();
        }
    }

    /// Hands a message to all who are to get it; each holds the ticket until its reader has taken the message.
    pub(crate) fn dispatch(&mut self, publish: &Publish, ticket: Option<Arc<Ticket>>) {
        let Ok(topic) = ByteString::try_from(publish.topic.clone()) else {
            self.dropped += 1;
            tracing::warn!(topic = ?publish.topic, "dropped a message whose topic is not UTF-8");
            return;
        };
        let mut delivery = Delivery { inbound: inbound(publish, topic), ticket, dropped: 0, parked: &mut self.parked };
        let ids: &[usize] = publish.properties.as_ref().map_or(&[], |p| &p.subscription_identifiers);
        // A broker that has identifiers should name one, yet a message without any is no less to be delivered.
        if self.by_topic || ids.is_empty() {
            for shared in self.filters.values_mut() {
                for member in &mut shared.members {
                    delivery.offer(member, publish.retain && (member.again || member.retained != shared.making));
                }
            }
            self.dropped += delivery.dropped;
            return;
        }
        for id in ids.iter().filter_map(|id| u32::try_from(*id).ok()) {
            // One that is not known was for a filter that nobody wants any more.
            let Some((native, making)) = self.routes.get(&id) else { continue };
            for member in self.filters.get_mut(native).map(|s| s.members.iter_mut()).into_iter().flatten() {
                let wanted = if publish.retain { member.retained == *making } else { member.from <= *making };
                if wanted {
                    delivery.offer(member, publish.retain && member.again);
                }
            }
        }
        self.dropped += delivery.dropped;
    }
}

struct Delivery<'a> {
    inbound: Inbound,
    ticket: Option<Arc<Ticket>>,
    dropped: u64,
    parked: &'a mut Parked,
}

impl Delivery<'_> {
    /// Hands it to one whose filter it fits: the broker's filter may be a little wider. `unsure`: it may have had it before.
    fn offer(&mut self, member: &mut Member, unsure: bool) {
        if !member.filter.matches(&self.inbound.topic, &crate::SYNTAX) {
            return;
        }
        let mut inbound = self.inbound.clone();
        inbound.redelivered |= unsure;
        // A message at QoS 1 mostly finds room: the broker should have no more under way than the queue has places for
        // them. One at QoS 0 must leave these places free.
        let places = member.to.max_capacity() - QOS0_ROOM;
        let waits = self.parked.holds(member.key);
        let sent = self.ticket.is_some() || !waits && member.to.capacity() > places;
        if sent {
            let parcel = Parcel { inbound, ticket: self.ticket.clone() };
            if waits {
                self.parked.add(member.key, &member.to, parcel);
            } else if let Err(mpsc::error::TrySendError::Full(parcel)) = member.to.try_send(parcel) {
                self.parked.add(member.key, &member.to, parcel);
            }
        }
        if !sent {
            self.dropped += 1;
            if member.burst.begins() {
                tracing::warn!(topic = %self.inbound.topic, "a reader is too slow: messages are dropped");
            }
        } else if let Some(dropped) = member.burst.ends(member.to.capacity().saturating_sub(places)) {
            tracing::warn!(topic = %self.inbound.topic, dropped, "a reader that was too slow has caught up");
        }
    }
}

fn inbound(publish: &Publish, topic: ByteString) -> Inbound {
    let headers = publish.properties.as_ref().map_or_else(Vec::new, |properties| {
        let pairs = properties.user_properties.iter();
        pairs.map(|(name, value)| (name.as_str().into(), Bytes::copy_from_slice(value.as_bytes()))).collect()
    });
    Inbound {
        topic,
        partition: None,
        key: None,
        payload: Some(publish.payload.clone()),
        headers,
        timestamp: None,
        place: None,
        redelivered: publish.dup,
        retained: publish.retain,
    }
}
