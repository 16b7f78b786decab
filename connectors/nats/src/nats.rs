//! The connector: what of it is what.

use crate::api::Api;
use crate::config::Plan;
use crate::link::Link;
use crate::publish::Line;
use crate::subscribe::Subscriptions;
use connector::{
    BoxFuture, Capabilities, Connector, Context, Event, Health, Outbound, Place, PublishError, Start, SubscribeError,
    Subscription, TopicFilter, TopicSyntax,
};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often the link is looked at besides its events; with JetStream, the API is asked as well.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A running connector.
pub(crate) struct NatsConnector {
    plan: Plan,
    link: Link,
    api: Option<Api>,
    line: Line,
    subscriptions: Subscriptions,
}

impl NatsConnector {
    pub(crate) fn start(plan: Plan, context: &Context) -> Self {
        let link = Link::start(&plan, format!("bayeux-gateway {} {}", context.node, context.name));
        let api = plan.jetstream.then(|| Api::new(link.clone(), plan.domain.as_deref()));
        let watching = watch_health(link.clone(), api.clone());
        let closed = link.closed().clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watching => {}
                () = closed.cancelled() => {}
            }
        });
        NatsConnector {
            line: Line::start(&plan, link.clone(), api.clone()),
            subscriptions: Subscriptions::new(&plan, link.clone(), api.clone()),
            plan,
            link,
            api,
        }
    }

    async fn reached(&self) -> Result<String, String> {
        let connection = self.link.connected().await;
        let info = connection.client.server_info();
        let server = format!("NATS {} at {}:{}", info.version, info.host, info.port);
        let Some(api) = &self.api else { return Ok(format!("{server}, without JetStream")) };
        api.account().await.map_err(|error| format!("{server}, but JetStream does not answer: {error}"))?;
        let streams = api.streams_of(">").await.map_err(|error| error.to_string())?;
        Ok(format!("{server}, JetStream with {} streams", streams.len()))
    }

    fn unreached(&self) -> String {
        let reason = self.link.current().err().map_or_else(|| "NATS does not answer".to_owned(), |lost| lost.0);
        format!("{reason}: check `servers`, the login and TLS, and whether the server runs")
    }
}

/// Keeps the health true.
async fn watch_health(link: Link, api: Option<Api>) {
    let mut changes = link.changes();
    let mut troubles = link.troubles();
    // What works at large may still not work for one subscription.
    let reached = |trouble: Option<String>| match trouble {
        None => link.health().up(),
        Some(reason) => link.health().degraded(reason),
    };
    loop {
        link.reconcile();
        changes.borrow_and_update();
        match link.current() {
            Err(lost) => link.health().down(lost.0),
            Ok(_) => match &api {
                None => link.health().up(),
                Some(api) => match api.account().await {
                    Ok(()) => reached(troubles.borrow_and_update().reason()),
                    // A connection that broke meanwhile is told as such.
                    Err(error) => match link.current() {
                        Ok(_) => link.health().degraded(error.to_string()),
                        Err(lost) => link.health().down(lost.0),
                    },
                },
            },
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = troubles.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Connector for NatsConnector {
    fn order_headers(&self) -> &'static [&'static str] {
        &["Nats-"]
    }

    fn capabilities(&self) -> Capabilities {
        self.plan.capabilities()
    }

    fn syntax(&self) -> &'static TopicSyntax {
        &crate::topic::SYNTAX
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.link.health().subscribe()
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
        self.subscriptions.begin(filter, start, sink)
    }

    fn probe(&self, timeout: Duration) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            match tokio::time::timeout(timeout, self.reached()).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreached()),
            }
        })
    }

    fn topic_exists(&self, topic: &str, timeout: Duration) -> BoxFuture<'_, Result<bool, String>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            (crate::topic::SYNTAX.check)(&topic)?;
            let look = async {
                self.link.connected().await;
                match &self.api {
                    None => Ok(true), // core subjects need no making
                    Some(api) => api.streams_of(&topic).await.map(|s| !s.is_empty()).map_err(|e| e.to_string()),
                }
            };
            match tokio::time::timeout(timeout, look).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreached()),
            }
        })
    }

    fn dropped(&self) -> u64 {
        self.link.dropped().load(Ordering::Relaxed)
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.line.finish(grace).await;
            self.link.close();
        })
    }
}

impl Drop for NatsConnector {
    fn drop(&mut self) {
        self.link.close();
    }
}
