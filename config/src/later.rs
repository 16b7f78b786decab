//! Keys of the design that this version does not have. They are refused by name, so that nobody takes a setting for
//! working that is not. A key leaves this table when it comes to the model or to a kind's settings: only what the schema
//! does not know is looked up here.

use crate::schema::View;

/// Paths of keys; `*` stands for one key or index. `=` means a value.
const LATER: &[&str] = &[
    "admin.token_file",
    "auth.hmac_secret_file",
    "auth.jwt",
    "auth.rules",
    "auth.webhook",
    "bayeux.queue.overflow=catch_up",
    "bayeux.queue.overflow=conflate",
    "connectors.*.*.create_topics",
    "hooks",
    "mappings.*.broadcast_to_publisher",
    "mappings.*.idempotency",
    "mappings.*.partitioner",
    "mappings.*.queue",
    "services.*.*.idempotent",
    "services.*.*.retries",
    "services.*.grpc",
    "services.*.kafka",
    "services.*.mqtt",
    "services.*.nats",
    "sidecar",
];

/// Whether a later version has the key at `path`.
pub(crate) fn key(path: &[String]) -> bool {
    LATER.iter().any(|entry| !entry.contains('=') && matches(entry, path))
}

/// Whether a later version takes `value` at `path`.
pub(crate) fn value(path: &[String], value: &str) -> bool {
    LATER.iter().filter_map(|entry| entry.split_once('=')).any(|(at, v)| v == value && matches(at, path))
}

/// Those that a schema does not have, for the reference, as people write them.
pub(crate) fn all(schema: View<'_>) -> impl Iterator<Item = String> {
    LATER.iter().filter(move |entry| !is_there(schema, entry)).map(|entry| {
        let path: Vec<&str> = entry.split('.').collect();
        let in_list = |i: usize| matches!(path.get(i), Some(&("mappings" | "services" | "extensions")));
        let mut out = String::new();
        for (i, segment) in path.iter().enumerate() {
            match segment.strip_prefix('*') {
                Some(_) if i > 0 && in_list(i - 1) => out.push_str("[]"),
                Some(_) if path[0] == "connectors" && i == 1 => out.push_str(".NAME"),
                Some(_) => out.push_str(".KIND"),
                None if i == 0 => out.push_str(segment),
                None => {
                    out.push('.');
                    out.push_str(segment);
                }
            }
            out.push_str(segment.strip_prefix('*').unwrap_or_default());
        }
        out.replace('=', ": ")
    })
}

/// Whether the schema has a key of this table, for at least one kind.
fn is_there(schema: View<'_>, entry: &str) -> bool {
    let mut views = vec![schema];
    for segment in entry.split('.') {
        if segment.contains('=') {
            return false;
        }
        views = views
            .iter()
            .flat_map(
                |view| if segment == "*" { view.children() } else { view.property(segment).into_iter().collect() },
            )
            .collect();
    }
    !views.is_empty()
}

fn matches(entry: &str, path: &[String]) -> bool {
    entry.split('.').count() == path.len() && entry.split('.').zip(path).all(|(e, p)| e == "*" || e == p)
}
