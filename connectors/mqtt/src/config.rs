//! The settings of an MQTT connector, and what they come to.

use crate::live::SHORTEST_KEEP_ALIVE;
use crate::tls;
use connector::{ByteSize, Context, Duration, Secret, SettingsError, TlsSettings};
use rustls::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// `sensors: { mqtt: { … } }`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The broker: `mqtt://host:port`, or `mqtts://host:port` for TLS. Without a port 1883, with TLS 8883.
    pub url: String,
    /// The user to log in as. Absent: anonymous.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the user's password; a line end after it is ignored.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The client identifier, which must differ between all clients of a broker. Absent: made from the gateway's node
    /// name and the connector's name, the same at every start.
    #[serde(default)]
    pub client_id: Option<String>,
    /// TLS toward the broker; present, it means TLS even with `mqtt://`.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// After how much silence the broker may give the connection up; at least 5s. The gateway itself notices a silent broker
    /// within five seconds, whatever this says.
    #[serde(default = "keep_alive")]
    pub keep_alive: Duration,
    /// How long the broker keeps subscriptions and messages for this gateway while the connection is down.
    #[serde(default = "session_expiry")]
    pub session_expiry: Duration,
    /// The largest packet that the broker may send; it keeps larger ones back. One that takes longer than three seconds to
    /// arrive is taken for a broker that does not answer.
    #[serde(default = "max_packet_size")]
    pub max_packet_size: ByteSize,
    /// How many messages the broker may send ahead of their acknowledgement (receive maximum). A message is
    /// acknowledged when its readers have room for it, so a reader that stands still holds up to so many.
    #[serde(default = "receive_maximum")]
    pub receive_maximum: u16,
    /// How many publishes may wait for the broker; beyond, they are refused as overload.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: u32,
    /// How many bytes these may hold.
    #[serde(default = "max_in_flight_bytes")]
    pub max_in_flight_bytes: ByteSize,
}

fn keep_alive() -> Duration {
    Duration::from_secs(15)
}
fn session_expiry() -> Duration {
    Duration::from_secs(3600)
}
fn max_packet_size() -> ByteSize {
    ByteSize::from_mib(16)
}
fn receive_maximum() -> u16 {
    256
}
fn max_in_flight() -> u32 {
    10_000
}
fn max_in_flight_bytes() -> ByteSize {
    ByteSize::from_mib(64)
}

/// Settings found good.
pub struct Plan {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) login: Option<(String, Secret)>,
    pub(crate) client_id: Option<String>,
    pub(crate) keep_alive: std::time::Duration,
    pub(crate) session_expiry: u32,
    pub(crate) max_packet_size: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_bytes: usize,
}

impl Plan {
    /// Checks the settings and reads the files that they name.
    ///
    /// # Errors
    /// The first mistake with its path.
    pub(crate) fn new(settings: Settings) -> Result<Plan, SettingsError> {
        let (host, port, tls) = address(&settings.url, settings.tls.is_some())?;
        let tls = match (tls, &settings.tls) {
            (false, _) => None,
            (true, given) => Some(tls::client(given.as_ref().unwrap_or(&TlsSettings::default()))?),
        };
        if tls.is_some() && host.starts_with('[') {
            return Err(SettingsError::at("url", "with TLS the broker must be given by name, not by an IPv6 address"));
        }
        if let Some(id) = &settings.client_id {
            let good = !id.is_empty() && id.len() <= 65_535 && crate::topic::is_text(id);
            if !good {
                return Err(SettingsError::at("client_id", "must be 1 to 65535 bytes without control characters"));
            }
        }
        let keep_alive = settings.keep_alive.get();
        if !(SHORTEST_KEEP_ALIVE.as_secs()..=65_535).contains(&keep_alive.as_secs()) {
            return Err(SettingsError::at("keep_alive", "must be between 5s and 18h"));
        }
        let session_expiry = u32::try_from(settings.session_expiry.get().as_secs())
            .map_err(|_| SettingsError::at("session_expiry", "is too long: at most 49710d"))?;
        // The protocol's own limit is just below 256 MiB.
        let max_packet_size = u32::try_from(settings.max_packet_size.get())
            .ok()
            .filter(|size| (1_024..=268_435_455).contains(size))
            .ok_or_else(|| SettingsError::at("max_packet_size", "must be between 1KiB and 255MiB"))?;
        let positive = |key: &str, n: u64| {
            if n == 0 { Err(SettingsError::at(key, "must be at least 1")) } else { Ok(()) }
        };
        positive("receive_maximum", settings.receive_maximum.into())?;
        positive("max_in_flight", settings.max_in_flight.into())?;
        positive("max_in_flight_bytes", settings.max_in_flight_bytes.get())?;
        Ok(Plan {
            host,
            port,
            tls,
            login: login(&settings)?,
            client_id: settings.client_id,
            keep_alive,
            session_expiry,
            max_packet_size,
            receive_maximum: settings.receive_maximum,
            max_in_flight: usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX),
            max_in_flight_bytes: settings.max_in_flight_bytes.as_usize(),
        })
    }

    /// The broker's address for people.
    pub(crate) fn address(&self) -> String {
        format!("{}://{}:{}", if self.tls.is_some() { "mqtts" } else { "mqtt" }, self.host, self.port)
    }

    /// The client identifier: as configured, else made of the node's and the connector's name.
    pub(crate) fn client_id(&self, context: &Context) -> String {
        self.client_id.clone().unwrap_or_else(|| made_client_id(context))
    }
}

fn address(url: &str, with_tls: bool) -> Result<(String, u16, bool), SettingsError> {
    let wrong = |why: &str| SettingsError::at("url", format!("{why}: write mqtt://host:port or mqtts://host:port"));
    let parsed = Url::parse(url).map_err(|e| wrong(&format!("is no address ({e})")))?;
    let tls = match parsed.scheme() {
        "mqtt" => with_tls,
        "mqtts" => true,
        other => return Err(wrong(&format!("begins with {other}://"))),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("holds a login, which belongs in user and password_file"));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("says more than host and port"));
    }
    let host = parsed.host_str().filter(|h| !h.is_empty()).ok_or_else(|| wrong("names no host"))?;
    Ok((host.to_owned(), parsed.port().unwrap_or(if tls { 8883 } else { 1883 }), tls))
}

fn login(settings: &Settings) -> Result<Option<(String, Secret)>, SettingsError> {
    let password = match (&settings.password, &settings.password_file) {
        (Some(_), Some(_)) => {
            return Err(SettingsError::at("password_file", "is given beside password: leave one of them out"));
        }
        (Some(password), None) => Some(password.clone()),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| SettingsError::at("password_file", format!("{} cannot be read: {e}", file.display())))?;
            Some(Secret::new(text.trim_end_matches(['\r', '\n'])))
        }
        (None, None) => None,
    };
    match (&settings.user, password) {
        (Some(user), password) => Ok(Some((user.clone(), password.unwrap_or_else(|| Secret::new(""))))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(SettingsError::at("user", "is missing beside the password")),
    }
}

/// Every broker takes 1 to 23 bytes of digits and letters (MQTT 5, 3.1.3.1), and need not take more. So: the beginning of the
/// node's name for people, then a hash of both names that keeps two gateways apart and stays the same for ever.
fn made_client_id(context: &Context) -> String {
    let mut id: String = context.node.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    let mut hash = fnv1a(context.node.bytes().chain([0]).chain(context.name.bytes()));
    for _ in 0..13 {
        id.push(char::from_digit(u32::try_from(hash % 36).unwrap_or_default(), 36).unwrap_or('0'));
        hash /= 36;
    }
    id
}

/// FNV-1a of 64 bits: small, and fixed for ever, which the standard library's hashes are not.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
