//! What every case needs: a connector that is up, fresh names, records, and a reader that waits with patience.

use super::Fixture;
use crate::{
    BoxFuture, Capabilities, Connector, Event, FilterToken, Inbound, Outbound, Place, PublishError, Ready, Start,
    State, SubscribeError, Subscription, TopicFilter, TopicSyntax,
};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// How long an event may take before the case fails: long, because nothing here measures speed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `event`, or fails with a sentence.
pub(super) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// One case's connector and names.
pub(super) struct Kit {
    pub(super) connector: Arc<dyn Connector>,
    pub(super) can: Capabilities,
    pub(super) syntax: &'static TopicSyntax,
    base: String,
}

impl Kit {
    /// A connector that is up.
    pub(super) async fn begin(fixture: &impl Fixture, case: &str) -> Kit {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let connector = fixture.connector();
        let mut health = connector.health();
        within("the connector's health becomes up", health.wait_for(|health| health.state == State::Up))
            .await
            .unwrap_or_else(|_| panic!("the connector ended its health before it was up"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let nonce = format!("{:x}-{:x}-{:x}", now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Kit {
            can: connector.capabilities(),
            syntax: connector.syntax(),
            base: format!("conformance{}{case}-{nonce}", char::from(connector.syntax().separator)),
            connector,
        }
    }

    /// Ends the case in order.
    pub(super) async fn end(self) {
        within("the connector closes", self.connector.close(Duration::from_secs(5))).await;
    }

    /// This case's topic with further tokens.
    pub(super) fn name(&self, tokens: &[&str]) -> String {
        let mut name = self.base.clone();
        for token in tokens {
            name.push(char::from(self.syntax.separator));
            name.push_str(token);
        }
        name
    }

    /// The topic of that name, made.
    pub(super) async fn topic(&self, fixture: &impl Fixture, tokens: &[&str], partitions: u32) -> String {
        let name = self.name(tokens);
        fixture.create(&name, partitions).await;
        name
    }

    /// A filter for this case's topics: the tokens that follow.
    pub(super) fn family(&self, tokens: Vec<FilterToken>, rest: bool) -> TopicFilter {
        let mut filter = TopicFilter::exact(&self.base, self.syntax);
        filter.tokens.extend(tokens);
        filter.rest = rest;
        filter
    }

    /// A filter for exactly this topic.
    pub(super) fn exact(&self, topic: &str) -> TopicFilter {
        TopicFilter::exact(topic, self.syntax)
    }

    /// Begins a publish.
    pub(super) fn publish(&self, record: Outbound) -> BoxFuture<'static, Result<Option<Place>, PublishError>> {
        self.connector.publish(record)
    }

    /// Publishes and waits until it is confirmed.
    pub(super) async fn store(&self, record: Outbound) -> Option<Place> {
        let topic = record.topic.clone();
        match within("a publish is answered", self.publish(record)).await {
            Ok(position) => position,
            Err(error) => panic!("a publish to {topic} failed: {error:?}"),
        }
    }

    /// Publishes `count` numbered records one after the other: their positions.
    pub(super) async fn store_numbered(
        &self,
        topic: &str,
        numbers: std::ops::Range<usize>,
    ) -> Vec<(usize, Option<Place>)> {
        let mut stored = Vec::new();
        for n in numbers {
            stored.push((n, self.store(numbered(topic, n)).await));
        }
        stored
    }

    /// A running subscription.
    pub(super) async fn read(&self, filter: TopicFilter, start: Start) -> Reader {
        self.read_with(filter, start, 8192).await
    }

    /// The same with a sink of that capacity.
    pub(super) async fn read_with(&self, filter: TopicFilter, start: Start, capacity: usize) -> Reader {
        let (sink, records) = mpsc::channel(capacity);
        let (subscription, ready) = self.open(filter, start, sink).await;
        Reader { records, subscriptions: vec![subscription], ready }
    }

    /// A running subscription into a sink.
    pub(super) async fn join(&self, filter: TopicFilter, start: Start, sink: mpsc::Sender<Event>) -> Subscription {
        self.open(filter, start, sink).await.0
    }

    /// The same, and where it begins.
    pub(super) async fn open(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> (Subscription, Ready) {
        let mut subscription = match self.connector.subscribe(filter.clone(), start.clone(), sink) {
            Ok(subscription) => subscription,
            Err(error) => panic!("subscribe to {filter:?} from {start:?} was refused: {error:?}"),
        };
        match within("a subscription is ready", subscription.ready()).await {
            Ok(ready) => (subscription, ready),
            Err(error) => panic!("the subscription to {filter:?} from {start:?} could not begin: {error:?}"),
        }
    }

    /// Why a subscription is refused, at once or when it should be ready.
    pub(super) async fn refusal(&self, filter: TopicFilter, start: Start) -> SubscribeError {
        let (sink, _records) = mpsc::channel(16);
        match self.connector.subscribe(filter, start.clone(), sink) {
            Err(error) => error,
            Ok(mut subscription) => match within("a subscription is refused", subscription.ready()).await {
                Err(error) => error,
                Ok(_) => panic!("a subscription from {start:?} should have been refused"),
            },
        }
    }
}

/// A reader of one or more subscriptions.
pub(super) struct Reader {
    pub(super) records: mpsc::Receiver<Event>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) ready: Ready,
}

impl Reader {
    /// The next record.
    pub(super) async fn next(&mut self, what: &str) -> Inbound {
        next_record(&mut self.records, what).await
    }

    /// The next event.
    pub(super) async fn event(&mut self, what: &str) -> Event {
        match within(what, self.records.recv()).await {
            Some(event) => event,
            None => panic!("the subscription ended while waiting: {what}"),
        }
    }

    /// Reads until that place is reached: the numbers of the records on the way.
    pub(super) async fn until(&mut self, place: &Place) -> Vec<usize> {
        let mut numbers = Vec::new();
        loop {
            let event = self.event(&format!("{} of the log is reached", place.n)).await;
            let at = match event {
                Event::Record(record) => {
                    numbers.push(number_of(&record));
                    record.place
                }
                Event::Reached(place) => Some(place),
            };
            if at.is_some_and(|at| at.log == place.log && at.n >= place.n) {
                return numbers;
            }
        }
    }

    /// The numbers of the next `count` numbered records.
    pub(super) async fn numbers(&mut self, count: usize, what: &str) -> Vec<usize> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            numbers.push(number_of(&self.next(&format!("{what} ({} of {count} arrived)", numbers.len())).await));
        }
        numbers
    }

    /// Waits for the end of the stream, whatever comes before.
    pub(super) async fn end(mut self, what: &str) {
        self.subscriptions.clear();
        within(what, async { while self.records.recv().await.is_some() {} }).await;
    }
}

/// The next record, whatever else comes before it.
pub(super) async fn next_record(events: &mut mpsc::Receiver<Event>, what: &str) -> Inbound {
    loop {
        match within(what, events.recv()).await {
            Some(Event::Record(record)) => return record,
            Some(Event::Reached(_)) => {}
            None => panic!("the subscription ended while waiting: {what}"),
        }
    }
}

/// A record read back has the place that its publish was told; not every broker tells the time then.
pub(super) fn same_place(read: Option<&Place>, told: Option<&Place>) {
    let same = read.zip(told).is_some_and(|(read, told)| {
        (&read.log, read.n, read.sole) == (&told.log, told.n, told.sole) && (told.at.is_none() || read.at == told.at)
    });
    assert!(same, "a record read back must have the place that its publish was told, {told:?}, not {read:?}");
}

/// A record without key and headers.
pub(super) fn record(topic: &str, payload: impl Into<Bytes>) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(payload.into()),
        headers: Vec::new(),
        deadline: Instant::now() + PATIENCE,
    }
}

/// A record that carries a number.
pub(super) fn numbered(topic: &str, n: usize) -> Outbound {
    record(topic, format!("{{\"n\":{n}}}"))
}

/// The number of a numbered record.
pub(super) fn number_of(record: &Inbound) -> usize {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: usize,
    }
    let payload = record.payload.clone().unwrap_or_default();
    match serde_json::from_slice::<Numbered>(&payload) {
        Ok(numbered) => numbered.n,
        Err(error) => panic!("a record was changed on its way: {payload:?} ({error})"),
    }
}
