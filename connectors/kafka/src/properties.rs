//! librdkafka's properties: which are reserved, and what librdkafka says of the others.

use crate::config::at;
use connector::SettingsError;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// The value of a property: a string, a number or a boolean. It may be a secret, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PropertyValue(String);

impl PropertyValue {
    /// As librdkafka reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = PropertyValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }
            fn visit_str<E>(self, v: &str) -> Result<PropertyValue, E> {
                Ok(PropertyValue(v.to_owned()))
            }
            fn visit_bool<E>(self, v: bool) -> Result<PropertyValue, E> {
                Ok(PropertyValue(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(v.to_string()))
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl JsonSchema for PropertyValue {
    fn schema_name() -> Cow<'static, str> {
        "PropertyValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"], "description": "The value of a librdkafka property." })
    }
}

/// Properties that this connector's promises rest on, with what to do instead.
const RESERVED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "write the brokers under `brokers`"),
    (&["acks", "request.required.acks"], "a publish is confirmed when all replicas in sync have it, always"),
    (&["enable.idempotence", "enable.gapless.guarantee"], "the producer is idempotent, always"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "write `publish_timeout` in the mapping"),
    (
        &["queue.buffering.max.messages", "queue.buffering.max.kbytes"],
        "write `max_in_flight` or `max_in_flight_bytes` beside `properties`",
    ),
    (&["transactional.id", "transaction.timeout.ms"], "this connector uses no transactions"),
    (&["allow.auto.create.topics"], "topics are not made by reading or asking; see `create_topics`"),
    (&["group.id", "group.instance.id", "group.protocol"], "the gateway reads all partitions itself, in no group"),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "auto.offset.reset",
        ],
        "the gateway keeps its own offsets and commits none",
    ),
    (&["enable.partition.eof"], "the gateway needs it as it is"),
    (&["delivery.report.only.error"], "each publish is answered"),
    (&["log.queue"], "the gateway needs it as it is"),
];

/// Names that librdkafka takes for the same property as one of our defaults.
pub(crate) fn same_as(name: &'static str) -> &'static [&'static str] {
    match name {
        "linger.ms" => &["queue.buffering.max.ms"],
        _ => &[],
    }
}

/// Refuses reserved properties, unknown ones and values that librdkafka does not take.
pub(crate) fn check(path: &[&str], name: &str, value: &str) -> Result<(), SettingsError> {
    if let Some((_, instead)) = RESERVED.iter().find(|(names, _)| names.contains(&name)) {
        return Err(at(path, format!("`{name}` is reserved: {instead}")));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, description, ..)) => Err(at(path, format!("`{name}`: {description}"))),
        Err(error) => Err(at(path, format!("`{name}`: {error}"))),
    }
}

/// Makes both clients without a broker: librdkafka then checks the properties together and reads certificates, and
/// opens no socket.
pub(crate) fn try_clients(producer: &ClientConfig, consumer: &ClientConfig) -> Result<(), SettingsError> {
    fn complaint<T>(made: KafkaResult<T>) -> Result<(), SettingsError> {
        made.map(drop).map_err(|error| {
            let text = match error {
                KafkaError::ClientCreation(text) => text,
                KafkaError::ClientConfig(_, description, name, _) => format!("`{name}`: {description}"),
                other => other.to_string(),
            };
            at(&["properties"], text)
        })
    }
    complaint(BaseProducer::<Silent>::from_config_and_context(producer, Silent))?;
    complaint(BaseConsumer::<Silent>::from_config_and_context(consumer, Silent))
}

/// A context for clients that are only made to be checked.
struct Silent;
impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}
impl ProducerContext for Silent {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
impl ConsumerContext for Silent {}
