//! Reading the log for those who are too far behind for the ring: one reader of the broker for all of them.
//!
//! A pass begins at the place of the one who is farthest behind, and hands each record to those who still lack it. It
//! goes as fast as its readers take it: one whose queue is full leaves the pass, or holds it while it is alone.
//! Whoever comes while a pass runs takes part from where the pass is, or waits for the next one.

use super::sub::{Others, State, Sub};
use super::{Join, Replay};
use crate::egress::{Message, Reader as Records};
use bayeux::session::EndReason;
use bayeux_server::Handed;
use connector::{Cursor, Event, Place, Start, SubscribeError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, mpsc};

/// Records between the broker and the readers.
const BUFFER: usize = 512;

/// Who waits for the log.
#[derive(Default)]
pub(crate) struct Scanner {
    waiting: Mutex<Waiting>,
    /// Somebody came, has room again, or may be able to join.
    wake: Notify,
    /// Somebody is behind: the feed says when it moves.
    running: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    new: Vec<Arc<Sub>>,
    running: bool,
}

/// One who is behind.
struct Reader {
    sub: Arc<Sub>,
    others: Others,
    /// Its queue takes messages.
    room: Arc<AtomicBool>,
    /// It takes part in the pass that runs.
    active: bool,
}

impl Scanner {
    /// One more is behind.
    pub(crate) fn add(&self, replay: &Arc<Replay>, sub: Arc<Sub>) {
        let mut waiting = self.waiting.lock();
        waiting.new.push(sub);
        if !std::mem::replace(&mut waiting.running, true) {
            self.running.store(true, Ordering::Relaxed);
            tokio::spawn(run(Arc::clone(replay)));
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// The feed has moved, or began: somebody may be able to join.
    pub(crate) fn look_again(&self) {
        if self.running.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    fn take_new(&self) -> Vec<Arc<Sub>> {
        std::mem::take(&mut self.waiting.lock().new)
    }

    /// Nobody waits: the task may end.
    fn ends(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let ends = waiting.new.is_empty();
        if ends {
            waiting.running = false;
            self.running.store(false, Ordering::Relaxed);
        }
        ends
    }
}

async fn run(replay: Arc<Replay>) {
    let Some(records) = replay.server.get().map(|server| replay.reader(server)) else { return };
    let mut readers: Vec<Reader> = Vec::new();
    loop {
        readers.extend(replay.scanner.take_new().into_iter().map(|sub| Reader::new(&replay, sub)));
        readers.retain_mut(|reader| reader.joins(&replay));
        if readers.is_empty() {
            if replay.scanner.ends() {
                return;
            }
        } else if replay.cursor().is_some() && readers.iter().any(Reader::has_room) {
            pass(&replay, &records, &mut readers).await;
        } else {
            replay.scanner.wake.notified().await;
        }
    }
}

/// Reads the log from the place of the one who is farthest behind, until nobody takes part any more.
async fn pass(replay: &Arc<Replay>, records: &Records, readers: &mut Vec<Reader>) {
    let Some(mut from) = begin(readers) else { return };
    let (sink, mut events) = mpsc::channel(BUFFER);
    // The oldest may go between the answer to the client and now: that is no gap for who asked for what is kept.
    let start = match readers.iter().any(|reader| reader.active && reader.sub.begins_with_the_oldest()) {
        true => Start::Earliest,
        false => Start::After { cursor: from.clone(), others: None },
    };
    let subscription = replay.connector.subscribe(replay.filter.clone(), start, sink);
    let ready = match subscription {
        Ok(mut subscription) => subscription.ready().await.map(|_| subscription),
        Err(error) => Err(error),
    };
    let _subscription = match ready {
        Ok(subscription) => subscription,
        Err(error) => return refused(replay, readers, &error).await,
    };
    while readers.iter().any(|reader| reader.active) {
        let event = tokio::select! {
            event = events.recv() => event,
            () = replay.scanner.wake.notified() => {
                for sub in replay.scanner.take_new() {
                    readers.push(Reader::new(replay, sub));
                }
                // Who is not behind where the pass is takes part from here on; the others wait for the next one.
                for reader in readers.iter_mut().filter(|reader| !reader.active && reader.has_room()) {
                    reader.active = reader.cursor().is_some_and(|cursor| cursor.covers_all(&from));
                }
                readers.retain_mut(|reader| reader.joins(replay));
                continue;
            }
        };
        match event {
            Some(Event::Record(record)) => {
                let Some(place) = record.place.clone() else { continue };
                let message =
                    readers.iter().any(|reader| reader.wants(&place)).then(|| records.message(&record).ok()?).flatten();
                give(readers, &place, message.as_ref()).await;
                from.advance(&place);
            }
            Some(Event::Reached(place)) => {
                give(readers, &place, None).await;
                from.advance(&place);
            }
            // The connector ended it: it is tried anew.
            None => return,
        }
        if events.is_empty() {
            readers.retain_mut(|reader| reader.joins(replay));
        }
    }
}

/// Those with room take part: the places of the one farthest behind, log by log.
fn begin(readers: &mut [Reader]) -> Option<Cursor> {
    let mut from: Option<Cursor> = None;
    for reader in readers {
        reader.active = reader.has_room();
        let Some(cursor) = reader.cursor().filter(|_| reader.active) else { continue };
        from = Some(match from {
            None => cursor,
            // A log that one of them does not know is read from its beginning.
            Some(least) => least
                .iter()
                .filter_map(|(log, seen)| {
                    let other = cursor.get(log)?;
                    Some((log.clone(), if other.n < seen.n { other } else { seen }))
                })
                .collect(),
        });
    }
    from
}

/// The log has no such place any more. Who is alone with it is told: the session ends, its client comes back with its
/// position and learns that it is gone. Of many, each is tried alone.
async fn refused(replay: &Arc<Replay>, readers: &mut Vec<Reader>, error: &SubscribeError) {
    let gone = matches!(error, SubscribeError::PositionGone { .. } | SubscribeError::PositionInvalid(_));
    if !gone {
        tracing::warn!(%error, "replay: the log cannot be read");
        tokio::time::sleep(crate::feed::RETRY).await;
        return;
    }
    let active: Vec<usize> = readers.iter().enumerate().filter(|(_, reader)| reader.active).map(|(i, _)| i).collect();
    if let [only] = active[..] {
        let reader = readers.swap_remove(only);
        reader.is_lost(replay);
        return;
    }
    let mut together = std::mem::take(readers);
    for reader in together.drain(..) {
        let mut alone = vec![reader];
        if alone[0].active {
            let cursor = alone[0].cursor();
            if let Some(cursor) = cursor
                && !replay.is_there(cursor).await
            {
                alone[0].is_lost(replay);
                continue;
            }
        }
        readers.append(&mut alone);
    }
}

/// Hands what stands at a place to those who lack it.
async fn give(readers: &mut [Reader], place: &Place, message: Option<&Message>) {
    for i in 0..readers.len() {
        if !readers[i].active {
            continue;
        }
        while !readers[i].take(place, message) {
            // Its queue is full. Alone it holds the pass; among others it leaves it.
            let alone = readers.iter().filter(|reader| reader.active).count() == 1;
            if !alone {
                readers[i].active = false;
                break;
            }
            let Some(session) = readers[i].sub.session() else {
                readers[i].active = false;
                break;
            };
            session.room().await;
            readers[i].room.store(true, Ordering::Relaxed);
        }
    }
}

impl Reader {
    fn new(replay: &Replay, sub: Arc<Sub>) -> Self {
        let others = replay.subs.others(&sub);
        Reader { sub, others, room: Arc::new(AtomicBool::new(true)), active: false }
    }

    fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    fn cursor(&self) -> Option<Cursor> {
        match &*self.sub.state() {
            State::Behind(catch_up) => Some(catch_up.cursor().clone()),
            State::Live | State::Ended => None,
        }
    }

    fn wants(&self, place: &Place) -> bool {
        self.active && matches!(&*self.sub.state(), State::Behind(catch_up) if catch_up.wants(place))
    }

    /// Tries to join: false when it has, or is over.
    fn joins(&mut self, replay: &Arc<Replay>) -> bool {
        if self.sub.session().is_none_or(|session| session.ended()) || self.cursor().is_none() {
            return false;
        }
        if !self.has_room() {
            return true;
        }
        match replay.join(&self.sub) {
            Join::Live => return false,
            Join::Behind => {}
            Join::Full => self.wait_for_room(replay),
        }
        true
    }

    /// Takes what stands at a place, unless it has it: false when its queue is full.
    fn take(&mut self, place: &Place, message: Option<&Message>) -> bool {
        if !self.wants(place) {
            return true;
        }
        let mine = |message: &&Message| {
            self.sub.channel().reaches(message.channel.as_str()) && !self.others.gave(&message.channel, place)
        };
        if let Some(message) = message.filter(mine)
            && let Some(session) = self.sub.session()
            && session.hand(&message.delivery) == Handed::Full
        {
            self.room.store(false, Ordering::Relaxed);
            return false;
        }
        if let State::Behind(catch_up) = &mut *self.sub.state() {
            catch_up.take(place);
        }
        true
    }

    fn wait_for_room(&self, replay: &Arc<Replay>) {
        self.room.store(false, Ordering::Relaxed);
        let Some(session) = self.sub.session() else { return };
        let (room, replay) = (Arc::clone(&self.room), Arc::clone(replay));
        tokio::spawn(async move {
            session.room().await;
            room.store(true, Ordering::Relaxed);
            replay.scanner.wake.notify_one();
        });
    }

    fn is_lost(&self, replay: &Replay) {
        tracing::warn!(channel = %self.sub.channel(), "replay: the position that a session reads from is gone from the log");
        if let (Some(session), Some(server)) = (self.sub.session(), replay.server.get()) {
            server.end_session(&session, EndReason::Gap);
        }
    }
}
