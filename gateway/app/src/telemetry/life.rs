//! Telemetry from the gateway's start to its end.

use super::gauges::{self, Last};
use super::instruments::Instruments;
use super::labels::OUTCOMES;
use super::observer::Observations;
use super::snapshot::{ConnectorEntry, Snapshot, Watched};
use super::traces::{EndpointError, Traces};
use bayeux_bridge::Bridge;
use bayeux_bridge::mapping::Table;
use bayeux_bridge::observe::Observer;
use bayeux_server::Server;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::TextEncoder;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the last traces may take to leave.
const FLUSH: Duration = Duration::from_secs(2);
/// Labelled values of an instrument beside those of mappings, services and connectors.
const SPARE_LABELS: usize = 64;

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Traces have nowhere to go.
    #[error("otlp_endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// Metrics could not be set up: a mistake of ours.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Metrics and traces of one gateway.
pub struct Telemetry {
    observations: Arc<Observations>,
    registry: prometheus::Registry,
    /// The instruments are alive as long as it is.
    _meters: SdkMeterProvider,
    last: Last,
    watched: OnceLock<Watched>,
}

impl Telemetry {
    /// Metrics for the mappings of `table` and the services with these channel patterns, in the order of the config;
    /// traces to `otlp_endpoint` (OTLP over gRPC), if there is one. Inside a tokio runtime.
    ///
    /// # Errors
    /// When the endpoint is no URL to send to. That nobody listens there is no error: it is told in the log.
    pub fn start(otlp_endpoint: Option<&str>, table: &Arc<Table>, services: &[String]) -> Result<Self, StartError> {
        let endpoint = otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
        let traces = endpoint.map(|endpoint| Traces::to(endpoint, table, services)).transpose()?;
        Self::with(traces, table, services)
    }

    /// The same with traces that go elsewhere.
    pub(super) fn with(traces: Option<Traces>, table: &Arc<Table>, services: &[String]) -> Result<Self, StartError> {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| StartError::Metrics(error.to_string()))?;
        let labelled = (table.mappings().len() + services.len()) * OUTCOMES.len() + SPARE_LABELS;
        let bound = move |_: &Instrument| Stream::builder().with_cardinality_limit(labelled).build().ok();
        let meters = SdkMeterProvider::builder().with_reader(reader).with_view(bound).build();
        let meter = meters.meter("bayeux-gateway");
        let last = Last::default();
        gauges::register(&meter, &last);
        let build = meter.u64_gauge("bayeux.build.info").with_description("Always 1; says what runs").build();
        let commit = option_env!("BAYEUX_GATEWAY_COMMIT").unwrap_or("unknown");
        build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION")), KeyValue::new("commit", commit)]);
        let instruments = Instruments::new(&meter, table, services);
        let observations = Arc::new(Observations { instruments, traces });
        Ok(Telemetry { observations, registry, _meters: meters, last, watched: OnceLock::new() })
    }

    /// For the bridge.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.observations) as _
    }

    /// What is looked at for each answer of [`Telemetry::metrics`]. The first call counts.
    pub fn watch(&self, server: &Server, bridge: &Arc<Bridge>, connectors: &[ConnectorEntry]) {
        if let Some(traces) = &self.observations.traces {
            traces.name_systems(|connector| {
                connectors.iter().find(|entry| entry.name == connector).map(|entry| entry.kind.clone())
            });
        }
        let connectors = connectors.to_vec();
        let _ = self.watched.set(Watched { server: server.clone(), bridge: Arc::clone(bridge), connectors });
    }

    /// All metrics as of now, in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written: a mistake of ours.
    pub fn metrics(&self) -> Result<String, prometheus::Error> {
        if let Some(watched) = self.watched.get() {
            let look = Snapshot::take(watched);
            *self.last.lock() = Some(look);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Sends the traces that are not sent yet, for at most two seconds. Nothing is traced afterwards.
    pub async fn shutdown(&self) {
        let observations = Arc::clone(&self.observations);
        // It waits for the exporter's thread, which needs the runtime for its connection.
        let flushed = tokio::task::spawn_blocking(move || match &observations.traces {
            Some(traces) => traces.shutdown(FLUSH),
            None => Ok(()),
        });
        match tokio::time::timeout(FLUSH + Duration::from_secs(1), flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces were not sent"),
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not sent"),
            Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}
