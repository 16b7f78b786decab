//! The two listeners.

use connector::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where browsers come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port to listen on, such as `0.0.0.0:8080`.
    #[serde(with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The URL path of the Bayeux endpoint. Everything below it belongs to it too, as CometD's clients append
    /// `/handshake`, `/connect` and `/disconnect`.
    pub path: String,
    /// Serve HTTPS and WSS with this certificate. Absent: plain HTTP.
    pub tls: Option<Tls>,
    /// Web origins, such as `https://app.example.com`, whose pages may use this gateway: CORS with credentials, and the
    /// check of a WebSocket's origin. Empty: pages from the gateway's own origin only. `*`: any page.
    pub allowed_origins: Vec<String>,
    /// How long an orderly shutdown may take before the gateway ends anyway.
    pub shutdown_timeout: Duration,
    /// Connections held at the same time; more are closed at once.
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// This gateway's name toward brokers, stable across restarts: MQTT client ids are made of it. Absent: the host
    /// name.
    pub node: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            path: "/cometd".to_owned(),
            tls: None,
            allowed_origins: Vec::new(),
            shutdown_timeout: Duration::from_secs(30),
            max_connections: 100_000,
            node: None,
        }
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert_file: PathBuf,
    /// The key of the certificate, PEM.
    pub key_file: PathBuf,
}

/// The listener for probes, metrics and the status page. Keep it off the public network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port to listen on. `/livez`, `/readyz` and `/metrics` are open to whoever reaches it.
    #[serde(with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Answer `/readyz` with 503 while a required broker is away. Otherwise only until each was reached once; a later
    /// outage is told in the answer's body as `status: degraded`.
    pub fail_ready_when_down: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)), fail_ready_when_down: false }
    }
}

/// `0.0.0.0:8080`, `[::]:8080` or `localhost:8080`; the last is 127.0.0.1, so that no name is looked up.
mod address {
    use serde::de::{Error as _, Unexpected};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::net::{Ipv4Addr, SocketAddr};

    pub(super) fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => text.parse().ok(),
        };
        parsed.ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Str(&text), &"an IP address and a port, such as 0.0.0.0:8080")
        })
    }
}
