//! Settings, and what they become for librdkafka.

use crate::properties::{self, PropertyValue};
use connector::{ByteSize, Context, Duration, SettingsError, TlsSettings};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Settings of a Kafka connector; only `brokers` is needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the cluster is first asked, each as `host:port`.
    pub brokers: Vec<String>,
    /// Properties of librdkafka, such as `security.protocol: sasl_ssl` or `linger.ms: 20`. Those that this connector
    /// depends on are refused. Each applies to the producer, to the consumers or to both, as librdkafka says.
    #[serde(default)]
    pub properties: BTreeMap<String, PropertyValue>,
    /// Properties whose values are read from files (their first line), such as
    /// `ssl.key.password: /run/secrets/key-password`.
    #[serde(default)]
    pub property_files: BTreeMap<String, PathBuf>,
    /// The password for SASL, read from a file: short for `property_files: { sasl.password: … }`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// TLS toward the brokers: sets `security.protocol` to `ssl`, or to `sasl_ssl` when there is a `sasl.mechanism`.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// How often the cluster is asked for new topics and partitions.
    #[serde(default = "default_discover_every")]
    pub discover_every: Duration,
    /// Lets a publish make a topic that does not exist. Absent: no topic is ever made.
    #[serde(default)]
    pub create_topics: Option<CreateTopics>,
    /// How many records may wait for their confirmation; beyond, publishes are refused as overload.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// How many bytes of them (values, keys, headers).
    #[serde(default = "default_max_in_flight_bytes")]
    pub max_in_flight_bytes: ByteSize,
}

fn default_discover_every() -> Duration {
    Duration::from_secs(5)
}
fn default_max_in_flight() -> usize {
    100_000
}
fn default_max_in_flight_bytes() -> ByteSize {
    ByteSize::from_mib(256)
}

/// How a topic is made that a publish asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTopics {
    /// Partitions of each.
    pub partitions: i32,
    /// Copies of each (the replication factor); -1 is the cluster's default.
    pub copies: i32,
    /// How many topics this gateway makes at most before it has to be restarted.
    pub max: u32,
}

/// Settings found good, with files read.
#[derive(Clone)]
pub struct KafkaPlan {
    pub(crate) settings: Settings,
    /// What the user set, files and TLS included.
    properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPlan").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What this connector prefers where the user says nothing: low latency, quick reconnects, modest memory.
const DEFAULTS: &[(&str, &str)] = &[
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("socket.timeout.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "3000"),
    ("reconnect.backoff.ms", "200"),
    ("reconnect.backoff.max.ms", "500"),
    ("retry.backoff.max.ms", "1000"),
];
const PRODUCER_DEFAULTS: &[(&str, &str)] = &[("partitioner", "murmur2_random"), ("linger.ms", "1")];
const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "500"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "4096"),
    ("isolation.level", "read_committed"),
    // A deleted topic is then noticed at once; where it was only not known yet, reading goes on by itself.
    ("topic.metadata.propagation.max.ms", "1000"),
];

/// How long librdkafka goes on with a record that it has, in milliseconds. Far longer than any publisher waits (each has its
/// own deadline, by which it is told that the outcome is unknown): when a record that may have been stored is given up,
/// librdkafka begins a new producer epoch, and sends those behind it again under that, which stores them twice where
/// they had been stored.
const MESSAGE_TIMEOUT: &str = "120000";

impl KafkaPlan {
    /// Finds every mistake: librdkafka itself reads the properties, and makes clients that know no broker.
    pub(crate) fn new(settings: Settings) -> Result<Self, SettingsError> {
        check_brokers(&settings.brokers)?;
        check_bounds(&settings)?;
        let mut properties = BTreeMap::new();
        for (name, value) in &settings.properties {
            properties::check(&["properties", name], name, value.as_str())?;
            properties.insert(name.clone(), value.as_str().to_owned());
        }
        let password = settings.password_file.iter().map(|path| (vec!["password_file"], "sasl.password", path));
        let files = settings.property_files.iter().map(|(name, p)| (vec!["property_files", name], name.as_str(), p));
        for (path, name, file) in password.chain(files) {
            let value = first_line(&path, file)?;
            properties::check(&path, name, &value)?;
            if properties.insert(name.to_owned(), value).is_some() {
                return Err(at(&path, format!("`{name}` is set twice; leave one of them")));
            }
        }
        if let Some(tls) = &settings.tls {
            apply_tls(tls, &mut properties)?;
        }
        let plan = KafkaPlan { settings, properties };
        properties::try_clients(&plan.producer(None), &plan.consumer(None))?;
        Ok(plan)
    }

    /// The configuration of producers. Without a context it knows no broker.
    pub(crate) fn producer(&self, context: Option<&Context>) -> ClientConfig {
        let mut config = self.client(PRODUCER_DEFAULTS, context);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", MESSAGE_TIMEOUT);
        // Our own count refuses first; librdkafka's lags a little behind it.
        config.set("queue.buffering.max.messages", (self.settings.max_in_flight + 10_000).to_string());
        let kib = self.settings.max_in_flight_bytes.get() / 1024 + 1024;
        config.set("queue.buffering.max.kbytes", kib.min(2_147_483_647).to_string());
        config
    }

    /// The configuration of consumers.
    pub(crate) fn consumer(&self, context: Option<&Context>) -> ClientConfig {
        let mut config = self.client(CONSUMER_DEFAULTS, context);
        // A name that librdkafka asks for; nothing is ever committed under it, and no group is joined.
        config.set("group.id", "bayeux-gateway");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        config
    }

    /// The configuration of the client that makes topics.
    pub(crate) fn admin(&self, context: &Context) -> ClientConfig {
        self.client(&[], Some(context))
    }

    fn client(&self, defaults: &'static [(&'static str, &'static str)], context: Option<&Context>) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS.iter().chain(defaults) {
            // An alias of it that the user set must win, and librdkafka takes both in no certain order.
            if !properties::same_as(name).iter().any(|alias| self.properties.contains_key(*alias)) {
                config.set(*name, *value);
            }
        }
        if let Some(context) = context {
            config.set("client.id", format!("bayeux-gateway-{}-{}", context.node, context.name));
            config.set("bootstrap.servers", self.settings.brokers.join(","));
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("allow.auto.create.topics", "false");
        // Our own log decides what is shown; without this, librdkafka would say nothing below an error.
        let debug = self.properties.contains_key("debug");
        config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }
}

fn check_brokers(brokers: &[String]) -> Result<(), SettingsError> {
    if brokers.is_empty() {
        return Err(SettingsError::at("brokers", "at least one broker is needed, such as localhost:9092"));
    }
    for (i, broker) in brokers.iter().enumerate() {
        let fine = broker.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            let host_fine = bare.map_or_else(
                || !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || ",:/".contains(c)),
                |v6| v6.parse::<std::net::Ipv6Addr>().is_ok(),
            );
            host_fine && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !fine {
            let message = format!("`{broker}` is not host:port; write it such as kafka.example.com:9092");
            return Err(at(&["brokers", &i.to_string()], message));
        }
    }
    Ok(())
}

fn check_bounds(settings: &Settings) -> Result<(), SettingsError> {
    if settings.max_in_flight == 0 || settings.max_in_flight > 10_000_000 {
        return Err(SettingsError::at("max_in_flight", "write a number from 1 to 10000000"));
    }
    if settings.max_in_flight_bytes.get() == 0 {
        return Err(SettingsError::at("max_in_flight_bytes", "write a size above zero, such as 256MiB"));
    }
    if settings.discover_every < Duration::from_millis(100) {
        return Err(SettingsError::at("discover_every", "write at least 100ms"));
    }
    if let Some(create) = &settings.create_topics {
        if create.partitions < 1 {
            return Err(SettingsError::at("create_topics.partitions", "a topic has at least one partition"));
        }
        if create.copies != -1 && !(1..=i32::from(i16::MAX)).contains(&create.copies) {
            return Err(SettingsError::at("create_topics.copies", "write at least 1, or -1 for the cluster's default"));
        }
    }
    Ok(())
}

fn apply_tls(tls: &TlsSettings, properties: &mut BTreeMap<String, String>) -> Result<(), SettingsError> {
    let sasl = properties.contains_key("sasl.mechanism") || properties.contains_key("sasl.mechanisms");
    match properties.get("security.protocol").map(|p| p.to_ascii_lowercase()).as_deref() {
        None => {
            let protocol = if sasl { "sasl_ssl" } else { "ssl" };
            properties.insert("security.protocol".into(), protocol.into());
        }
        Some("ssl" | "sasl_ssl") => {}
        Some(other) => {
            let message = format!("`tls` asks for TLS, and security.protocol says {other}; leave one of them");
            return Err(at(&["properties", "security.protocol"], message));
        }
    }
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        return Err(SettingsError::at("tls", "cert_file and key_file go together"));
    }
    for (key, property, file) in [
        ("ca_file", "ssl.ca.location", &tls.ca_file),
        ("cert_file", "ssl.certificate.location", &tls.cert_file),
        ("key_file", "ssl.key.location", &tls.key_file),
    ] {
        let Some(file) = file else { continue };
        std::fs::File::open(file).map_err(|error| unreadable(&["tls", key], file, &error))?;
        if properties.insert(property.into(), file.display().to_string()).is_some() {
            return Err(at(&["properties", property], format!("`tls.{key}` sets this as well; leave one of them")));
        }
    }
    Ok(())
}

fn first_line(path: &[&str], file: &Path) -> Result<String, SettingsError> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(path, file, &error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(at(path, format!("the first line of {} is empty", file.display()))),
    }
}

fn unreadable(path: &[&str], file: &Path, error: &std::io::Error) -> SettingsError {
    at(path, format!("cannot read {}: {error}", file.display()))
}

/// A mistake at a path whose keys may hold dots.
pub(crate) fn at(path: &[&str], message: impl Into<String>) -> SettingsError {
    SettingsError { path: path.iter().map(|p| (*p).to_owned()).collect(), message: message.into() }
}
