//! Settings and what is made of them before any socket is opened.

use crate::auth::{Login, Source};
use crate::nats::NatsConnector;
use async_nats::ServerAddr;
use connector::{
    ByteSize, Capabilities, Confirm, ConnectError, Connector, ConnectorFactory, Context, Duration, Secret,
    SettingsError, TlsSettings, TopicSyntax,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings of a `nats` connector. At most one login: user and password, token, credentials file or nkey.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where NATS is: `nats://host:port`, or `tls://host:port` for all of them, which speaks TLS. One of a cluster's
    /// servers is enough: the others are learned from it, and are spoken to by TLS as well.
    #[schemars(length(min = 1))]
    pub servers: Vec<String>,
    /// Use JetStream: publishes are confirmed when the stream has stored them, subscriptions read streams. Without it,
    /// NATS delivers at most once and keeps nothing. Streams are never made by the gateway.
    #[serde(default)]
    pub jetstream: bool,
    /// The JetStream domain, where the server has one.
    pub domain: Option<String>,
    /// User name; needs `password` or `password_file`.
    pub user: Option<String>,
    /// The user's password; better kept in `password_file`.
    pub password: Option<Secret>,
    /// File that holds the user's password. Read again at every connect.
    pub password_file: Option<PathBuf>,
    /// A login token; better kept in `token_file`.
    pub token: Option<Secret>,
    /// File that holds a login token. Read again at every connect.
    pub token_file: Option<PathBuf>,
    /// Credentials file (`.creds`: a user JWT and its nkey seed). Read again at every connect.
    pub credentials_file: Option<PathBuf>,
    /// File that holds an nkey seed (`SU…`). Read again at every connect.
    pub nkey_seed_file: Option<PathBuf>,
    /// Speak TLS. May be empty: `tls: {}` trusts the system's certificates.
    pub tls: Option<TlsSettings>,
    /// Begin with TLS at once instead of after the server's greeting, for servers with `handshake_first`.
    #[serde(default)]
    pub tls_first: bool,
    /// First tokens of the subjects on which answers come back, for accounts that may not use `_INBOX`.
    #[serde(default = "inbox_prefix")]
    pub inbox_prefix: String,
    /// How many publishes may wait for their confirmation. More are refused as overload.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1))]
    pub max_in_flight: u32,
    /// How large, together, publishes may be that wait for their confirmation. More are refused as overload.
    #[serde(default = "max_in_flight_size")]
    pub max_in_flight_size: ByteSize,
    /// Core NATS: how many records a subscription holds back for a slow reader. More are dropped and counted.
    #[serde(default = "max_buffered")]
    #[schemars(range(min = 1))]
    pub max_buffered: u32,
    /// Core NATS: how large, together, the records may be that a subscription holds back.
    #[serde(default = "max_buffered_size")]
    pub max_buffered_size: ByteSize,
    /// JetStream: how often to look for streams that appeared, besides the server's own notices.
    #[serde(default = "discover_every")]
    pub discover_every: Duration,
}

fn inbox_prefix() -> String {
    "_INBOX".into()
}
fn max_in_flight() -> u32 {
    16_384
}
fn max_in_flight_size() -> ByteSize {
    ByteSize::from_mib(64)
}
fn max_buffered() -> u32 {
    65_536
}
fn max_buffered_size() -> ByteSize {
    ByteSize::from_mib(32)
}
fn discover_every() -> Duration {
    Duration::from_secs(5)
}

/// Settings found good.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) jetstream: bool,
    pub(crate) domain: Option<String>,
    pub(crate) login: Login,
    /// Never send anything, the login above all, without TLS: also not to a server that another one told of.
    pub(crate) require_tls: bool,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) tls_first: bool,
    pub(crate) inbox_prefix: String,
    pub(crate) max_in_flight: u32,
    pub(crate) max_in_flight_size: usize,
    pub(crate) max_buffered: usize,
    pub(crate) max_buffered_size: usize,
    pub(crate) discover_every: std::time::Duration,
}

impl Plan {
    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            confirm: if self.jetstream { Confirm::Stored } else { Confirm::Sent },
            log: self.jetstream,
            keys: false,
            partitions: false,
            headers: true,
            tombstones: false,
            rest_topics: true,
            retained: false,
            back_pressure: self.jetstream,
        }
    }
}

/// Makes `nats` connectors.
#[derive(Debug, Clone, Copy, Default)]
pub struct NatsFactory;

impl ConnectorFactory for NatsFactory {
    const KIND: &'static str = "nats";
    type Settings = Settings;
    type Plan = Plan;

    fn plan(settings: Settings) -> Result<Plan, SettingsError> {
        let servers = servers(&settings.servers)?;
        if let Some(tls) = &settings.tls {
            check_tls(tls)?;
        }
        let require_tls = settings.tls.is_some() || servers.iter().any(ServerAddr::tls_required);
        if let Some(clear) = servers.iter().position(|s| !s.tls_required()).filter(|_| require_tls)
            && settings.tls.is_none()
        {
            let message =
                "is without TLS while another server has it: write tls:// for all of them, or nats:// for all";
            return Err(SettingsError::at(&format!("servers.{clear}"), message));
        }
        if settings.tls_first && !require_tls {
            return Err(SettingsError::at("tls_first", "needs `tls` (`tls: {}` will do)"));
        }
        check_inbox_prefix(&settings.inbox_prefix)?;
        if let Some(domain) = &settings.domain {
            if !settings.jetstream {
                return Err(SettingsError::at("domain", "is for JetStream: set `jetstream: true` or remove it"));
            }
            if domain.is_empty() || domain.contains(|c: char| ".*>".contains(c) || c.is_whitespace()) {
                return Err(SettingsError::at("domain", "must be one word without dots and wildcards"));
            }
        }
        if settings.discover_every.get().is_zero() {
            return Err(SettingsError::at("discover_every", "must be longer than 0"));
        }
        Ok(Plan {
            servers,
            jetstream: settings.jetstream,
            login: login(&settings)?,
            domain: settings.domain,
            require_tls,
            tls: settings.tls,
            tls_first: settings.tls_first,
            inbox_prefix: settings.inbox_prefix,
            max_in_flight: positive(settings.max_in_flight, 0, "max_in_flight")?,
            max_in_flight_size: positive(settings.max_in_flight_size, ByteSize(0), "max_in_flight_size")?.as_usize(),
            max_buffered: positive(settings.max_buffered, 0, "max_buffered")? as usize,
            max_buffered_size: positive(settings.max_buffered_size, ByteSize(0), "max_buffered_size")?.as_usize(),
            discover_every: settings.discover_every.get(),
        })
    }

    fn capabilities(plan: &Plan) -> Capabilities {
        plan.capabilities()
    }

    fn syntax() -> &'static TopicSyntax {
        &crate::topic::SYNTAX
    }

    fn connect(plan: &Plan, context: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        Ok(Arc::new(NatsConnector::start(plan.clone(), &context)))
    }
}

fn positive<T: PartialEq>(value: T, none: T, path: &str) -> Result<T, SettingsError> {
    if value == none { Err(SettingsError::at(path, "must be at least 1")) } else { Ok(value) }
}

fn servers(urls: &[String]) -> Result<Vec<ServerAddr>, SettingsError> {
    if urls.is_empty() {
        return Err(SettingsError::at("servers", "name at least one server, such as nats://localhost:4222"));
    }
    let parse = |(i, url): (usize, &String)| {
        let refuse = |message: String| Err(SettingsError::at(&format!("servers.{i}"), message));
        let address = match url.parse::<ServerAddr>() {
            Ok(address) => address,
            Err(e) => return refuse(format!("is not a NATS address such as nats://localhost:4222: {e}")),
        };
        if !matches!(address.scheme(), "nats" | "tls") {
            return refuse(format!("begins with {}://; write nats:// or tls://", address.scheme()));
        }
        if address.host().is_empty() {
            return refuse("names no host; write nats://host:port".into());
        }
        // Addresses are logged and shown; and the client would not use what stands here.
        if address.has_user_pass() || address.password().is_some() {
            return refuse("holds a login; write it as `user` and `password_file`".into());
        }
        Ok(address)
    };
    urls.iter().enumerate().map(parse).collect()
}

fn login(settings: &Settings) -> Result<Login, SettingsError> {
    let secret = |given: &Option<Secret>, file: &Option<PathBuf>, key: &str| match (given, file) {
        (Some(_), Some(_)) => Err(SettingsError::at(key, format!("is given twice: remove `{key}` or `{key}_file`"))),
        (Some(given), None) => Ok(Some((key.to_owned(), Source::Given(given.clone())))),
        (None, Some(file)) => Ok(Some((format!("{key}_file"), Source::File(file.clone())))),
        (None, None) => Ok(None),
    };
    let mut logins: Vec<(String, Login)> = Vec::new();
    let password = secret(&settings.password, &settings.password_file, "password")?;
    match (settings.user.clone(), password) {
        (Some(user), Some((key, password))) => logins.push((key, Login::User { user, password })),
        (Some(_), None) => return Err(SettingsError::at("user", "needs `password` or `password_file`")),
        (None, Some((key, _))) => return Err(SettingsError::at(&key, "needs `user`")),
        (None, None) => {}
    }
    if let Some((key, token)) = secret(&settings.token, &settings.token_file, "token")? {
        logins.push((key, Login::Token(token)));
    }
    if let Some(file) = &settings.credentials_file {
        logins.push(("credentials_file".into(), Login::Credentials(file.clone())));
    }
    if let Some(file) = &settings.nkey_seed_file {
        logins.push(("nkey_seed_file".into(), Login::Nkey(file.clone())));
    }
    let mut logins = logins.into_iter();
    let Some((key, login)) = logins.next() else { return Ok(Login::None) };
    if let Some((other, _)) = logins.next() {
        return Err(SettingsError::at(&other, format!("is a second login besides `{key}`: keep one")));
    }
    match login.answer(b"") {
        Ok(_) => Ok(login),
        Err(error) => Err(SettingsError::at(&key, error.to_string())),
    }
}

fn check_tls(tls: &TlsSettings) -> Result<(), SettingsError> {
    let certificates = |path: &Path, key: &str| {
        let refuse = |why: String| SettingsError::at(key, format!("{}: {why}", path.display()));
        let mut found = CertificateDer::pem_file_iter(path).map_err(|e| refuse(e.to_string()))?;
        match found.next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(refuse(e.to_string())),
            None => Err(refuse("holds no certificate in PEM form".into())),
        }
    };
    if let Some(path) = &tls.ca_file {
        certificates(path, "tls.ca_file")?;
    }
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(SettingsError::at("tls.cert_file", "needs `key_file`")),
        (None, Some(_)) => Err(SettingsError::at("tls.key_file", "needs `cert_file`")),
        (Some(cert), Some(key)) => {
            certificates(cert, "tls.cert_file")?;
            PrivateKeyDer::from_pem_file(key)
                .map(|_| ())
                .map_err(|e| SettingsError::at("tls.key_file", format!("{}: {e}", key.display())))
        }
    }
}

fn check_inbox_prefix(prefix: &str) -> Result<(), SettingsError> {
    (crate::topic::SYNTAX.check)(prefix).map_err(|why| SettingsError::at("inbox_prefix", why))?;
    // It shares a subject with the random part and a number.
    if prefix.len() > 200 { Err(SettingsError::at("inbox_prefix", "must be at most 200 bytes long")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector::ConnectorKind;
    use serde_json::json;

    fn refusal(settings: serde_json::Value) -> (String, String) {
        match ConnectorKind::of::<NatsFactory>().plan(settings.clone()) {
            Ok(_) => panic!("{settings} was taken"),
            Err(error) => (error.path.join("."), error.message),
        }
    }

    #[test]
    fn the_shortest_config_is_a_server() {
        let settings: Settings = serde_json::from_value(json!({ "servers": ["nats://localhost:4222"] })).unwrap();
        let plan = NatsFactory::plan(settings).unwrap();
        assert_eq!(plan.capabilities().confirm, Confirm::Sent);
        assert!(!plan.capabilities().log && !plan.capabilities().back_pressure);
        let settings: Settings =
            serde_json::from_value(json!({ "servers": ["nats://a:1", "localhost"], "jetstream": true })).unwrap();
        let plan = NatsFactory::plan(settings).unwrap();
        assert_eq!(plan.capabilities().confirm, Confirm::Stored);
        assert!(plan.capabilities().log && plan.capabilities().back_pressure);
    }

    #[test]
    fn one_server_with_tls_means_tls_for_all_that_will_be_known() {
        let require_tls = |settings: serde_json::Value| {
            NatsFactory::plan(serde_json::from_value(settings).unwrap()).unwrap().require_tls
        };
        assert!(!require_tls(json!({ "servers": ["nats://a", "b"] })));
        assert!(require_tls(json!({ "servers": ["tls://a", "tls://b"] })));
        assert!(require_tls(json!({ "servers": ["nats://a", "tls://b"], "tls": {} })));
    }

    #[test]
    fn mistakes_are_found_at_their_key() {
        let with = |key: &str, value: serde_json::Value| {
            let mut settings = json!({ "servers": ["nats://localhost:4222"] });
            settings[key] = value;
            settings
        };
        for (settings, path) in [
            (json!({ "servers": [] }), "servers"),
            (json!({ "servers": ["nats://a", "http://b"] }), "servers.1"),
            (json!({ "servers": ["nats://me:pw@a"] }), "servers.0"),
            (json!({ "servers": ["tls://a", "tls://b", "nats://c"] }), "servers.2"),
            (json!({ "servers": ["a", "tls://b"] }), "servers.0"),
            (with("server", json!("x")), "server"),
            (with("user", json!("me")), "user"),
            (with("password", json!("pw")), "password"),
            (with("password_file", json!("pw")), "password_file"),
            (with("token_file", json!("/not/there")), "token_file"),
            (with("credentials_file", json!("/not/there.creds")), "credentials_file"),
            (with("nkey_seed_file", json!("/not/there")), "nkey_seed_file"),
            (with("tls", json!({ "ca_file": "/not/there.pem" })), "tls.ca_file"),
            (with("tls", json!({ "cert_file": "c.pem" })), "tls.cert_file"),
            (with("tls", json!({ "key_file": "k.pem" })), "tls.key_file"),
            (with("tls_first", json!(true)), "tls_first"),
            (with("domain", json!("hub")), "domain"),
            (with("inbox_prefix", json!("a.>")), "inbox_prefix"),
            (with("max_in_flight", json!(0)), "max_in_flight"),
            (with("max_in_flight_size", json!(0)), "max_in_flight_size"),
            (with("discover_every", json!("0s")), "discover_every"),
        ] {
            assert_eq!(refusal(settings).0, path);
        }
    }

    #[test]
    fn two_logins_are_one_too_many() {
        let (path, message) = refusal(json!({
            "servers": ["nats://a"], "user": "me", "password": "pw", "token": "t"
        }));
        assert_eq!((path.as_str(), message.contains("password")), ("token", true), "{message}");
        let (path, _) = refusal(json!({ "servers": ["nats://a"], "token": "t", "token_file": "f" }));
        assert_eq!(path, "token");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let settings: Settings =
            serde_json::from_value(json!({ "servers": ["nats://a"], "token": "hush-hush" })).unwrap();
        assert!(!format!("{settings:?}").contains("hush"));
        assert!(!format!("{:?}", NatsFactory::plan(settings).unwrap()).contains("hush"));
    }
}
