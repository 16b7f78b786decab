//! The connector as the gateway sees it. All that touches the network is done by the [`Link`]'s task; the two meet in
//! [`Shared`].

use crate::config::{Plan, Settings};
use crate::link::{self, Link};
use crate::parked;
use crate::publish::{Answer, Line};
use crate::subscribe::{Parcel, QOS0_ROOM, Subscriber, Table};
use connector::{
    BoxFuture, Capabilities, Confirm, ConnectError, Connector, ConnectorFactory, Context, Event, FilterToken, Health,
    HealthCell, Outbound, SettingsError, Start, State, SubscribeError, Subscription, TopicFilter, TopicSyntax,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The kind `mqtt`.
pub struct MqttFactory;

impl ConnectorFactory for MqttFactory {
    const KIND: &'static str = "mqtt";
    type Settings = Settings;
    type Plan = Plan;

    fn plan(settings: Settings) -> Result<Plan, SettingsError> {
        Plan::new(settings)
    }

    fn capabilities(_: &Plan) -> Capabilities {
        CAPABILITIES
    }

    fn syntax() -> &'static TopicSyntax {
        &crate::SYNTAX
    }

    fn connect(plan: &Plan, context: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        let runtime = Handle::try_current()
            .map_err(|_| ConnectError("the MQTT connector must be started inside a tokio runtime".into()))?;
        let shared = Arc::new(Shared::new(plan.max_in_flight, plan.max_in_flight_bytes, plan.receive_maximum));
        let (ended, end) = watch::channel(false);
        let link = Link::new(plan, &context, Arc::clone(&shared));
        let watched = Arc::clone(&shared);
        runtime.spawn(async move {
            link::supervise(&watched, || link.anew().run()).await;
            ended.send_replace(true);
        });
        Ok(Arc::new(MqttConnector { shared, runtime, end }))
    }
}

const CAPABILITIES: Capabilities = Capabilities {
    confirm: Confirm::Accepted,
    log: false,
    keys: false,
    partitions: false,
    headers: true,
    tombstones: false,
    rest_topics: true,
    retained: true,
    back_pressure: true,
};

/// Where the connector and its link meet. No lock in it is held across an await.
pub(crate) struct Shared {
    pub(crate) line: Line,
    pub(crate) table: Mutex<Table>,
    /// Tells the link that there is something to do.
    pub(crate) work: Arc<Notify>,
    pub(crate) health: HealthCell,
    /// What is known of the broker, for people.
    pub(crate) broker: Mutex<String>,
    /// Set once: by when all must be over.
    pub(crate) closing: watch::Sender<Option<Instant>>,
    /// Places of a reader's queue.
    places: usize,
}

impl Shared {
    pub(crate) fn new(max_in_flight: usize, max_in_flight_bytes: usize, receive_maximum: u16) -> Shared {
        let receive_maximum = usize::from(receive_maximum);
        Shared {
            line: Line::new(max_in_flight, max_in_flight_bytes),
            table: Mutex::new(Table::new(0, parked::TIMES * receive_maximum)),
            work: Arc::default(),
            health: HealthCell::default(),
            broker: Mutex::default(),
            closing: watch::Sender::new(None),
            places: QOS0_ROOM + 2 * receive_maximum,
        }
    }

    /// The connector is being closed, and without a connection there is no more to wait for.
    pub(crate) async fn nothing_to_wait_for(&self) {
        let mut closing = self.closing.subscribe();
        let by = match closing.wait_for(Option::is_some).await {
            Ok(by) => by.unwrap_or_else(Instant::now),
            Err(_) => return,
        };
        if !self.line.is_empty() {
            tokio::time::sleep_until(by.into()).await;
        }
    }

    pub(crate) fn close_by(&self, when: Instant) {
        self.line.close();
        self.table.lock().shut();
        self.closing.send_if_modified(|closing| {
            let sooner = closing.is_none_or(|by| when < by);
            if sooner {
                *closing = Some(when);
            }
            sooner
        });
        self.work.notify_one();
    }
}

struct MqttConnector {
    shared: Arc<Shared>,
    runtime: Handle,
    end: watch::Receiver<bool>,
}

impl Drop for MqttConnector {
    fn drop(&mut self) {
        self.shared.close_by(Instant::now());
    }
}

impl Connector for MqttConnector {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn syntax(&self) -> &'static TopicSyntax {
        &crate::SYNTAX
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn publish(&self, record: Outbound) -> BoxFuture<'static, Answer> {
        match self.shared.line.push(record) {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(place) => {
                self.shared.work.notify_one();
                let shared = Arc::clone(&self.shared);
                Box::pin(async move { shared.line.answer(place).await })
            }
        }
    }

    fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError> {
        if start != Start::Live {
            return Err(SubscribeError::NoLog);
        }
        let native = native(&filter)?;
        let (tell, ready) = oneshot::channel();
        let (to, parcels) = mpsc::channel(self.shared.places);
        let stop = CancellationToken::new();
        let subscriber = Subscriber { filter, ready: tell, to, stop: stop.clone() };
        let key = self.shared.table.lock().add(&native, subscriber)?;
        self.shared.work.notify_one();
        let guard = Guard { shared: Arc::clone(&self.shared), key };
        self.runtime.spawn(forward(parcels, sink, stop, Guard { shared: Arc::clone(&self.shared), key }));
        let asked = Arc::clone(&self.shared);
        Ok(Subscription::new(ready, guard).asking_retained_by(move || {
            asked.table.lock().ask_retained(key);
            asked.work.notify_one();
        }))
    }

    fn probe(&self, timeout: Duration) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let mut health = self.shared.health.subscribe();
            let up = health.wait_for(|health| matches!(health.state, State::Up | State::Degraded));
            if let Ok(Ok(_)) = tokio::time::timeout(timeout, up).await {
                return Ok(self.shared.broker.lock().clone());
            }
            Err(self.shared.health.subscribe().borrow().reason.clone())
        })
    }

    /// MQTT topics need no making: every valid one is there.
    fn topic_exists(&self, topic: &str, _: Duration) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(std::future::ready(Ok((crate::SYNTAX.check)(topic).is_ok())))
    }

    fn dropped(&self) -> u64 {
        self.shared.table.lock().dropped
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.close_by(Instant::now() + grace);
            let mut end = self.end.clone();
            let _ = end.wait_for(|ended| *ended).await; // an error says that the task is gone
        })
    }
}

/// The filter in MQTT's notation.
fn native(filter: &TopicFilter) -> Result<String, SubscribeError> {
    let invalid = |why: &str| SubscribeError::FilterInvalid(why.to_owned());
    for token in &filter.tokens {
        if let FilterToken::Literal(literal) = token {
            (crate::SYNTAX.check)(literal).map_err(invalid)?;
        }
    }
    let native = filter.native(&crate::SYNTAX, "+", "#");
    if native.is_empty() {
        return Err(invalid("an MQTT filter cannot be empty"));
    }
    // With its wildcards in the place of levels it obeys the same limits as a topic.
    (crate::SYNTAX.check)(&native.replace(['+', '#'], "x")).map_err(invalid)?;
    if native.starts_with("$share/") {
        return Err(invalid("shared subscriptions would give each gateway only some of the messages"));
    }
    Ok(native)
}

/// Ends its subscription when dropped; harmless when it has ended already.
struct Guard {
    shared: Arc<Shared>,
    key: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.table.lock().remove(self.key);
        self.shared.work.notify_one();
    }
}

/// Moves messages to one reader at the reader's own speed. A message's ticket is held until the reader's sink has it.
async fn forward(
    mut parcels: mpsc::Receiver<Parcel>,
    sink: mpsc::Sender<Event>,
    stop: CancellationToken,
    guard: Guard,
) {
    let moving = async {
        while let Some(Parcel { inbound, ticket }) = parcels.recv().await {
            if parcels.len() + 1 >= parcels.max_capacity() {
                guard.shared.work.notify_one(); // the queue was full, and messages may be parked
            }
            if sink.send(Event::Record(inbound)).await.is_err() {
                break;
            }
            drop(ticket);
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = sink.closed() => {}
        () = moving => {}
    }
}
