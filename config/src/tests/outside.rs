//! Keys and values from the environment and the command line.

use super::kinds::{load_text, with_registry};
use crate::{LogLevel, Source, Sources, load};

#[test]
fn every_key_outside_a_list_can_be_set_by_a_variable_which_wins_over_the_files() {
    let text = "server: { listen: 127.0.0.1:1, tls: ~ }\nconnectors: { My-Orders: { log: { brokers: [a:1] } } }\n";
    let variables = [
        ("BAYEUX_GATEWAY__SERVER__LISTEN", "127.0.0.1:2"),
        ("BAYEUX_GATEWAY__SERVER__MAX_CONNECTIONS", "12"),
        ("BAYEUX_GATEWAY__SERVER__NODE", "007"),
        ("BAYEUX_GATEWAY__SERVER__ALLOWED_ORIGINS", "[https://a.example, 'https://b.example']"),
        ("BAYEUX_GATEWAY__ADMIN__FAIL_READY_WHEN_DOWN", "true"),
        ("BAYEUX_GATEWAY__BAYEUX__TIMEOUT", "7s"),
        ("BAYEUX_GATEWAY__BAYEUX__QUEUE", "{max_messages: 3}"),
        ("BAYEUX_GATEWAY__TELEMETRY__LOG__LEVEL", "trace"),
        ("BAYEUX_GATEWAY__CONNECTORS__MY_ORDERS__LOG__BROKERS", "[b:1, c:2]"),
        ("BAYEUX_GATEWAY__CONNECTORS__MY_ORDERS__REQUIRED", "false"),
        ("BAYEUX_GATEWAY__CONNECTORS__SCRATCH__RAM__PASSWORD", "12345"),
        ("BAYEUX_GATEWAY_CONFIG", "not a key"),
        ("OTHER__SERVER__LISTEN", "not ours"),
    ];
    let config = load_text(text, &variables).expect("good variables").config;
    assert_eq!((config.server.listen.port(), config.server.max_connections), (2, 12));
    assert_eq!(config.server.node.as_deref(), Some("007"), "text stays as it was set");
    assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
    assert!(config.admin.fail_ready_when_down);
    assert_eq!((config.bayeux.timeout, config.bayeux.queue.max_messages), (connector::Duration::from_secs(7), 3));
    assert_eq!(config.telemetry.log.level, LogLevel::Trace);
    assert_eq!(config.connectors.keys().collect::<Vec<_>>(), ["My-Orders", "scratch"]);
    assert!(!config.connectors["My-Orders"].required);
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let sources = Sources {
        files: vec![Source::Text { name: "x".into(), text: "server: { path: /a, node: a }".into() }],
        env: [("BAYEUX_GATEWAY__SERVER__PATH".to_owned(), "/b".to_owned())].into(),
        overrides: vec![("server.path".into(), "/c".into())],
    };
    let server = with_registry(|registry| load(&sources, registry)).expect("good").config.server;
    assert_eq!((server.path.as_str(), server.node.as_deref()), ("/c", Some("a")));
    let wrong = Sources { overrides: vec![("server.pth".into(), "/c".into())], ..sources };
    let report = with_registry(|registry| load(&wrong, registry)).expect_err("no such key").to_string();
    assert!(report.contains("[command line:1:1]") && report.contains("did you mean `path`?"), "{report}");
}

#[test]
fn variables_in_values_take_the_type_that_their_key_wants() {
    let text = r#"
server: { listen: "${HOST:127.0.0.1}:${PORT}", max_connections: "${MAX}", node: "${MAX}", allowed_origins: ["${ORIGIN}"] }
admin:
  fail_ready_when_down: ${YES}
bayeux: { timeout: "${SECONDS}s" }
connectors: { a: { ram: { password: "${PIN}", max_records: '${MAX}' } } }
mappings:
  - channel: /a
    connector: a
    topic: $${x}
    headers:
      v: ${PIN}
"#;
    let variables = [
        ("PORT", "9"),
        ("MAX", "5"),
        ("ORIGIN", "https://a.example"),
        ("YES", "true"),
        ("SECONDS", "3"),
        ("PIN", "0042"),
    ];
    let config = load_text(text, &variables).expect("good").config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9");
    assert_eq!((config.server.max_connections, config.server.node.as_deref()), (5, Some("5")));
    assert_eq!(config.server.allowed_origins, ["https://a.example"]);
    assert!(config.admin.fail_ready_when_down);
    assert_eq!(config.bayeux.timeout, connector::Duration::from_secs(3));
    assert_eq!(config.mappings[0].topic, "${x}");
    assert_eq!(config.mappings[0].headers["v"], "0042");
    let unquoted = load_text("server: { node: ${MAX} }\n", &variables).expect_err("YAML ends the value at the brace");
    assert!(unquoted.to_string().contains("must be quoted: `\"${NAME}\"`"), "{unquoted}");
}
