//! The config's examples, reference and schema, with the real kinds of connectors and handlers.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use connector::{ConnectorKind, HandlerKind};
use gateway_config::{Loaded, Registry, Report, Source, Sources, load, reference, schema};
use std::path::{Path, PathBuf};

fn with_registry<T>(f: impl FnOnce(&Registry<'_>) -> T) -> T {
    let connectors = [
        ConnectorKind::of::<connector_memory::MemoryFactory>(),
        ConnectorKind::of::<connector_kafka::KafkaFactory>(),
        ConnectorKind::of::<connector_nats::NatsFactory>(),
        ConnectorKind::of::<connector_mqtt::MqttFactory>(),
    ];
    let handlers = [HandlerKind::of::<connector_http::HttpFactory>()];
    f(&Registry { connectors: &connectors, handlers: &handlers })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn example(name: &str, env: &[(&str, &str)]) -> Result<Loaded, Report> {
    let sources = Sources {
        files: vec![Source::File(root().join("config/examples").join(name))],
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Sources::default()
    };
    with_registry(|registry| load(&sources, registry))
}

#[track_caller]
fn is_right(name: &str) -> Loaded {
    let loaded = example(name, &[]).unwrap_or_else(|report| panic!("{name}\n{report}"));
    assert!(loaded.warnings.is_empty(), "{name}\n{}", loaded.warnings);
    assert_eq!(loaded.connector_plans.len(), loaded.config.connectors.len(), "{name}");
    assert!(!loaded.config.mappings.is_empty(), "{name} bridges nothing");
    loaded
}

#[test]
fn every_example_is_right_without_any_variable_set() {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(root().join("config/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some_and(|extension| extension == "yaml"));
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        is_right(name.file_name().unwrap().to_str().unwrap());
    }
}

#[test]
fn the_example_that_shows_all_names_every_connector_kind_and_handler() {
    let loaded = is_right("all.yaml");
    let mut kinds: Vec<&str> = loaded.config.connectors.values().map(|c| c.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["kafka", "memory", "mqtt", "nats"]);
    assert_eq!(loaded.handler_plans.iter().flatten().count(), 1);
    assert!(loaded.connector_plans["events"].capabilities().log, "JetStream is on");
    assert!(!loaded.config.connectors["sensors"].required);
}

#[test]
fn variables_change_an_example_without_touching_it() {
    let env = [("LISTEN", "127.0.0.1:9"), ("BAYEUX_GATEWAY__CONNECTORS__EVENTS__NATS__JETSTREAM", "false")];
    let loaded = example("all.yaml", &env).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.config.server.listen.port(), 9);
    assert!(!loaded.connector_plans["events"].capabilities().log);
}

#[test]
fn mistakes_in_the_settings_of_real_kinds_are_shown_where_they_stand() {
    let text = "\
connectors:
  a: { kafka: { brokrs: [\"x:1\"] } }
  b: { nats: { servers: [\"nats://x:1\"], jetstreem: true } }
  c: { mqtt: { url: \"mqtt://x\", pasword_file: x } }
  d: { memory: { max_age: 5 } }
  e: { kafka: { brokers: [\"x:1\"], properties: { group.id: mine } } }
  f: { redis: {} }
services:
  - { channel: /service/a, http: { ulr: \"http://x\" } }
";
    let files = vec![Source::Text { name: "gateway.yaml".to_owned(), text: text.to_owned() }];
    let report = with_registry(|registry| load(&Sources { files, ..Sources::default() }, registry)).unwrap_err();
    let found: Vec<(usize, usize, &str)> = report
        .items
        .iter()
        .map(|item| {
            let place = item.place.as_ref().unwrap_or_else(|| panic!("{report}"));
            (place.line, place.column, item.finding.help.as_deref().unwrap_or_default())
        })
        .collect();
    let expected = [
        (2, 17, "did you mean `brokers`?"),
        (3, 41, "did you mean `jetstream`?"),
        (4, 33, "did you mean `password_file`?"),
        (5, 27, "write the unit: `5s` or `5ms`"),
        (6, 59, ""),
        (7, 8, "this build has: `memory`, `kafka`, `nats` and `mqtt`"),
        (9, 36, "did you mean `url`?"),
    ];
    assert_eq!(found, expected, "{report}");
}

/// Compares a generated file with what is generated now; with `UPDATE_GENERATED=1` writes it instead.
#[track_caller]
fn is_up_to_date(file: &str, content: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, content).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let command = "UPDATE_GENERATED=1 cargo test -p gateway-tests --test config_examples";
    assert!(there == content, "{file} is behind the config's types; write it anew with: {command}");
}

#[test]
fn the_reference_and_the_schema_are_up_to_date() {
    is_up_to_date("docs/config.md", &with_registry(reference));
    let schema = serde_json::to_string_pretty(&with_registry(schema)).unwrap();
    is_up_to_date("config/schema.json", &format!("{schema}\n"));
}
