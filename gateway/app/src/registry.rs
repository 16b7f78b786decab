//! Which kinds of connectors and handlers this build has. A new kind is one line here.

use connector::{ConnectorKind, HandlerKind};
use gateway_config::Registry;

const CONNECTORS: &[ConnectorKind] = &[
    ConnectorKind::of::<connector_memory::MemoryFactory>(),
    #[cfg(feature = "kafka")]
    ConnectorKind::of::<connector_kafka::KafkaFactory>(),
    #[cfg(feature = "nats")]
    ConnectorKind::of::<connector_nats::NatsFactory>(),
    #[cfg(feature = "mqtt")]
    ConnectorKind::of::<connector_mqtt::MqttFactory>(),
];

const HANDLERS: &[HandlerKind] = &[HandlerKind::of::<connector_http::HttpFactory>()];

/// Whether what such a connector keeps is in the gateway's own memory, so that no other process sees it.
pub fn lives_in_the_process(kind: &str) -> bool {
    kind == "memory"
}

/// The registry.
pub fn registry() -> Registry<'static> {
    Registry { connectors: CONNECTORS, handlers: HANDLERS }
}
