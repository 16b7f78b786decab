//! Settings, and how a handler is made of them.

use crate::handler::HttpHandler;
use crate::header;
use crate::target::Target;
use crate::template::{self, Part};
use connector::{
    ByteSize, ConnectError, Duration, HandlerContext, HandlerFactory, RequestHandler, SettingsError, TlsSettings,
};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Identity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Settings of an HTTP handler.
// There is no `Debug`: headers may hold a secret.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where requests go, such as `http://127.0.0.1:3000/quote/{symbol}`. `{names}` of the service's channel can stand in
    /// path and query.
    pub url: String,
    /// The method. GET and DELETE carry no body.
    #[serde(default)]
    pub method: Method,
    /// Headers to send along; `{names}` can stand in the values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The largest answer that is taken.
    #[serde(default = "max_response")]
    pub max_response: ByteSize,
    /// How long to wait for a connection.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// For `https`: whom to trust, and who we are. Absent: the system's certificates are trusted.
    pub tls: Option<TlsSettings>,
}

fn max_response() -> ByteSize {
    ByteSize::from_mib(1)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(2)
}

/// A request's method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The data is the body.
    #[default]
    Post,
    /// No body.
    Get,
    /// The data is the body.
    Put,
    /// The data is the body.
    Patch,
    /// No body.
    Delete,
}

impl Method {
    pub(crate) fn has_body(self) -> bool {
        !matches!(self, Method::Get | Method::Delete)
    }

    pub(crate) fn http(self) -> reqwest::Method {
        match self {
            Method::Post => reqwest::Method::POST,
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        }
    }
}

/// Settings found good.
#[derive(Clone)]
pub struct HttpPlan {
    pub(crate) target: Target,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, Vec<Part>)>,
    pub(crate) max_response: usize,
    pub(crate) connect_timeout: std::time::Duration,
    /// Trusted instead of the system's, if any are named.
    pub(crate) trusted: Option<Vec<Certificate>>,
    pub(crate) identity: Option<Identity>,
}

/// Makes HTTP handlers: `channel: /service/x` beside `http: { url: … }`.
#[derive(Debug, Clone, Copy)]
pub struct HttpFactory;

impl HandlerFactory for HttpFactory {
    const KIND: &'static str = "http";
    type Settings = Settings;
    type Plan = HttpPlan;

    fn plan(settings: Settings, names: &[&str]) -> Result<HttpPlan, SettingsError> {
        let target = Target::parse(&settings.url, names).map_err(|why| SettingsError::at("url", why))?;
        if settings.max_response.get() == 0 {
            return Err(SettingsError::at("max_response", "`max_response` must be more than zero"));
        }
        if settings.connect_timeout.get().is_zero() {
            return Err(SettingsError::at("connect_timeout", "`connect_timeout` must be more than zero"));
        }
        if settings.tls.is_some() && !target.is_https() {
            return Err(SettingsError::at("tls", "`tls` needs a `url` that begins with https://"));
        }
        let tls = settings.tls.unwrap_or_default();
        Ok(HttpPlan {
            target,
            method: settings.method,
            headers: headers(&settings.headers, names)?,
            max_response: settings.max_response.as_usize(),
            connect_timeout: settings.connect_timeout.get(),
            trusted: trusted(&tls)?,
            identity: identity(&tls)?,
        })
    }

    fn connect(plan: &HttpPlan, _: &HandlerContext) -> Result<Arc<dyn RequestHandler>, ConnectError> {
        Ok(Arc::new(HttpHandler::new(plan)?))
    }
}

fn headers(settings: &BTreeMap<String, String>, names: &[&str]) -> Result<Vec<(HeaderName, Vec<Part>)>, SettingsError> {
    let mut headers: Vec<(HeaderName, Vec<Part>)> = Vec::new();
    for (name, text) in settings {
        let wrong = |message: String| SettingsError { path: vec!["headers".into(), name.clone()], message };
        let Ok(parsed) = HeaderName::try_from(name) else {
            return Err(wrong(format!("`{name}` is not a valid header name")));
        };
        if header::is_reserved(parsed.as_str()) {
            return Err(wrong(format!("the header `{name}` is set by the gateway")));
        }
        if headers.iter().any(|(other, _)| *other == parsed) {
            return Err(wrong(format!("the header `{name}` is there twice: case makes no difference")));
        }
        let parts = template::parse(text, names).map_err(&wrong)?;
        for part in &parts {
            if let Part::Literal(literal) = part
                && (literal.contains(char::is_control) || HeaderValue::try_from(literal).is_err())
            {
                return Err(wrong(format!("the value of the header `{name}` holds a control character")));
            }
        }
        headers.push((parsed, parts));
    }
    Ok(headers)
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|error| SettingsError::at(key, format!("cannot read {}: {error}", path.display())))
}

fn trusted(tls: &TlsSettings) -> Result<Option<Vec<Certificate>>, SettingsError> {
    let Some(path) = &tls.ca_file else { return Ok(None) };
    match Certificate::from_pem_bundle(&read(path, "tls.ca_file")?) {
        Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
        _ => Err(SettingsError::at("tls.ca_file", format!("{} holds no certificate in PEM form", path.display()))),
    }
}

fn identity(tls: &TlsSettings) -> Result<Option<Identity>, SettingsError> {
    let (cert, key) = match (&tls.cert_file, &tls.key_file) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(SettingsError::at("tls.cert_file", "`cert_file` needs `key_file`")),
        (None, Some(_)) => return Err(SettingsError::at("tls.key_file", "`key_file` needs `cert_file`")),
    };
    let mut pem = read(cert, "tls.cert_file")?;
    pem.push(b'\n');
    pem.extend(read(key, "tls.key_file")?);
    match Identity::from_pem(&pem) {
        Ok(identity) => Ok(Some(identity)),
        Err(_) => Err(SettingsError::at(
            "tls.cert_file",
            format!("{} and {} do not hold a certificate and its key in PEM form", cert.display(), key.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector::HandlerKind;

    fn mistake(settings: serde_json::Value) -> String {
        let Err(error) = HandlerKind::of::<HttpFactory>().plan(settings, &["symbol"]) else {
            panic!("no mistake found")
        };
        format!("{}: {}", error.path.join("."), error.message)
    }

    #[test]
    fn a_url_is_enough() {
        let plan = HttpFactory::plan(serde_json::from_str(r#"{"url":"http://h/x"}"#).unwrap(), &[]).unwrap();
        assert_eq!((plan.method, plan.max_response), (Method::Post, 1 << 20));
    }

    #[test]
    fn mistakes_name_their_key() {
        let url = "https://h/{symbol}";
        for (settings, expected) in [
            (serde_json::json!({}), ": missing field `url`"),
            (serde_json::json!({ "url": "h/x" }), "url: the URL must begin"),
            (serde_json::json!({ "url": url, "metod": "GET" }), "metod: unknown field `metod`"),
            (serde_json::json!({ "url": url, "method": "HEAD" }), "method: unknown variant `HEAD`"),
            (serde_json::json!({ "url": url, "max_response": 0 }), "max_response: "),
            (serde_json::json!({ "url": url, "headers": { "a b": "x" } }), "headers.a b: `a b` is not a valid"),
            (serde_json::json!({ "url": url, "headers": { "Bayeux-User": "x" } }), "headers.Bayeux-User: the header"),
            (serde_json::json!({ "url": url, "headers": { "x": "a\nb" } }), "headers.x: the value of"),
            (serde_json::json!({ "url": url, "headers": { "x": "{nobody}" } }), "headers.x: `{nobody}` is not known"),
            (
                serde_json::json!({ "url": url, "headers": { "x": "1", "X": "2" } }),
                "headers.x: the header `x` is there",
            ),
            (serde_json::json!({ "url": "http://h/x", "tls": {} }), "tls: `tls` needs a `url`"),
            (serde_json::json!({ "url": url, "tls": { "cert_file": "x.pem" } }), "tls.cert_file: `cert_file` needs"),
            (serde_json::json!({ "url": url, "tls": { "ca_file": "/nowhere/ca.pem" } }), "tls.ca_file: cannot read"),
        ] {
            let found = mistake(settings.clone());
            assert!(found.starts_with(expected), "{settings}: {found}");
        }
    }
}
