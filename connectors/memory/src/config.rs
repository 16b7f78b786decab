//! Settings, and how a connector is made of them.

use crate::{MemoryConnector, SYNTAX};
use connector::{
    ByteSize, Capabilities, Confirm, ConnectError, Connector, ConnectorFactory, Context, Duration, SettingsError,
    TopicSyntax,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a memory connector can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    confirm: Confirm::Stored,
    log: true,
    keys: true,
    partitions: false,
    headers: true,
    tombstones: true,
    rest_topics: true,
    retained: false,
    back_pressure: true,
};

/// Settings of a memory connector; all have a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many records a topic keeps.
    pub max_messages: usize,
    /// How many bytes a topic keeps: values, keys and headers, and 128 for each record.
    pub max_bytes: ByteSize,
    /// How long a record is kept. Absent: until it has to give way.
    pub max_age: Option<Duration>,
    /// How many bytes all topics together keep. Beyond, the largest topics lose their oldest records.
    pub max_total_bytes: ByteSize,
    /// How many topics there may be.
    pub max_topics: usize,
    /// Topics that exist from the start.
    pub topics: Vec<String>,
    /// Whether a publish makes a topic that does not exist. Without, only `topics` can be published to.
    pub create_topics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_messages: 10_000,
            max_bytes: ByteSize::from_mib(16),
            max_age: None,
            max_total_bytes: ByteSize::from_mib(256),
            max_topics: 10_000,
            topics: Vec::new(),
            create_topics: true,
        }
    }
}

/// Settings found good.
#[derive(Debug, Clone)]
pub struct MemoryPlan(pub(crate) Settings);

/// Makes memory connectors: `demo: { memory: {} }`.
#[derive(Debug, Clone, Copy)]
pub struct MemoryFactory;

impl ConnectorFactory for MemoryFactory {
    const KIND: &'static str = "memory";
    type Settings = Settings;
    type Plan = MemoryPlan;

    fn plan(settings: Settings) -> Result<MemoryPlan, SettingsError> {
        let positive = |name: &str, fine: bool| {
            if fine { Ok(()) } else { Err(SettingsError::at(name, format!("`{name}` must be more than zero"))) }
        };
        positive("max_messages", settings.max_messages > 0)?;
        positive("max_bytes", settings.max_bytes.get() > 0)?;
        positive("max_topics", settings.max_topics > 0)?;
        positive("max_age", settings.max_age.is_none_or(|age| !age.get().is_zero()))?;
        if settings.max_total_bytes < settings.max_bytes {
            let message = format!(
                "`max_total_bytes` ({}) must be at least `max_bytes` ({}), which one topic may take",
                settings.max_total_bytes, settings.max_bytes
            );
            return Err(SettingsError::at("max_total_bytes", message));
        }
        for (i, topic) in settings.topics.iter().enumerate() {
            let path = format!("topics.{i}");
            (SYNTAX.check)(topic).map_err(|why| SettingsError::at(&path, why))?;
            if i >= settings.max_topics {
                return Err(SettingsError::at(&path, format!("`max_topics` allows only {}", settings.max_topics)));
            }
        }
        if settings.topics.is_empty() && !settings.create_topics {
            let message = "without `create_topics`, list in `topics` what can be published to";
            return Err(SettingsError::at("create_topics", message));
        }
        Ok(MemoryPlan(settings))
    }

    fn capabilities(_: &MemoryPlan) -> Capabilities {
        CAPABILITIES
    }

    fn syntax() -> &'static TopicSyntax {
        &SYNTAX
    }

    fn connect(plan: &MemoryPlan, _: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        Ok(Arc::new(MemoryConnector::new(plan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(settings: Settings) -> String {
        let error = MemoryFactory::plan(settings).unwrap_err();
        format!("{}: {}", error.path.join("."), error.message)
    }

    #[test]
    fn the_defaults_are_good() {
        MemoryFactory::plan(Settings::default()).unwrap();
    }

    #[test]
    fn mistakes_name_their_key() {
        let good = Settings::default;
        assert_eq!(
            mistake(Settings { max_messages: 0, ..good() }),
            "max_messages: `max_messages` must be more than zero"
        );
        assert_eq!(
            mistake(Settings { max_age: Some(Duration::from_secs(0)), ..good() }),
            "max_age: `max_age` must be more than zero"
        );
        let topics = vec!["orders.eu".to_owned(), "orders..us".to_owned()];
        assert!(mistake(Settings { topics, ..good() }).starts_with("topics.1: a topic has no empty token"));
        let small = Settings { max_total_bytes: ByteSize::from_kib(1), ..good() };
        assert!(mistake(small).starts_with("max_total_bytes: `max_total_bytes` (1KiB) must be at least"));
        assert!(mistake(Settings { create_topics: false, ..good() }).starts_with("create_topics: "));
    }
}
