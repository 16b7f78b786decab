//! Rules for the protocol's options.

use crate::finding::Finding;
use crate::model::{BrowserCookie, Config, SameSite, Transport};
use connector::Duration;

pub(super) fn bayeux(config: &Config, findings: &mut Vec<Finding>) {
    let bayeux = &config.bayeux;
    cookie(&bayeux.browser_cookie, findings);
    let parameter = &bayeux.callback_polling.callback_parameter;
    if parameter.is_empty() || parameter == "message" {
        let message = format!("`callback_parameter` cannot be `{parameter}`");
        let help = "write the name that clients use, such as `jsonp`; `message` is the parameter of the messages";
        let path = ["bayeux", "callback_polling", "callback_parameter"];
        findings.push(Finding::error(path, message).with_help(help));
    }
    if let Some(protocol) = bayeux.websocket.protocol.as_deref().filter(|protocol| !is_token(protocol)) {
        let message = format!("`{protocol}` is no name of a sub-protocol");
        let help = "letters, digits and -._ make one, such as `bayeux`";
        findings.push(Finding::error(["bayeux", "websocket", "protocol"], message).with_help(help));
    }
    let idle = bayeux.websocket.idle_timeout;
    let options = bayeux.options(Transport::Websocket);
    let quiet = options.timeout.get() + options.interval.get();
    if idle != Duration::from_secs(0) && idle.get() <= quiet && bayeux.transports.contains(&Transport::Websocket) {
        let message = format!("sockets are closed while they hold a connect: nothing happens on them for {quiet:?}");
        let help = "write more than `timeout` and `interval` together, or 0s";
        findings.push(Finding::warning(["bayeux", "websocket", "idle_timeout"], message).with_help(help));
    }
}

/// What goes into the header `Set-Cookie` as it is must not be able to say more than it should.
fn cookie(cookie: &BrowserCookie, findings: &mut Vec<Finding>) {
    let at = |key: &'static str| ["bayeux", "browser_cookie", key];
    let error = |key, message: String, help: &'static str| Finding::error(at(key), message).with_help(help);
    if !is_token(&cookie.name) {
        let message = format!("`{}` is no name of a cookie", cookie.name);
        findings.push(error("name", message, "letters, digits and -._ make one, such as `BAYEUX_BROWSER`"));
    }
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if let Some(domain) = cookie.domain.as_deref().filter(|domain| domain.is_empty() || !domain.chars().all(host)) {
        let message = format!("`{domain}` is no domain");
        findings.push(error("domain", message, "write it without a port, such as `example.com`"));
    }
    let visible = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',');
    if !cookie.path.starts_with('/') || !cookie.path.chars().all(visible) {
        let message = format!("`{}` is no path that a cookie can have", cookie.path);
        findings.push(error("path", message, "it begins with a slash and has neither spaces, commas nor semicolons"));
    }
    let whole = |age: Duration| age.get() >= std::time::Duration::from_secs(1) && age.get().subsec_nanos() == 0;
    if let Some(age) = cookie.max_age.filter(|age| !whole(*age)) {
        let message = format!("a cookie cannot be kept for {age}");
        findings.push(error("max_age", message, "write whole seconds, at least 1s, or leave it out"));
    }
    let strict = if cookie.partitioned { Some("partitioned") } else { None };
    let strict = strict.or((cookie.same_site == Some(SameSite::None)).then_some("same_site"));
    if let Some(key) = strict.filter(|_| !cookie.secure) {
        let message = "browsers throw this cookie away, as it is not `secure`";
        findings.push(Finding::warning(at(key), message).with_help("write `secure: true`, and serve by TLS"));
    }
    if cookie.name.starts_with("__Secure-") && !cookie.secure {
        let message = "browsers throw a cookie of this name away, as it is not `secure`";
        findings.push(Finding::warning(at("name"), message).with_help("write `secure: true`, and serve by TLS"));
    }
    if cookie.name.starts_with("__Host-") && (!cookie.secure || cookie.domain.is_some() || cookie.path != "/") {
        let message = "browsers throw a cookie of this name away unless it is `secure`, for `/`, and without `domain`";
        findings.push(Finding::warning(at("name"), message));
    }
}

/// A token (RFC 9110, 5.6.2), without the signs that nobody uses.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._!#$%&'*+^`|~".contains(&b))
}
