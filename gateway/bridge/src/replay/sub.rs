//! Subscriptions to channels of a replay mapping, and what each of them has been given.

use super::Replay;
use super::catch_up::CatchUp;
use crate::feed::Feed;
use bayeux::channel::ChannelName;
use bayeux_server::LiveSession;
use bytestring::ByteString;
use connector::{Cursor, Place};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// One subscription of one session.
pub(crate) struct Sub {
    session: Weak<LiveSession>,
    key: u64,
    channel: ChannelName,
    /// The subscription as the client sent it, if it asked for a position with it: then its connects are told how far it is.
    said: Option<ByteString>,
    feed: Weak<Feed>,
    /// It was given nothing that is not behind this.
    from: Cursor,
    /// It begins with the oldest that is kept, wherever that is when it comes to it.
    from_oldest: bool,
    state: Mutex<State>,
}

/// Where a subscription stands.
#[derive(Debug)]
pub(crate) enum State {
    /// It catches up, and the feed does not reach it.
    Behind(CatchUp),
    /// The feed reaches it.
    Live,
    /// It is over.
    Ended,
}

impl Sub {
    /// One that is to catch up from a place on.
    pub(crate) fn behind(
        session: &Arc<LiveSession>,
        channel: ChannelName,
        said: Option<ByteString>,
        feed: &Arc<Feed>,
        (from, from_oldest): (Cursor, bool),
    ) -> Arc<Self> {
        let state = State::Behind(CatchUp::new(from.clone()));
        Sub::new(session, channel, said, feed, (from, from_oldest), state)
    }

    /// One that begins when its feed does.
    pub(crate) fn live(
        session: &Arc<LiveSession>,
        channel: ChannelName,
        said: Option<ByteString>,
        feed: &Arc<Feed>,
    ) -> Arc<Self> {
        Sub::new(session, channel, said, feed, (Cursor::default(), false), State::Live)
    }

    fn new(
        session: &Arc<LiveSession>,
        channel: ChannelName,
        said: Option<ByteString>,
        feed: &Arc<Feed>,
        (from, from_oldest): (Cursor, bool),
        state: State,
    ) -> Arc<Self> {
        let (session, key) = (Arc::downgrade(session), session.key());
        let (feed, state) = (Arc::downgrade(feed), Mutex::new(state));
        Arc::new(Sub { session, key, channel, said, feed, from, from_oldest, state })
    }

    /// Whose it is, while that lives.
    pub(crate) fn session(&self) -> Option<Arc<LiveSession>> {
        self.session.upgrade()
    }

    /// The channel or pattern.
    pub(crate) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Its reply is on its way: it catches up and joins.
    pub(crate) fn begins(self: &Arc<Self>) {
        if let Some(feed) = self.feed.upgrade()
            && let Some(replay) = feed.replay()
        {
            replay.begins(Arc::clone(self));
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// It is to begin with the oldest that is kept, and was given nothing yet.
    pub(crate) fn begins_with_the_oldest(&self) -> bool {
        self.from_oldest && matches!(&*self.state.lock(), State::Behind(catch_up) if *catch_up.cursor() == self.from)
    }

    /// The session has it by this subscription already.
    fn gave(&self, channel: &ChannelName, place: &Place) -> bool {
        self.channel.reaches(channel.as_str())
            && !self.from.covers(place)
            && match &*self.state.lock() {
                State::Behind(catch_up) => catch_up.cursor().covers(place),
                State::Live => true,
                State::Ended => false,
            }
    }

    /// How far it is, as connects are told: the subscription and a position, both JSON.
    fn told(&self) -> Option<(String, String)> {
        let (said, feed) = (self.said.as_ref()?, self.feed.upgrade()?);
        let replay = feed.replay()?;
        let live = replay.cursor()?;
        let cursor = match &*self.state.lock() {
            State::Behind(catch_up) => catch_up.cursor().clone(),
            State::Live => live,
            State::Ended => return None,
        };
        Some((serde_json::Value::from(&said[..]).to_string(), replay.position(&cursor).to_json()))
    }
}

/// All subscriptions to channels of replay mappings, by session.
#[derive(Default)]
pub(crate) struct Subs(Mutex<HashMap<u64, Vec<Arc<Sub>>>>);

impl Subs {
    pub(crate) fn add(&self, sub: Arc<Sub>) {
        self.0.lock().entry(sub.key).or_default().push(sub);
    }

    /// The subscription of that session to that channel or pattern.
    pub(crate) fn get(&self, session: u64, channel: &ChannelName) -> Option<Arc<Sub>> {
        self.0.lock().get(&session)?.iter().find(|sub| sub.channel == *channel).cloned()
    }

    /// It is over.
    pub(crate) fn end(&self, session: u64, channel: &ChannelName) {
        let mut all = self.0.lock();
        let Some(subs) = all.get_mut(&session) else { return };
        // Should two requests have made the same one at a time, the later is the one that is not made.
        if let Some(at) = subs.iter().rposition(|sub| sub.channel == *channel) {
            *subs.swap_remove(at).state.lock() = State::Ended;
        }
        if subs.is_empty() {
            all.remove(&session);
        }
    }

    /// The sessions that have any of that mapping.
    pub(crate) fn sessions_of(&self, replay: &Replay) -> Vec<Arc<LiveSession>> {
        let of = |sub: &&Arc<Sub>| {
            let feed = sub.feed.upgrade();
            feed.is_some_and(|feed| feed.replay().is_some_and(|its| std::ptr::eq(Arc::as_ptr(its), replay)))
        };
        self.0.lock().values().filter_map(|subs| subs.iter().find(of)?.session()).collect()
    }

    /// The session's subscriptions by which a message on that channel reaches it.
    pub(crate) fn reaching(&self, session: u64, channel: &ChannelName) -> Vec<Arc<Sub>> {
        let all = self.0.lock();
        let subs = all.get(&session).into_iter().flatten();
        subs.filter(|sub| sub.channel.reaches(channel.as_str())).cloned().collect()
    }

    /// The session's other subscriptions that may have given it the same messages.
    pub(crate) fn others(&self, than: &Arc<Sub>) -> Others {
        let all = self.0.lock();
        let subs = all.get(&than.key).into_iter().flatten();
        let same = |sub: &&Arc<Sub>| !Arc::ptr_eq(sub, than) && Weak::ptr_eq(&sub.feed, &than.feed);
        Others(subs.filter(same).cloned().collect())
    }

    /// How far each subscription is that asked for a position, of those channels or all: an object in JSON.
    pub(crate) fn positions(&self, session: u64, of: Option<&[ChannelName]>) -> Option<String> {
        let subs = self.0.lock().get(&session)?.clone();
        let asked = |sub: &&Arc<Sub>| of.is_none_or(|channels| channels.contains(&sub.channel));
        let told: Vec<_> =
            subs.iter().filter(asked).filter_map(|sub| sub.told()).map(|(said, at)| format!("{said}:{at}")).collect();
        (!told.is_empty()).then(|| format!("{{{}}}", told.join(",")))
    }
}

/// Other subscriptions of a session.
pub(crate) struct Others(Vec<Arc<Sub>>);

impl Others {
    /// One of them gave it to the session already.
    pub(crate) fn gave(&self, channel: &ChannelName, place: &Place) -> bool {
        self.0.iter().any(|sub| sub.gave(channel, place))
    }
}
