use super::kinds::load_text;
use crate::Style;
#[test]
fn look() {
    let bads: &[(&str, &[(&str, &str)])] = &[
        ("servr:\n  listen: 0.0.0.0:8080\n", &[]),
        ("server:\n  lisen: 0.0.0.0:8080\n  maxConnections: 5\n  port: 8080\n  tls: {cert_file: x}\n", &[]),
        (
            "connectors:\n  orders: { log: { brokrs: [a:1], properties: {linger.ms: 5, a: [x]}, discover_every: 5, compression: zst } }\n  b: { ram: }\n  c: { log: { brokers: [nohost] } }\n  d: {kafka: {brokers: []}}\n  e: {type: log, brokers: [a:1]}\n  f: \n  g: {log: {brokers: [a:1]}, ram: {}}\n  h: {log: , brokers: [x:1]}\nmappings:\n  - channel: /a/{id}\n    connector: ordrs\n    topic: {id}\n  - channel: /b\n    topc: x\n    connector: b\n    direction: bothe\n    replay: true\n    publish_timeout: 15s\n    on_error: {dead_letter: {topic: x}}\n  - hello\nbayeux: {extensions: [ack, foo], queue: {overflow: conflate, max_messages: 0}, transports: [], max_message_size: 64kb, timeout: 20, interval: 5x}\n",
            &[],
        ),
        ("a:\n\tb: 1\n", &[]),
        ("server:\n  listen: 0.0.0.0:8080\n  listen: x\n", &[]),
        ("server:\n  listen: ${LISTEN}\n  path: \"${PTH:-/x}\"\n", &[("PATH_X", "1")]),
        (
            "server: {}\n",
            &[
                ("BAYEUX_GATEWAY__SERVER__LISTN", "x"),
                ("BAYEUX_GATEWAY__SERVER__MAX_CONNECTIONS", "many"),
                ("BAYEUX_GATEWAY__MAPPINGS__0__TOPIC", "x"),
                ("BAYEUX_GATEWAY__ADMIN__TOKEN_FILE", "x"),
            ],
        ),
        (
            "server:\n  listen: localhost\nadmin: 5\nmappings: {a: b}\nauth: {jwt: {}, rules: []}\ntelemetry:\n  log: { level: off }\nservices:\n  - channel: /service/x\n    http: {url: x}\n  - channel: /service/y\n    web: {url: 'http://x/{id}', timeout: 3s}\n  - channel: /service/{id}\n    url: http://x\n    web: {}\n  - channel: /service/z\n    nats: {subject: x}\n  - channel: /service/z\n  - channel: /x\n    builtin: ech\n",
            &[],
        ),
        (
            "server: { listen: \"0.0.0.0:8080\", allowed_origins: [\"https://a.example.com/\", app.com, \"*\"] , path: /x/ }\n",
            &[],
        ),
        ("mappings:\n- channel: /a\n  connector: x\n  topic: *\n", &[]),
        ("- a\n", &[]),
        ("server:\n  tls:\n  listen:\n", &[]),
        (
            "server: {listen: \"0.0.0.0:1\"}\nconnectors: {a: {ram: {}}}\nmappings:\n  - {channel: /a, connector: a, topic: a, publish_timeout: 12s}\n  - {channel: /a, connector: a, topic: b}\n",
            &[],
        ),
        ("connectors: {a: {ram: {password_file: nope}}}\n", &[]),
    ];
    for (text, env) in bads {
        println!("=====================\n{text}---------");
        match load_text(text, env) {
            Ok(l) => println!("OK {}", l.warnings.render(Style::Graphical { color: false })),
            Err(r) => println!("{}", r.render(Style::Graphical { color: false })),
        }
    }
    println!("{}", load_text("servr:\n", &[]).unwrap_err());
}
#[test]
fn look_reference() {
    super::kinds::with_registry(|r| {
        println!("{}\n{}", crate::reference(r), serde_json::to_string_pretty(&crate::schema(r)).unwrap())
    });
}
