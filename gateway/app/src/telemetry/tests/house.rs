//! A gateway in this process, and a browser that polls.

use crate::telemetry::traces::Traces;
use crate::telemetry::{ConnectorEntry, Telemetry};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bayeux::channel::ChannelPattern;
use bayeux_bridge::mapping::{Compiled, ConnectorTraits, Direction, MappingSpec, OnError, Table};
use bayeux_bridge::{Answering, Bridge, BridgeSettings, ServiceSpec, UnmappedChannels, UnmappedServices};
use bayeux_server::hooks::AllowAll;
use bayeux_server::{HttpOptions, Server, ServerSettings, http};
use connector::Connector;
use connector_memory::{MemoryConnector, Settings};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

/// The services' channels.
pub(crate) const SERVICES: [&str; 1] = ["/service/echo/{name}"];

/// A running gateway.
pub(crate) struct House {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) server: Server,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) connectors: Vec<ConnectorEntry>,
    router: Router,
}

/// `/orders/{region}/{id}` both ways, `/audit` to the broker only.
pub(crate) fn table(connector: &dyn Connector) -> Arc<Table> {
    let mut audit = MappingSpec::new("/audit", "log", "audit");
    audit.direction = Direction::Ingest;
    let mut orders = MappingSpec::new("/orders/{region}/{id}", "log", "orders.{region}.{id}");
    orders.on_error = OnError::DeadLetter("dead".into());
    let specs = [orders, audit];
    let traits = ConnectorTraits { capabilities: connector.capabilities(), syntax: connector.syntax() };
    let Compiled { table, .. } = Table::compile(&specs, &BTreeMap::from([("log".to_owned(), traits)])).unwrap();
    Arc::new(table)
}

impl House {
    /// With spans going to that provider.
    pub(crate) fn new(provider: Option<SdkTracerProvider>) -> Self {
        let memory = MemoryConnector::open(Settings::default()).unwrap();
        let connector: Arc<dyn Connector> = Arc::new(memory);
        let table = table(&*connector);
        let services = SERVICES.map(str::to_owned);
        let traces = provider.map(|provider| Traces::of(provider, &table, &services));
        let telemetry = Arc::new(Telemetry::with(traces, &table, &services).unwrap());
        let echo = ServiceSpec {
            channel: ChannelPattern::parse(SERVICES[0]).unwrap(),
            answering: Answering::Echo,
            timeout: Duration::from_secs(5),
            max_in_flight: 10,
        };
        let settings = BridgeSettings {
            unmapped_channels: UnmappedChannels::Local,
            unmapped_services: UnmappedServices::Acknowledge,
            node: "here".into(),
            replay: true,
            load: Default::default(),
            subscribe_timeout: Duration::from_secs(5),
        };
        let connectors = BTreeMap::from([("log".to_owned(), Arc::clone(&connector))]);
        let bridge = Arc::new(Bridge::new(table, connectors, vec![echo], settings, telemetry.observer()));
        let settings = ServerSettings {
            long_polling: HttpOptions { trust_client_session: true, ..HttpOptions::default() },
            ..ServerSettings::default()
        };
        let server = Server::new(settings, Arc::new(AllowAll), Arc::clone(&bridge) as _);
        bridge.start(server.clone());
        let entry = ConnectorEntry { name: "log".into(), kind: "memory".into(), required: true, connector };
        let connectors = vec![entry];
        telemetry.watch(&server, &bridge, &connectors);
        let router = http::router(server.clone(), "/cometd");
        House { telemetry, server, bridge, connectors, router }
    }

    /// What the gateway answers to these messages.
    pub(crate) async fn post(&self, messages: Value) -> Vec<Value> {
        let request = Request::post("/cometd").header("content-type", "application/json");
        let request = request.body(Body::from(messages.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// A session's client id.
    pub(crate) async fn handshake(&self) -> String {
        let handshake = json!([{"channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"]}]);
        self.post(handshake).await[0]["clientId"].as_str().unwrap().to_owned()
    }

    /// Polls until `count` messages on broadcast and service channels have come.
    pub(crate) async fn take(&self, client: &str, count: usize) -> Vec<Value> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let connect = json!([{"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}]);
            let messages = self.post(connect).await;
            taken.extend(messages.into_iter().filter(|m| m["channel"] != "/meta/connect"));
        }
        taken
    }

    /// Three orders that come back, one audit entry, one call, one text that is no JSON.
    pub(crate) async fn story(&self) -> String {
        let client = self.handshake().await;
        let message = |channel: &str, data: Value| json!({"channel": channel, "clientId": client, "data": data});
        let subscribe = json!([{"channel": "/meta/subscribe", "clientId": client, "subscription": "/orders/**"}]);
        assert_eq!(self.post(subscribe).await[0]["successful"], true);
        let orders: Vec<_> = (0..3).map(|n| message("/orders/eu/1", json!(n))).collect();
        self.post(json!(orders)).await;
        self.post(json!([message("/audit", json!("x")), message("/service/echo/me", json!("hi"))])).await;
        self.post(json!("nonsense")).await;
        // The broker hands them back in its own time.
        let back = "bayeux_egress_messages_total{connector=\"log\",mapping=\"/orders/{region}/{id}\",outcome=\"ok\"}";
        while self.metric(back) != Some(3.0) {
            tokio::task::yield_now().await;
        }
        client
    }

    /// One value of the exporter's text.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.telemetry.metrics().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}
