//! Mappings: which channel is bridged to which topic.

use connector::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bridges channels to topics. `{name}` stands for one segment of the channel and is the same value in `topic`, `key`
/// and `headers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What metrics, logs and commands call this mapping. Absent: its channel.
    #[serde(default)]
    pub name: Option<String>,
    /// The channels: exact, or with `{name}` or `*` for one segment, or ending in `**` for one or more.
    pub channel: String,
    /// The name of the connector.
    pub connector: String,
    /// The topic (NATS: subject), in the broker's own separator; `{name}` is the channel's segment of that name.
    pub topic: String,
    /// The record's key. Absent: the channel itself, where the broker has keys.
    #[serde(default)]
    pub key: Option<String>,
    /// A fixed partition, instead of the one that the key decides.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub partition: Option<i32>,
    /// Headers to set on records: templates, as `topic`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Which way messages go.
    #[serde(default)]
    pub direction: Direction,
    /// How a message's data is written in a record.
    #[serde(default)]
    pub format: Format,
    /// A file with a JSON Schema that the data of a publish must fit, such as `order.json`; else it is refused with
    /// `400:<channel>:schema_violation`, and `ext.violation` says where and why.
    #[serde(default)]
    pub schema_file: Option<PathBuf>,
    /// How long a publisher waits for the broker's confirmation. CometD's clients give up after 10s.
    #[serde(default = "publish_timeout")]
    pub publish_timeout: Duration,
    /// What happens with a record that cannot become a message.
    #[serde(default)]
    pub on_error: OnError,
    /// When the topic is read. Absent: `on_demand`, with `replay` `always`.
    #[serde(default)]
    pub consume: Option<Consume>,
    /// Lets clients read on from a position (`ext.replay` of a subscription), and sessions that are slow catch up instead of
    /// ending. `true`: with the defaults. Needs a connector that keeps a log.
    #[serde(default)]
    pub replay: Replay,
    /// Deliver only the latest of messages about the same, and not more often than this: for values that are soon out of
    /// date, such as prices.
    #[serde(default)]
    pub deliver: Option<Deliver>,
    /// How deliveries are wrapped.
    #[serde(default)]
    pub envelope: Envelope,
    /// What of the record is added to each delivery as `ext.record`.
    #[serde(default)]
    pub include: Vec<Include>,
    /// A publish without data, or with `null`, becomes a tombstone (a key without a value) instead of the JSON text
    /// `null`.
    #[serde(default)]
    pub tombstones: bool,
}

fn publish_timeout() -> Duration {
    Duration::from_secs(5)
}

/// Which way messages go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From browsers to the broker.
    Ingest,
    /// From the broker to browsers.
    Egress,
    /// Both ways.
    #[default]
    Both,
}

impl Direction {
    /// Browsers may publish.
    pub fn is_ingest(self) -> bool {
        self != Direction::Egress
    }
    /// Browsers may subscribe.
    pub fn is_egress(self) -> bool {
        self != Direction::Ingest
    }
}

/// How a message's data is written in a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The JSON text exactly as the client sent it.
    #[default]
    Json,
    /// Data is a JSON string; the record holds its text.
    Text,
    /// Data is bytes, which the record holds: a message of the binary extension, or base64 in a JSON string. Delivered
    /// as the former, or as the latter where `bayeux.extensions` has no `binary`.
    Binary,
}

/// What happens with a record that cannot become a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is counted, logged and passed over.
    #[default]
    Skip,
    /// The mapping delivers nothing more until somebody looks.
    Stop,
    /// It is stored in a topic of its own, and the mapping goes on. A publish that the broker refuses for good is stored
    /// there as well. `bayeux-gateway redrive` sends them again.
    DeadLetter(DeadLetter),
}

/// Where records go that cannot become messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// A topic of the same connector, such as `orders-dead`. It must exist, and is none that the mapping reads.
    pub topic: String,
}

/// How often messages go out, if not each as it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// A JSON pointer into the data, such as `/symbol`: messages of a channel with the same value there are about the same.
    /// Absent: all messages of a channel are.
    #[serde(default)]
    pub conflate_by: Option<String>,
    /// The time between two deliveries about the same.
    pub every: Duration,
}

/// Whether clients may read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Replay {
    /// With the defaults, or not.
    Simple(bool),
    /// With these bounds.
    Bounded(ReplayBounds),
}

impl Default for Replay {
    fn default() -> Self {
        Replay::Simple(false)
    }
}

impl Replay {
    /// The bounds, if clients may read back.
    pub fn bounds(&self) -> Option<ReplayBounds> {
        match self {
            Replay::Simple(false) => None,
            Replay::Simple(true) => Some(ReplayBounds::default()),
            Replay::Bounded(bounds) => Some(bounds.clone()),
        }
    }
}

/// How far clients may read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayBounds {
    /// So many records from the end of each log (a Kafka partition, a JetStream stream). A position further back is refused.
    #[schemars(range(min = 1))]
    pub max_records: u64,
    /// Records up to this age. Absent: as old as the broker keeps them.
    pub max_age: Option<Duration>,
}

impl Default for ReplayBounds {
    fn default() -> Self {
        ReplayBounds { max_records: 100_000, max_age: None }
    }
}

/// How deliveries are wrapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// Data is the record's value; with `replay` its position is `ext.replay`.
    #[default]
    Plain,
    /// As Salesforce's clients want it: data is `{event: {replayId, createdDate}, payload: <the record's value>}`. Needs
    /// `replay`, and positions that are whole numbers: a Kafka topic of one partition or a fixed `partition`, JetStream or
    /// memory.
    Salesforce,
}

/// When a topic is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consume {
    /// While somebody is subscribed.
    #[default]
    OnDemand,
    /// From start to shutdown.
    Always,
}

/// A part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Include {
    /// The key.
    Key,
    /// When it was stored.
    Timestamp,
    /// Its headers.
    Headers,
}
