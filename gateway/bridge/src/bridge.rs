//! The bridge: the server's listener.

use crate::feed::Feed;
use crate::letters::Letters;
use crate::load::{Load, LoadLimits};
use crate::mapping::{Consume, Envelope, IngestMatch, Mapping, SubscribeMatch, Table};
use crate::observe::Observer;
use crate::replay::{Asked, Invalid, NoStart, Sub, Subs, asked};
use crate::service::{ServiceSpec, Services};
use bayeux::channel::ChannelName;
use bayeux::error::error;
use bayeux::message::Message;
use bayeux::reply::Refusal;
use bayeux_server::hooks::{Begin, Listener, Publish, PublishFlow, SubscribeFlow};
use bayeux_server::{LiveSession, Server};
use bytes::Bytes;
use bytestring::ByteString;
use connector::Connector;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// What happens on broadcast channels that no mapping has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnmappedChannels {
    /// Plain Bayeux: from browser to browser on this node.
    #[default]
    Local,
    /// Refused.
    Deny,
}

/// What happens to messages on service channels that no service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnmappedServices {
    /// Acknowledged, and nothing else, as CometD does.
    #[default]
    Acknowledge,
    /// Refused.
    Refuse,
}

/// The bridge's settings beside the mappings.
#[derive(Debug, Clone)]
pub struct BridgeSettings {
    /// Channels without a mapping.
    pub unmapped_channels: UnmappedChannels,
    /// Services without a handler.
    pub unmapped_services: UnmappedServices,
    /// This gateway's name: in `bayeux-origin`.
    pub node: String,
    /// Clients may ask for positions (`ext.replay`).
    pub replay: bool,
    /// How much may be on its way to the brokers.
    pub load: LoadLimits,
    /// How long a subscription waits for its feed to be live before it is answered anyway (the feed heals by itself).
    pub subscribe_timeout: Duration,
}

/// The bridge between a server's sessions and the brokers.
pub struct Bridge {
    pub(crate) table: Arc<Table>,
    pub(crate) connectors: BTreeMap<String, Arc<dyn Connector>>,
    pub(crate) feeds: Vec<Option<Arc<Feed>>>,
    /// By mapping: where dead letters go, if anywhere.
    pub(crate) letters: Vec<Option<Arc<Letters>>>,
    pub(crate) services: Services,
    pub(crate) settings: BridgeSettings,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) load: Arc<Load>,
    server: Arc<OnceLock<Server>>,
    subs: Arc<Subs>,
    in_flight: Arc<InFlight>,
}

impl Bridge {
    /// A bridge over these connectors, which must be those that the table was compiled for.
    pub fn new(
        table: Arc<Table>,
        connectors: BTreeMap<String, Arc<dyn Connector>>,
        services: Vec<ServiceSpec>,
        settings: BridgeSettings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let server = Arc::new(OnceLock::new());
        let subs = Arc::new(Subs::default());
        let letters: Vec<Option<Arc<Letters>>> = table
            .mappings()
            .iter()
            .map(|mapping| Letters::new(mapping, connectors.get(&mapping.spec().connector)?, &observer))
            .collect();
        let feeds = table
            .mappings()
            .iter()
            .zip(&letters)
            .map(|(mapping, letters)| {
                let connector = connectors.get(&mapping.spec().connector)?;
                let feed = || Feed::new(&table, mapping.index(), connector, &server, &observer, &subs, letters.clone());
                mapping.spec().direction.is_egress().then(feed)
            })
            .collect();
        let services = Services::new(services, Arc::clone(&observer));
        let load = Load::new(settings.load, connectors.keys().cloned());
        let in_flight = Arc::default();
        Bridge { load, table, connectors, feeds, letters, services, settings, observer, server, subs, in_flight }
    }

    /// Connects the bridge to its server and starts the feeds that always run. To be called once.
    pub fn start(&self, server: Server) {
        let _ = self.server.set(server);
        for (feed, mapping) in self.feeds.iter().zip(self.table.mappings()) {
            if let Some(feed) = feed
                && mapping.spec().consume == Consume::Always
            {
                feed.hold();
            }
        }
    }

    /// Stops reading from the brokers: what is in flight toward them goes on.
    pub fn stop(&self) {
        self.feeds.iter().flatten().for_each(|feed| feed.stop());
    }

    /// The mappings.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The connector of that name.
    pub fn connector(&self, name: &str) -> Option<&Arc<dyn Connector>> {
        self.connectors.get(name)
    }

    /// The feeds by mapping; `None` where a mapping is ingest only.
    pub fn feeds(&self) -> &[Option<Arc<Feed>>] {
        &self.feeds
    }

    /// The services.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Publishes whose outcome is not known yet.
    pub fn publishes_in_flight(&self) -> usize {
        self.in_flight.count.load(Ordering::Relaxed)
    }

    /// Resolves when no publish and no request is in flight.
    pub async fn idle(&self) {
        loop {
            let changed = self.in_flight.changed.notified();
            if self.publishes_in_flight() == 0 && self.services.in_flight() == 0 {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    }

    pub(crate) fn track(&self) -> Tracked {
        self.in_flight.count.fetch_add(1, Ordering::Relaxed);
        Tracked(Arc::clone(&self.in_flight))
    }

    /// The feeds of a subscription: the same ones for its end as for its beginning, as the table does not change.
    fn feeds_of(&self, channel: &ChannelName) -> Vec<Arc<Feed>> {
        match self.table.subscribe(channel) {
            SubscribeMatch::Egress(mappings) => {
                mappings.iter().filter_map(|i| self.feeds.get(*i).cloned().flatten()).collect()
            }
            SubscribeMatch::IngestOnly | SubscribeMatch::Unmapped => Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct InFlight {
    count: AtomicUsize,
    changed: Notify,
}

/// One publish in flight.
#[derive(Debug)]
pub(crate) struct Tracked(Arc<InFlight>);

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

fn denied(channel: &ChannelName, text: &str) -> Refusal {
    Refusal::new(error(403, channel.as_str(), text))
}

impl Listener for Bridge {
    fn offers(&self) -> Vec<(ByteString, Bytes)> {
        let yes = Bytes::from_static(b"true");
        let wrapped = |mapping: &Mapping| mapping.spec().envelope == Envelope::Salesforce;
        let mut offers = Vec::new();
        if self.settings.replay {
            offers.push((ByteString::from_static("replay"), yes.clone()));
            if self.table.mappings().iter().any(wrapped) {
                offers.push((ByteString::from_static("payload.format"), yes));
            }
        }
        offers
    }

    fn publish(&self, publish: &Publish) -> PublishFlow {
        // A pattern is no place to publish to. CometD takes it, and delivers to those who subscribed to that very pattern: not
        // where a broker's topics are what they subscribed to.
        if publish.channel.is_wild() && !matches!(self.table.subscribe(&publish.channel), SubscribeMatch::Unmapped) {
            return PublishFlow::Done(Err(denied(&publish.channel, "publish_denied")));
        }
        match self.table.ingest(&publish.channel) {
            IngestMatch::Mapping(route) => self.ingest(&route, publish),
            IngestMatch::EgressOnly => PublishFlow::Done(Err(denied(&publish.channel, "publish_denied"))),
            IngestMatch::Unmapped => match self.settings.unmapped_channels {
                UnmappedChannels::Local => PublishFlow::Broadcast,
                UnmappedChannels::Deny => PublishFlow::Done(Err(denied(&publish.channel, "publish_denied"))),
            },
        }
    }

    fn service(&self, publish: &Publish) -> Result<(), Refusal> {
        self.services.take(publish, self.settings.unmapped_services)
    }

    fn subscribe(&self, session: &Arc<LiveSession>, channel: &ChannelName, message: &Message) -> SubscribeFlow {
        let wish = match self.wish(channel, message) {
            Ok(wish) => wish,
            Err(invalid) => return SubscribeFlow::Refuse(Refusal::new(invalid.error())),
        };
        let feeds = match self.table.subscribe(channel) {
            SubscribeMatch::IngestOnly => return SubscribeFlow::Refuse(denied(channel, "subscribe_denied")),
            SubscribeMatch::Unmapped if wish.as_ref().is_some_and(Wish::needs_a_log) => {
                return SubscribeFlow::Refuse(unsupported(channel));
            }
            SubscribeMatch::Unmapped => {
                return match self.settings.unmapped_channels {
                    UnmappedChannels::Local => SubscribeFlow::Accept(Begin::Now),
                    UnmappedChannels::Deny => SubscribeFlow::Refuse(denied(channel, "subscribe_denied")),
                };
            }
            SubscribeMatch::Egress(_) => self.feeds_of(channel),
        };
        // One mapping, so that one position says it all.
        let replay = match &feeds[..] {
            [feed] if feed.replay().is_some() => Some(Arc::clone(feed)),
            _ if wish.as_ref().is_some_and(Wish::needs_a_log) => return SubscribeFlow::Refuse(unsupported(channel)),
            _ => None,
        };
        let held = Held(feeds);
        held.0.iter().for_each(Feed::hold);
        if replay.is_none() && held.0.iter().all(|feed| feed.is_live()) {
            held.keep();
            return SubscribeFlow::Accept(Begin::Now);
        }
        let (channel, patience) = (channel.clone(), self.settings.subscribe_timeout);
        let (session, subs) = (Arc::clone(session), Arc::clone(&self.subs));
        SubscribeFlow::Wait(Box::pin(async move {
            for feed in &held.0 {
                match feed.live(patience).await {
                    Ok(true) => {}
                    // The subscription stands, and its feed goes on when the broker is back.
                    Ok(false) => {
                        tracing::warn!(%channel, "subscription answered without its broker, which is not there")
                    }
                    Err(reason) => {
                        tracing::warn!(%channel, %reason, "subscription refused: the feed cannot be opened");
                        return Err(Refusal::new(error(503, channel.as_str(), "feed_failed")));
                    }
                }
            }
            let begin = match &replay {
                Some(feed) => begin(&session, &channel, wish, feed, &subs).await?,
                None => Begin::Now,
            };
            held.keep();
            Ok(begin)
        }))
    }

    fn begins(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        if let Some(sub) = self.subs.get(session.key(), channel) {
            sub.begins();
        }
    }

    fn positions(&self, session: &LiveSession, of: Option<&[ChannelName]>) -> Option<String> {
        self.subs.positions(session.key(), of)
    }

    fn subscribed(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        for feed in self.feeds_of(channel) {
            feed.welcome(session, channel);
        }
    }

    fn unsubscribed(&self, session: &LiveSession, channel: &ChannelName) {
        self.subs.end(session.key(), channel);
        self.feeds_of(channel).iter().for_each(Feed::release);
    }
}

impl Bridge {
    /// The position that a client asks for with its subscription.
    fn wish(&self, channel: &ChannelName, message: &Message) -> Result<Option<Wish>, Invalid> {
        let Some(replay) = message.ext_field("replay").filter(|_| self.settings.replay) else { return Ok(None) };
        let said = message
            .subscriptions()
            .into_iter()
            .flatten()
            .find(|said| ChannelName::parse(said).is_ok_and(|name| name == *channel));
        let said = said.unwrap_or_else(|| channel.as_bytestring().clone());
        let asked = asked(&replay, &said)?;
        Ok(asked.map(|(asked, position)| Wish { said, asked, position }))
    }
}

/// A position that a client asks for.
struct Wish {
    /// The subscription as sent.
    said: ByteString,
    asked: Asked,
    /// The position as sent.
    position: serde_json::Value,
}

impl Wish {
    fn needs_a_log(&self) -> bool {
        self.asked != Asked::New
    }
}

/// A subscription to a replay mapping begins where its client asks for, else with what is new.
async fn begin(
    session: &Arc<LiveSession>,
    channel: &ChannelName,
    wish: Option<Wish>,
    feed: &Arc<Feed>,
    subs: &Subs,
) -> Result<Begin, Refusal> {
    let Some(replay) = feed.replay() else { return Ok(Begin::Now) };
    let asked = wish.as_ref().map_or(&Asked::New, |wish| &wish.asked);
    let from = match replay.resolve(asked).await {
        Ok(from) => from,
        Err(NoStart::Invalid) => {
            let position = wish.map_or(serde_json::Value::Null, |wish| wish.position);
            return Err(Refusal::new(Invalid::position(&position).error()));
        }
        Err(NoStart::Unavailable) if !matches!(asked, Asked::New) => {
            return Err(Refusal::new(error(503, channel.as_str(), "broker_unavailable")));
        }
        // It begins when the feed does.
        Err(NoStart::Unavailable) => {
            subs.add(Sub::live(session, channel.clone(), wish.map(|wish| wish.said), feed));
            return Ok(Begin::Now);
        }
    };
    let from = (from, *asked == Asked::All);
    subs.add(Sub::behind(session, channel.clone(), wish.map(|wish| wish.said), feed, from));
    Ok(Begin::AfterReply)
}

fn unsupported(channel: &ChannelName) -> Refusal {
    Refusal::new(error(400, channel.as_str(), "replay_unsupported"))
}

/// Feeds held for a subscription that is not made yet: given back unless it is.
struct Held(Vec<Arc<Feed>>);

impl Held {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.iter().for_each(Feed::release);
    }
}

/// A name that is safe in a header: what a record's `bayeux-origin` says of its publisher.
pub(crate) fn origin(node: &str, session: &LiveSession) -> ByteString {
    format!("{node}/{}", session.tag()).into()
}
