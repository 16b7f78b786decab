//! The schema and the reference.

use super::kinds::with_registry;
use crate::{reference, schema};
use serde_json::Value;

/// Visits every schema and every value below.
fn visit(value: &Value, seen: &mut impl FnMut(&Value)) {
    seen(value);
    match value {
        Value::Object(map) => map.values().for_each(|v| visit(v, seen)),
        Value::Array(items) => items.iter().for_each(|v| visit(v, seen)),
        _ => {}
    }
}

#[test]
fn the_schema_is_one_whole_in_which_every_reference_leads_somewhere() {
    let schema = with_registry(schema);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let definitions = schema["$defs"].as_object().expect("definitions");
    let mut references = 0;
    visit(&schema, &mut |value| {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return };
        references += 1;
        let name = reference.strip_prefix("#/$defs/").unwrap_or_else(|| panic!("{reference} is not a definition"));
        assert!(definitions.contains_key(name), "{reference} leads nowhere");
    });
    assert!(references > 20, "only {references} references");
    let mut nested = 0;
    visit(&schema, &mut |value| nested += usize::from(value.get("$schema").is_some() || value.get("$defs").is_some()));
    assert_eq!(nested, 1, "definitions are in one place");
}

#[test]
fn the_schema_holds_the_settings_of_the_kinds_beside_the_gateways_own_keys() {
    let schema = with_registry(schema);
    let defs = &schema["$defs"];
    assert_eq!(defs["Connector"]["properties"]["log"]["$ref"], "#/$defs/connector_log");
    assert_eq!(defs["connector_log"]["required"][0], "brokers");
    assert_eq!(defs["connector_log"]["properties"]["discover_every"]["$ref"], "#/$defs/Duration");
    assert!(defs.get("connector_log_Compression").is_some(), "a kind's own types do not clash with others'");
    assert_eq!(defs["Service"]["properties"]["web"]["$ref"], "#/$defs/handler_web");
    assert_eq!(defs["Service"]["oneOf"].as_array().map(Vec::len), Some(2), "web or builtin");
    assert_eq!(defs["Mapping"]["additionalProperties"], false);
}

#[test]
fn every_key_is_described() {
    let schema = with_registry(schema);
    let described = |value: &Value| {
        let target = value.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
        value.get("description").or_else(|| schema["$defs"].get(target?)?.get("description")).is_some()
    };
    let defs = schema["$defs"].as_object().expect("definitions");
    for object in defs.values().chain([&schema]) {
        for (key, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert!(described(property), "`{key}` has no description: {property}");
        }
    }
}

#[test]
fn the_reference_lists_every_key_with_default_and_meaning_and_what_is_not_there_yet() {
    let page = with_registry(reference);
    for expected in [
        "## `server`",
        "| `listen` | text | `127.0.0.1:8080` |",
        "| `tls.cert_file` | file | **required** in `tls` |",
        "| `queue.overflow` | `disconnect`, `drop_oldest` | `disconnect` |",
        "### `connectors.NAME.log`",
        "| `brokers` | list of text | **required** |",
        "### `services[].web`",
        "| `publish_timeout` | duration | `5s` |",
        "- `mappings[].partitioner`",
        "- `bayeux.queue.overflow: conflate`",
        "- `connectors.NAME.KIND.create_topics`",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}
