//! The connector: the plan becomes a link, a line to publish by, and readers.

use crate::config::{KafkaPlan, Settings};
use crate::create::Creator;
use crate::link::{self, Link, Listening};
use crate::publish::Line;
use crate::reader::{self, Consumer, Env};
use crate::resolve::Resolver;
use crate::subscribe::Subscriptions;
use crate::topic::SYNTAX;
use connector::{
    BoxFuture, Capabilities, Confirm, ConnectError, Connector, ConnectorFactory, Context, Event, Health, Outbound,
    Place, PublishError, SettingsError, Start, SubscribeError, Subscription, TopicFilter, TopicSyntax,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const CAPABILITIES: Capabilities = Capabilities {
    confirm: Confirm::Stored,
    log: true,
    keys: true,
    partitions: true,
    headers: true,
    tombstones: true,
    rest_topics: false,
    retained: false,
    back_pressure: true,
};

/// Makes Kafka connectors: `orders: { kafka: { brokers: [localhost:9092] } }`.
#[derive(Debug, Clone, Copy)]
pub struct KafkaFactory;

impl ConnectorFactory for KafkaFactory {
    const KIND: &'static str = "kafka";
    type Settings = Settings;
    type Plan = KafkaPlan;

    fn plan(settings: Settings) -> Result<KafkaPlan, SettingsError> {
        KafkaPlan::new(settings)
    }
    fn capabilities(_: &KafkaPlan) -> Capabilities {
        CAPABILITIES
    }
    fn syntax() -> &'static TopicSyntax {
        &SYNTAX
    }
    fn connect(plan: &KafkaPlan, context: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        Ok(Arc::new(Kafka::connect(plan, &context)?))
    }
}

struct Kafka {
    link: Arc<Link>,
    line: Arc<Line>,
    subscriptions: Subscriptions,
}

impl Kafka {
    fn connect(plan: &KafkaPlan, context: &Context) -> Result<Self, ConnectError> {
        let failed = |error: &dyn std::fmt::Display| ConnectError(format!("Kafka client: {error}"));
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| failed(&error))?;
        let settings = &plan.settings;
        let link = Link::new(context);

        let create = settings.create_topics.clone();
        let creator = create.map(|create| Creator::new(create, plan.admin(context), runtime.clone()));
        let (records, bytes) = (settings.max_in_flight, settings.max_in_flight_bytes.as_usize());
        let producer = plan.producer(Some(context));
        let line = Line::new(link.clone(), producer, creator, records, bytes).map_err(|error| failed(&error))?;

        let config = plan.consumer(Some(context));
        let consumer: Consumer =
            config.create_with_context(Listening::new(link.clone())).map_err(|error| failed(&error))?;
        let consumer = Arc::new(consumer);
        let resolver = Resolver::new(&consumer, link.clone());
        let env = Arc::new(Env { link: link.clone(), resolver, config, runtime });
        let shared = reader::share(env.clone(), consumer).map_err(|error| failed(&error))?;
        let subscriptions = Subscriptions::new(env, shared);

        let (asker, its_line, every) = (link.clone(), line.clone(), settings.discover_every.get());
        std::thread::Builder::new()
            .name("kafka-link".into())
            .spawn(move || link::run(&asker, &its_line, every))
            .map_err(|error| failed(&error))?;
        Ok(Kafka { link, line, subscriptions })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.link.stop();
    }
}

impl Connector for Kafka {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn syntax(&self) -> &'static TopicSyntax {
        &SYNTAX
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.link.health()
    }

    fn publish(&self, record: Outbound) -> BoxFuture<'static, Result<Option<Place>, PublishError>> {
        self.line.publish(record)
    }

    fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError> {
        self.subscriptions.subscribe(filter, start, sink)
    }

    fn probe(&self, timeout: Duration) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let line = self.line.clone();
            let asked = tokio::task::spawn_blocking(move || {
                line.metadata(None, timeout).map(|metadata| {
                    let brokers: Vec<_> =
                        metadata.brokers().iter().map(|b| format!("{}:{}", b.host(), b.port())).collect();
                    let topics = metadata.topics().iter().filter(|t| !crate::topic::internal(t.name())).count();
                    format!("{} broker(s) at {}; {topics} topic(s)", brokers.len(), brokers.join(", "))
                })
            });
            self.told(asked.await)
        })
    }

    fn topic_exists(&self, topic: &str, timeout: Duration) -> BoxFuture<'_, Result<bool, String>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            if (SYNTAX.check)(&topic).is_err() {
                return Ok(false);
            }
            let line = self.line.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let metadata = line.metadata(Some(&topic), timeout)?;
                Ok(metadata.topics().iter().any(|found| found.name() == topic && !found.partitions().is_empty()))
            });
            self.told(asked.await)
        })
    }

    /// What retention removed before it was read.
    fn dropped(&self) -> u64 {
        self.link.lost.load(Ordering::Relaxed)
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.subscriptions.close();
            self.line.close(grace).await;
            self.link.stop();
        })
    }
}

impl Kafka {
    /// A question's answer, or in a sentence why there is none.
    fn told<T>(
        &self,
        asked: Result<Result<T, rdkafka::error::KafkaError>, tokio::task::JoinError>,
    ) -> Result<T, String> {
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{} ({error}); check brokers, TLS and credentials", self.link.complaint())),
            Err(_) => Err("the question was given up".into()),
        }
    }
}
