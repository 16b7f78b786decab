//! What a config comes to.

use super::kinds::{load_text, with_registry};
use crate::{
    Builtin, Config, Connector, Consume, Direction, Envelope, Format, Handler, Include, LogFormat, LogLevel, OnError,
    Overflow, ReplayBounds, Source, Sources, Transport, UnmappedChannels, UnmappedServices, load,
};
use connector::{ByteSize, Duration};

#[test]
fn no_config_at_all_is_a_gateway_on_the_loopback_with_cometds_values() {
    let config = load_text("", &[]).expect("an empty config").config;
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.path, "/cometd");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    let bayeux = &config.bayeux;
    assert_eq!((bayeux.timeout, bayeux.interval, bayeux.max_interval), (secs(20), secs(0), secs(10)));
    assert_eq!(bayeux.max_message_size, ByteSize::from_kib(64));
    assert_eq!((bayeux.max_sessions_per_browser, bayeux.http2_max_sessions_per_browser), (1, -1));
    assert_eq!((bayeux.queue.max_messages, bayeux.queue.max_bytes), (20_000, ByteSize::from_mib(8)));
    assert_eq!(bayeux.queue.overflow, Overflow::Disconnect);
    with_registry(|registry| {
        assert_eq!(load(&Sources::default(), registry).expect("no files").config, Config::default());
    });
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn every_key_arrives() {
    let text = r#"
server:
  listen: "[::1]:9000"
  path: /bayeux
  allowed_origins: ["https://app.example.com", "http://localhost:3000"]
  shutdown_timeout: 1m
  max_connections: 7
  node: gw-1
admin: { listen: localhost:9001, fail_ready_when_down: true }
bayeux:
  timeout: 30s
  interval: 250ms
  max_interval: 15s
  max_message_size: 1MiB
  transports: [long-polling]
  extensions: []
  max_sessions_per_browser: -1
  http2_max_sessions_per_browser: 5
  gzip: true
  trust_client_session: true
  meta_connect_deliver_only: true
  activity: { max_inactivity: 1h, kind: client_server }
  websocket: { compression: false, timeout: 1m, meta_connect_deliver_only: false }
  long_polling: { max_interval: 20s, queue: { max_messages: 9 } }
  unmapped_channels: deny
  unmapped_services: refuse
  queue: { max_messages: 5, max_bytes: 1KiB, overflow: drop_oldest }
connectors:
  orders:
    log: { brokers: ["a:1", "b:2"], properties: { linger.ms: 5, security.protocol: plaintext, on: true }, tls: {} }
    required: false
  scratch: { ram: }
mappings:
  - name: orders
    channel: /orders/{region}/{id}
    connector: orders
    topic: orders.{region}
    key: "{id}"
    partition: 3
    headers: { source: web, version: 2 }
    direction: ingest
    format: binary
    publish_timeout: 2s
    on_error: stop
    consume: always
    include: [key, timestamp, headers]
    tombstones: true
  - { channel: /b/**, connector: scratch, topic: b }
  - { channel: "/c/{x}", connector: orders, topic: c, replay: true, envelope: salesforce }
  - { channel: "/d/{x}", connector: orders, topic: d, replay: { max_records: 7, max_age: 24h } }
services:
  - { channel: "/service/quote/{symbol}", web: { url: "http://x/{symbol}" }, timeout: 2s, max_in_flight: 9 }
  - { channel: /service/echo, builtin: echo }
auth: { anonymous: true }
telemetry: { otlp_endpoint: "http://localhost:4317", log: { format: json, level: debug } }
"#;
    let loaded = load_text(text, &[]).expect("a good config");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = &loaded.config;
    assert_eq!(config.server.listen.to_string(), "[::1]:9000");
    assert_eq!(config.server.allowed_origins.len(), 2);
    assert_eq!((config.server.shutdown_timeout, config.server.max_connections), (secs(60), 7));
    assert_eq!(config.server.node.as_deref(), Some("gw-1"));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9001");
    assert!(config.admin.fail_ready_when_down);
    let bayeux = &config.bayeux;
    assert_eq!((bayeux.interval, bayeux.max_message_size), (Duration::from_millis(250), ByteSize::from_mib(1)));
    assert_eq!(bayeux.transports, [Transport::LongPolling]);
    assert_eq!(
        (bayeux.unmapped_channels, bayeux.unmapped_services),
        (UnmappedChannels::Deny, UnmappedServices::Refuse)
    );
    assert_eq!(bayeux.queue.overflow, Overflow::DropOldest);
    assert!(!bayeux.websocket.compression);
    let [socket, polling] = [Transport::Websocket, Transport::LongPolling].map(|transport| bayeux.options(transport));
    assert_eq!((socket.timeout, socket.max_interval), (secs(60), secs(15)));
    assert!(polling.meta_connect_deliver_only && !socket.meta_connect_deliver_only);
    assert!(
        crate::Bayeux::default().options(Transport::CallbackPolling).meta_connect_deliver_only,
        "it cannot do otherwise"
    );
    assert_eq!(
        bayeux.activity,
        crate::Activity { max_inactivity: secs(3_600), kind: crate::ActivityKind::ClientServer }
    );
    assert_eq!((polling.timeout, polling.max_interval), (secs(30), secs(20)));
    assert_eq!((polling.queue.max_messages, polling.queue.max_bytes), (9, ByteSize::from_kib(1)));
    assert_eq!(polling.queue.overflow, Overflow::DropOldest);
    assert_eq!((bayeux.max_sessions_per_browser, bayeux.http2_max_sessions_per_browser), (-1, 5));
    assert!(bayeux.gzip);

    assert_eq!(config.connectors["orders"], Connector { kind: "log".into(), required: false });
    assert_eq!(config.connectors["scratch"], Connector { kind: "ram".into(), required: true });
    assert_eq!(loaded.connector_plans.keys().collect::<Vec<_>>(), ["orders", "scratch"]);
    assert!(loaded.connector_plans["orders"].capabilities().log);

    let orders = &config.mappings[0];
    assert_eq!(orders.headers["version"], "2", "a number where text is wanted is its text");
    assert_eq!((orders.partition, orders.direction, orders.format), (Some(3), Direction::Ingest, Format::Binary));
    assert_eq!((orders.on_error.clone(), orders.consume), (OnError::Stop, Some(Consume::Always)));
    assert_eq!(orders.include, [Include::Key, Include::Timestamp, Include::Headers]);
    let plain = &config.mappings[1];
    assert_eq!((plain.direction, plain.format, plain.publish_timeout), (Direction::Both, Format::Json, secs(5)));
    assert_eq!((plain.on_error.clone(), plain.consume, plain.tombstones), (OnError::Skip, None, false));

    assert_eq!(plain.replay.bounds(), None);
    assert_eq!(config.mappings[2].replay.bounds(), Some(ReplayBounds::default()));
    assert_eq!(config.mappings[2].envelope, Envelope::Salesforce);
    let bounds = ReplayBounds { max_records: 7, max_age: Some(secs(86_400)) };
    assert_eq!(config.mappings[3].replay.bounds(), Some(bounds));

    assert_eq!(config.services[0].handler, Handler::Kind("web".into()));
    assert_eq!((config.services[0].timeout, config.services[0].max_in_flight), (secs(2), 9));
    assert_eq!(config.services[1].handler, Handler::Builtin(Builtin::Echo));
    assert_eq!(loaded.handler_plans.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    assert_eq!((config.telemetry.log.format, config.telemetry.log.level), (LogFormat::Json, LogLevel::Debug));
}

#[test]
fn later_files_win_key_by_key_and_null_takes_a_key_back() {
    let text = |name: &str, text: &str| Source::Text { name: name.to_owned(), text: text.to_owned() };
    let sources = Sources {
        files: vec![
            text(
                "base.yaml",
                "server: { listen: 127.0.0.1:1, path: /x, allowed_origins: [https://a.example, https://b.example] }\ntelemetry: { log: { level: debug } }\nauth: { anonymous: true }\n",
            ),
            text("prod.yaml", "server: { path: /y, allowed_origins: [https://c.example] }\ntelemetry:\nauth: ~\n"),
        ],
        ..Sources::default()
    };
    let config = with_registry(|registry| load(&sources, registry)).expect("both are good").config;
    assert_eq!((config.server.listen.port(), config.server.path.as_str()), (1, "/y"));
    assert_eq!(config.server.allowed_origins, ["https://c.example"]);
    assert_eq!(config.telemetry.log.level, LogLevel::Debug, "a key without a value changes nothing");
    assert_eq!(config.auth, None);
}

#[test]
fn a_mistake_is_shown_in_the_file_that_made_it() {
    let text = |name: &str, text: &str| Source::Text { name: name.to_owned(), text: text.to_owned() };
    let files = vec![text("base.yaml", "server:\n  path: nowhere\n"), text("prod.yaml", "server:\n  listen: here\n")];
    let report =
        with_registry(|registry| load(&Sources { files, ..Sources::default() }, registry)).expect_err("two mistakes");
    let shown = report.to_string();
    assert!(shown.contains("[prod.yaml:2:11]"), "{shown}");
    let files = vec![Source::File("/nonexistent/gateway.yaml".into())];
    let report =
        with_registry(|registry| load(&Sources { files, ..Sources::default() }, registry)).expect_err("no file");
    assert!(report.to_string().contains("cannot read /nonexistent/gateway.yaml"), "{report}");
}

#[test]
fn files_are_looked_for_beside_the_config_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    std::fs::create_dir(folder.path().join("tls")).expect("made");
    for name in ["secret", "tls/a.crt", "a.key"] {
        std::fs::write(folder.path().join(name), "x").expect("written");
    }
    let elsewhere = folder.path().join("a.key");
    std::fs::write(
        &config,
        format!(
            "server: {{ tls: {{ cert_file: tls/a.crt, key_file: {} }} }}\n\
             connectors: {{ a: {{ ram: {{ password_file: \"${{NAME:secret}}\" }} }} }}\n",
            elsewhere.display()
        ),
    )
    .expect("written");
    let sources = Sources { files: vec![Source::File(config)], ..Sources::default() };
    let loaded = with_registry(|registry| load(&sources, registry)).expect("the file is found");
    let tls = loaded.config.server.tls.expect("tls");
    assert_eq!(tls.cert_file, folder.path().join("tls/a.crt"));
    assert_eq!(tls.key_file, elsewhere);
}

#[test]
fn findings_of_others_are_shown_at_their_places() {
    let text =
        "connectors: { a: { ram: {} } }\nmappings:\n  - channel: /a/{id}\n    connector: a\n    topic: a.{nme}\n";
    let loaded = load_text(text, &[]).expect("right as far as is known here");
    let finding = crate::Finding::error(["mappings", "0", "topic"], "`{nme}` is not in the channel")
        .suggesting("nme", ["id", "name"]);
    let missing = crate::Finding::warning(["mappings", "0", "key"], "no key");
    let report = loaded.report(&[finding, missing]);
    let places: Vec<(usize, usize)> =
        report.items.iter().filter_map(|i| i.place.as_ref()).map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(3, 5), (5, 12)]);
    assert!(report.has_errors());
    assert_eq!(report.counts(), (1, 1));
    assert!(report.to_string().contains("did you mean `name`?"), "{report}");
}
