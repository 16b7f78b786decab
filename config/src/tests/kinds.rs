//! Two brokers and a handler that exist on paper only: enough to have settings.

use crate::{Loaded, Registry, Report, Source, Sources, load};
use connector::{
    Capabilities, Confirm, ConnectError, Connector, ConnectorFactory, ConnectorKind, Context, Duration, HandlerContext,
    HandlerFactory, HandlerKind, RequestHandler, Secret, SettingsError, TlsSettings, TopicSyntax,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

static SYNTAX: TopicSyntax = TopicSyntax {
    separator: b'.',
    introducer: "%",
    literal: |byte, _| byte.is_ascii_alphanumeric(),
    check: |_| Ok(()),
    wildcards: &[],
    rest: true,
};

const CAPABILITIES: Capabilities = Capabilities {
    confirm: Confirm::Stored,
    log: true,
    keys: true,
    partitions: true,
    headers: true,
    tombstones: true,
    rest_topics: true,
    retained: false,
    back_pressure: true,
};

/// Settings of a broker with a list of addresses.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(super) struct LogSettings {
    /// Addresses as `host:port`. More than one is better.
    brokers: Vec<String>,
    /// Handed on as they are.
    #[serde(default)]
    properties: BTreeMap<String, String>,
    /// How often new topics are looked for.
    #[serde(default = "five_seconds")]
    discover_every: Duration,
    /// How it is written.
    #[serde(default)]
    compression: Option<Compression>,
    /// TLS.
    #[serde(default)]
    tls: Option<TlsSettings>,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    /// Small.
    Zstd,
    /// Fast.
    Lz4,
}

struct Log;
impl ConnectorFactory for Log {
    const KIND: &'static str = "log";
    type Settings = LogSettings;
    type Plan = Vec<String>;
    fn plan(settings: LogSettings) -> Result<Vec<String>, SettingsError> {
        for (i, broker) in settings.brokers.iter().enumerate() {
            if !broker.contains(':') {
                return Err(SettingsError::at(
                    &format!("brokers.{i}"),
                    format!("`{broker}` has no port: write host:port"),
                ));
            }
        }
        Ok(settings.brokers)
    }
    fn capabilities(_: &Vec<String>) -> Capabilities {
        CAPABILITIES
    }
    fn syntax() -> &'static TopicSyntax {
        &SYNTAX
    }
    fn connect(_: &Vec<String>, _: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        Err(ConnectError("on paper only".to_owned()))
    }
}

/// Settings of a broker in this process.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
#[allow(dead_code)]
pub(super) struct RamSettings {
    /// Records kept per topic.
    max_records: u32,
    /// Who may come in.
    password: Option<Secret>,
    /// The same from a file.
    password_file: Option<PathBuf>,
}

struct Ram;
impl ConnectorFactory for Ram {
    const KIND: &'static str = "ram";
    type Settings = RamSettings;
    type Plan = Option<PathBuf>;
    fn plan(settings: RamSettings) -> Result<Option<PathBuf>, SettingsError> {
        match settings.password_file {
            Some(file) if !file.exists() => {
                Err(SettingsError::at("password_file", format!("cannot read {}", file.display())))
            }
            file => Ok(file),
        }
    }
    fn capabilities(_: &Option<PathBuf>) -> Capabilities {
        CAPABILITIES
    }
    fn syntax() -> &'static TopicSyntax {
        &SYNTAX
    }
    fn connect(_: &Option<PathBuf>, _: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        Err(ConnectError("on paper only".to_owned()))
    }
}

/// Settings of a handler behind a URL.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(super) struct WebSettings {
    /// Where to ask.
    url: String,
    /// How.
    #[serde(default)]
    method: Option<String>,
}

struct Web;
impl HandlerFactory for Web {
    const KIND: &'static str = "web";
    type Settings = WebSettings;
    type Plan = String;
    fn plan(settings: WebSettings, names: &[&str]) -> Result<String, SettingsError> {
        for part in settings.url.split('{').skip(1) {
            let name = part.split('}').next().unwrap_or_default();
            if !names.contains(&name) {
                return Err(SettingsError::at("url", format!("`{{{name}}}` is bound by no segment of the channel")));
            }
        }
        Ok(settings.url)
    }
    fn connect(_: &String, _: &HandlerContext) -> Result<Arc<dyn RequestHandler>, ConnectError> {
        Err(ConnectError("on paper only".to_owned()))
    }
}

/// Calls `f` with the registry of the kinds above.
pub(super) fn with_registry<T>(f: impl FnOnce(&Registry<'_>) -> T) -> T {
    let connectors = [ConnectorKind::of::<Log>(), ConnectorKind::of::<Ram>()];
    let handlers = [HandlerKind::of::<Web>()];
    f(&Registry { connectors: &connectors, handlers: &handlers })
}

/// Loads one text with these variables.
pub(super) fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Report> {
    let sources = Sources {
        files: vec![Source::Text { name: "gateway.yaml".to_owned(), text: text.to_owned() }],
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        overrides: Vec::new(),
    };
    with_registry(|registry| load(&sources, registry))
}
