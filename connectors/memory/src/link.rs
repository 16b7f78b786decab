//! The connector.

use crate::config::{CAPABILITIES, MemoryFactory, MemoryPlan, Settings};
use crate::publish::Content;
use crate::store::{Millis, Store};
use crate::{SYNTAX, subscribe};
use connector::{
    BoxFuture, Capabilities, Connector, ConnectorFactory, Event, Health, HealthCell, Outbound, Place, PublishError,
    SettingsError, Start, SubscribeError, Subscription, TopicFilter, TopicSyntax,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Logs in this process. Clones are the same connector.
#[derive(Debug, Clone)]
pub struct MemoryConnector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    pub(crate) closed: watch::Sender<bool>,
    health: HealthCell,
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

impl MemoryConnector {
    /// A connector without a config file: for embedding and for tests. Subscribing needs a tokio runtime.
    ///
    /// # Errors
    /// The first mistake in the settings.
    pub fn open(settings: Settings) -> Result<MemoryConnector, SettingsError> {
        Ok(MemoryConnector::new(&MemoryFactory::plan(settings)?))
    }

    pub(crate) fn new(plan: &MemoryPlan) -> MemoryConnector {
        let health = HealthCell::default();
        health.up();
        // Microseconds: no process stores more records than that before the next one begins.
        let base = u64::try_from(now()).unwrap_or_default() * 1_000;
        let store = Mutex::new(Store::new(plan.0.clone(), base));
        MemoryConnector { shared: Arc::new(Shared { store, closed: watch::Sender::new(false), health }) }
    }

    /// Makes a topic, if there is none of that name: for those who leave `create_topics` off.
    ///
    /// # Errors
    /// [`PublishError::TopicInvalid`], or [`PublishError::Rejected`] where `max_topics` are there.
    pub fn declare(&self, topic: &str) -> Result<(), PublishError> {
        self.shared.store.lock().declare(topic).map(|_| ())
    }
}

impl Connector for MemoryConnector {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn syntax(&self) -> &'static TopicSyntax {
        &SYNTAX
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn publish(&self, record: Outbound) -> BoxFuture<'static, Result<Option<Place>, PublishError>> {
        let topic = record.topic.clone();
        let content = Content::of(record);
        let stored = self.shared.store.lock().append(&topic, content, now());
        Box::pin(std::future::ready(stored.map(Some)))
    }

    fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError> {
        subscribe::subscribe(&self.shared, filter, &start, sink)
    }

    fn probe(&self, _: Duration) -> BoxFuture<'_, Result<String, String>> {
        let (topics, records, bytes) = self.shared.store.lock().size();
        let text = format!("in this process: {topics} topics, {records} records, {bytes} bytes");
        Box::pin(std::future::ready(Ok(text)))
    }

    fn topic_exists(&self, topic: &str, _: Duration) -> BoxFuture<'_, Result<bool, String>> {
        let exists = self.shared.store.lock().has_room_for(topic);
        Box::pin(std::future::ready(Ok(exists)))
    }

    fn dropped(&self) -> u64 {
        self.shared.store.lock().missed()
    }

    /// A record is stored before its publish returns: there is nothing to wait for.
    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.shared.store.lock().closed = true;
        self.shared.closed.send_replace(true);
        self.shared.health.down("closed");
        Box::pin(std::future::ready(()))
    }
}
