//! Rules that need more than one key, or that only warn.

mod bayeux;

use crate::finding::Finding;
use crate::model::{Config, Direction};
use connector::Duration;
use std::collections::BTreeMap;

/// CometD's clients give a publish up after this.
const CLIENT_GIVES_UP: Duration = Duration::from_secs(10);

/// All that is wrong or doubtful in the sections of a config that are right by themselves.
pub(crate) fn lint(config: &Config, is_broken: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !["server", "admin"].into_iter().any(&is_broken) {
        server(config, &mut findings);
    }
    if !is_broken("bayeux") {
        bayeux::bayeux(config, &mut findings);
    }
    if !["server", "auth"].into_iter().any(&is_broken) {
        auth(config, &mut findings);
    }
    if !is_broken("mappings") {
        mappings(config, &mut findings);
    }
    if !is_broken("services") {
        services(config, &mut findings);
    }
    findings
}

fn server(config: &Config, findings: &mut Vec<Finding>) {
    let server = &config.server;
    let reserved = ["/livez", "/readyz", "/metrics"];
    if !server.path.starts_with('/') || server.path.contains(['?', '#', '*', '{', ' ']) {
        let message = format!("`server.path` must be a URL path that begins with a slash, not `{}`", server.path);
        findings.push(Finding::error(["server", "path"], message).with_help("CometD's clients expect `/cometd`"));
    } else if server.path.len() > 1 && server.path.ends_with('/') {
        let message = "`server.path` ends with a slash";
        let help = format!("write `{}`; what is below it belongs to it anyway", server.path.trim_end_matches('/'));
        findings.push(Finding::error(["server", "path"], message).with_help(help));
    } else if reserved.contains(&server.path.as_str()) {
        let message = format!("`server.path` cannot be `{}`, which is a probe's path", server.path);
        findings.push(Finding::error(["server", "path"], message));
    }
    for (i, origin) in server.allowed_origins.iter().enumerate() {
        let path = ["server", "allowed_origins", &i.to_string()].map(str::to_owned);
        if origin == "*" {
            let message = "any web page may use this gateway with its visitors' cookies";
            findings.push(Finding::warning(path, message).with_help("name the origins of your own pages"));
        } else if let Some(help) = not_an_origin(origin) {
            let message = format!("`{origin}` is not a web origin");
            findings.push(Finding::error(path, message).with_help(help));
        }
    }
    for (key, file) in server.tls.iter().flat_map(|t| [("cert_file", &t.cert_file), ("key_file", &t.key_file)]) {
        if let Err(error) = std::fs::File::open(file) {
            let message = format!("cannot read {}: {error}", file.display());
            findings.push(Finding::error(["server", "tls", key], message));
        }
    }
    if server.listen == config.admin.listen && server.listen.port() != 0 {
        let message = format!("`server.listen` and `admin.listen` are both {}", server.listen);
        findings.push(Finding::error(["admin", "listen"], message).with_help("give them different ports"));
    }
}

fn auth(config: &Config, findings: &mut Vec<Finding>) {
    let server = &config.server;
    match &config.auth {
        None if !server.listen.ip().is_loopback() => {
            let message = format!("whoever reaches {} may publish and subscribe to everything", server.listen);
            let help = "listen on 127.0.0.1, or write `auth: { anonymous: true }` if that is meant";
            findings.push(Finding::warning(["server", "listen"], message).with_help(help));
        }
        Some(auth) if !auth.anonymous => {
            let message = "nobody could come in: this version knows no other way than `anonymous: true`";
            let help = "write `anonymous: true`, or leave `auth` out";
            findings.push(Finding::error(["auth", "anonymous"], message).with_help(help));
        }
        _ => {}
    }
}

/// An origin as browsers send it: scheme, host, and the port unless it is the scheme's own.
fn not_an_origin(text: &str) -> Option<String> {
    let example = "write scheme, host and port as browsers send them, such as `https://app.example.com`";
    let Ok(url) = url::Url::parse(text) else { return Some(example.to_owned()) };
    let origin = url.origin();
    if !origin.is_tuple() || !matches!(url.scheme(), "http" | "https") {
        return Some(example.to_owned());
    }
    let canonical = origin.ascii_serialization();
    (canonical != text).then(|| format!("browsers send it as `{canonical}`"))
}

fn mappings(config: &Config, findings: &mut Vec<Finding>) {
    let at = |i: usize, key: &str| ["mappings".to_owned(), i.to_string(), key.to_owned()];
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, mapping) in config.mappings.iter().enumerate() {
        if let Some(first) = mapping.name.as_deref().and_then(|name| names.insert(name, i)) {
            let message = format!("`mappings[{first}]` has the same name");
            findings
                .push(Finding::error(at(i, "name"), message).with_help("metrics and logs could not tell them apart"));
        }
        if mapping.publish_timeout >= CLIENT_GIVES_UP && mapping.direction != Direction::Egress {
            let message = format!("CometD's clients give a publish up after {CLIENT_GIVES_UP}, before this timeout");
            let help = "they would report a failure for what is stored afterwards; write less than 10s";
            findings.push(Finding::warning(at(i, "publish_timeout"), message).with_help(help));
        }
        let covered = |direction: fn(Direction) -> bool| {
            !direction(mapping.direction)
                || config.mappings[..i].iter().any(|m| m.channel == mapping.channel && direction(m.direction))
        };
        if covered(Direction::is_ingest) && covered(Direction::is_egress) {
            let first = config.mappings[..i].iter().position(|m| m.channel == mapping.channel).unwrap_or_default();
            let message = format!("never used: `mappings[{first}]` takes the same channel before");
            findings.push(Finding::warning(at(i, "channel"), message));
        }
    }
}

fn services(config: &Config, findings: &mut Vec<Finding>) {
    let at = |i: usize| ["services".to_owned(), i.to_string(), "channel".to_owned()];
    for (i, service) in config.services.iter().enumerate() {
        if !service.channel.starts_with("/service/") {
            let message = format!("a service answers on channels below `/service/`, not on `{}`", service.channel);
            let help = "channels elsewhere are for `mappings`";
            findings.push(Finding::error(at(i), message).with_help(help));
        }
        if let Some(first) = config.services[..i].iter().position(|s| s.channel == service.channel) {
            let message = format!("never used: `services[{first}]` takes the same channel before");
            findings.push(Finding::warning(at(i), message));
        }
    }
}
