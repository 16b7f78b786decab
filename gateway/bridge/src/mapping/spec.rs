//! What the config says of one mapping, as plain values.

use super::schema::Schema;
use bytestring::ByteString;
use connector::{Capabilities, TopicSyntax};
use std::sync::Arc;
use std::time::Duration;

/// One mapping as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingSpec {
    /// What its author calls it, in metrics and logs; without one, its channel.
    pub name: Option<String>,
    /// The channel pattern: `/orders/{region}/{id}`, `/market/**`.
    pub channel: String,
    /// The connector's name in the config.
    pub connector: String,
    /// The topic template, in the broker's own separator.
    pub topic: String,
    /// The key template; without one, records of a connector with keys have the channel as key.
    pub key: Option<String>,
    /// A fixed partition, which overrides the key's.
    pub partition: Option<i32>,
    /// Header templates, by header name.
    pub headers: Vec<(String, String)>,
    /// Which way messages go.
    pub direction: Direction,
    /// How a message's data is written in a record.
    pub format: Format,
    /// Whether clients may use CometD's binary extension.
    pub binary_extension: bool,
    /// How long a publish may wait for the broker.
    pub publish_timeout: Duration,
    /// What happens to a record that cannot become a message.
    pub on_error: OnError,
    /// When records are read.
    pub consume: Consume,
    /// Whether clients may read back, and how far.
    pub replay: Option<Replay>,
    /// How deliveries are wrapped.
    pub envelope: Envelope,
    /// How often messages go out, if not each as it comes.
    pub deliver: Option<Deliver>,
    /// What of the record's surroundings deliveries show.
    pub include: Include,
    /// What the data of a publish must be.
    pub schema: Option<Arc<Schema>>,
    /// Whether publishing `null` stores a tombstone.
    pub tombstones: bool,
}

impl MappingSpec {
    /// A mapping with the config's defaults: both ways, JSON, binary extension, five seconds, skip, on demand.
    pub fn new(channel: impl Into<String>, connector: impl Into<String>, topic: impl Into<String>) -> Self {
        MappingSpec {
            name: None,
            channel: channel.into(),
            connector: connector.into(),
            topic: topic.into(),
            key: None,
            partition: None,
            headers: Vec::new(),
            direction: Direction::Both,
            format: Format::Json,
            binary_extension: true,
            publish_timeout: Duration::from_secs(5),
            on_error: OnError::Skip,
            consume: Consume::OnDemand,
            replay: None,
            envelope: Envelope::Plain,
            deliver: None,
            include: Include::default(),
            schema: None,
            tombstones: false,
        }
    }
}

impl MappingSpec {
    /// What it is called in metrics and logs.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.channel)
    }
}

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// Whether publishes go to the broker.
    pub fn is_ingest(self) -> bool {
        self != Direction::Egress
    }
    /// Whether records go to browsers.
    pub fn is_egress(self) -> bool {
        self != Direction::Ingest
    }
}

/// How a message's data is written in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The JSON as the client sent it, byte for byte.
    #[default]
    Json,
    /// The data is a JSON string; the record holds its text in UTF-8.
    Text,
    /// The data is a JSON string of base64, or a message of the binary extension; the record holds the bytes.
    Binary,
}

/// What happens to a record that cannot become a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnError {
    /// It is counted, logged and passed over.
    #[default]
    Skip,
    /// The mapping stops reading.
    Stop,
    /// It is stored in this topic of the same connector, and the mapping goes on; so are publishes that the broker refuses for
    /// good.
    DeadLetter(ByteString),
}

/// When records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consume {
    /// While somebody subscribes.
    #[default]
    OnDemand,
    /// From the start on.
    Always,
}

/// How far clients may read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// So many records from the end of each log.
    pub max_records: u64,
    /// Records up to this age; `None`: as old as the broker keeps them.
    pub max_age: Option<Duration>,
}

/// Of messages about the same, only the latest, and not more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// A JSON pointer into the data: messages of a channel that have the same there are about the same. `None`: all of a
    /// channel are.
    pub conflate_by: Option<String>,
    /// The time between two deliveries.
    pub every: Duration,
}

/// How deliveries are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Envelope {
    /// Data is the record's value.
    #[default]
    Plain,
    /// Data is `{event: {replayId, createdDate}, payload: <value>}`.
    Salesforce,
}

/// What `ext.record` shows in deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include {
    /// The record's key.
    pub key: bool,
    /// The broker's timestamp.
    pub timestamp: bool,
    /// The record's headers.
    pub headers: bool,
}

/// What the table must know of a connector.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorTraits {
    /// What it can do.
    pub capabilities: Capabilities,
    /// How its topics are written.
    pub syntax: &'static TopicSyntax,
}
