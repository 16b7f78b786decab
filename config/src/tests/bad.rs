//! Each mistake with the place, the words and the advice that its author gets.

use super::kinds::load_text;
use crate::{Origin, Style};

/// What is expected of a finding: `line:column`, a part of its message, its help (or "" for none).
type Expected<'a> = (&'a str, &'a str, &'a str);

/// Loads `text` and compares all its findings, in order.
#[track_caller]
pub(super) fn finds(text: &str, expected: &[Expected<'_>]) {
    finds_with(text, &[], expected);
}

#[track_caller]
fn finds_with(text: &str, env: &[(&str, &str)], expected: &[Expected<'_>]) {
    let report = match load_text(text, env) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    let found: Vec<(String, String, String)> = report
        .items
        .iter()
        .map(|item| {
            let place = item.place.as_ref().map_or("nowhere".to_owned(), |p| match &p.origin {
                Origin::File(_) => format!("{}:{}", p.line, p.column),
                Origin::Variable(name) | Origin::Override(name) => name.clone(),
            });
            (place, item.finding.message.clone(), item.finding.help.clone().unwrap_or_default())
        })
        .collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, (place, message, help))| {
            found.0 == *place
                && found.1.contains(message)
                && found.2.contains(help)
                && found.2.is_empty() == help.is_empty()
        });
    assert!(fits, "expected {expected:#?}\nfound {found:#?}\n{report}");
}

#[test]
fn a_slip_in_a_key_is_shown_with_the_key_that_was_meant() {
    finds("servr:\n  listen: 127.0.0.1:1\n", &[("1:1", "unknown key `servr`", "did you mean `server`?")]);
    finds(
        "server:\n  lisen: 127.0.0.1:1\n  maxConnections: 5\n  port: 1\n",
        &[
            ("2:3", "unknown key `lisen` in `server`", "did you mean `listen`?"),
            ("3:3", "unknown key `maxConnections`", "did you mean `max_connections`?"),
            ("4:3", "unknown key `port`", "possible here: `listen`, `path`, `tls`"),
        ],
    );
    finds(
        "connectors:\n  orders:\n    log:\n      brokrs: [a:1]\n",
        &[("4:7", "unknown key `brokrs` in `connectors.orders.log`", "did you mean `brokers`?")],
    );
}

#[test]
fn a_key_at_the_wrong_step_is_sent_to_the_right_one() {
    finds(
        "services:\n  - channel: /service/a\n    url: http://x\n    web:\n  - channel: /service/b\n    web:\n      url: http://x\n      timeout: 1s\n",
        &[
            ("3:5", "unknown key `url` in `services[0]`", "`url` belongs one step deeper, under `web`"),
            ("8:7", "unknown key `timeout`", "`timeout` belongs one step higher, beside `web`"),
        ],
    );
}

#[test]
fn a_wrong_type_says_what_is_wanted_and_what_is_there() {
    finds(
        "server:\n  max_connections: many\n  allowed_origins: https://a.example\n  tls: [a]\n",
        &[
            ("2:20", "`server.max_connections` must be a whole number, not `many`", ""),
            (
                "3:20",
                "`server.allowed_origins` must be a list, not `https://a.example`",
                "a list of one: `[https://a.example]`",
            ),
            ("4:3", "`server.tls` must be a map of keys, not a list", ""),
        ],
    );
    finds(
        "bayeux:\n  timeout: 20\n  interval: soon\n  max_message_size: 64kb\n  trust_client_session: yes\n  queue: { max_messages: 0 }\n",
        &[
            ("2:12", "`bayeux.timeout` must be a duration such as 500ms", "write the unit: `20s` or `20ms`"),
            ("3:13", "`bayeux.interval` must be a duration such as 500ms", ""),
            ("4:21", "`bayeux.max_message_size` must be a size such as 512B", ""),
            ("5:25", "must be `true` or `false`, not `yes`", "write `true` or `false`"),
            ("6:26", "`bayeux.queue.max_messages` must be 1 or more, not `0`", ""),
        ],
    );
    finds(
        "server:\n  listen: localhost\n",
        &[("2:11", "must be an IP address and a port, such as 0.0.0.0:8080, not `localhost`", "")],
    );
    finds("server:\n  listen:\n", &[("2:3", "`server.listen` has no value; it wants text", "")]);
    finds("- a\n", &[("1:1", "a config is a map of keys", "")]);
    finds("mappings: {a: b}\n", &[("1:1", "`mappings` must be a list, not a map", "")]);
    finds("mappings:\n  - hello\n", &[("2:5", "`mappings[0]` must be a map of keys, not `hello`", "")]);
}

#[test]
fn a_template_without_quotes_is_explained() {
    finds(
        "connectors: { a: { ram: {} } }\nmappings:\n  - channel: /a/{id}\n    connector: a\n    topic: {id}\n",
        &[("5:5", "`mappings[0].topic` must be text, not a map", "must be quoted: `\"{id}\"`")],
    );
}

#[test]
fn a_name_outside_a_fixed_choice_is_shown_with_the_nearest() {
    finds(
        "connectors: { a: { log: { brokers: [a:1], compression: zst } } }\nmappings:\n  - channel: /a\n    connector: a\n    topic: a\n    direction: bothe\n    format: xml\n",
        &[
            ("1:56", "`connectors.a.log.compression` cannot be `zst`", "did you mean `zstd`?"),
            ("6:16", "`mappings[0].direction` cannot be `bothe`", "did you mean `both`?"),
            ("7:13", "`mappings[0].format` cannot be `xml`", "possible here: `json`, `text` and `binary`"),
        ],
    );
}

#[test]
fn what_is_missing_is_named_with_its_meaning() {
    finds(
        "connectors: { a: { log: } }\nmappings:\n  - channel: /a\n    connector: a\n",
        &[
            ("1:20", "`connectors.a.log` needs the key `brokers`", "`brokers`: Addresses as `host:port`"),
            ("3:5", "`mappings[0]` needs the key `topic`", "`topic`: The topic (NATS: subject)"),
        ],
    );
    finds(
        "server:\n  tls: { cert_file: a.pem }\n",
        &[("2:3", "`server.tls` needs the key `key_file`", "`key_file`: The key")],
    );
}

#[test]
fn kinds_that_do_not_exist_or_are_not_said_or_are_two_are_told() {
    finds(
        "connectors:\n  a: { lgo: { brokers: [a:1] } }\n  b: { type: log, brokers: [a:1] }\n  c: {}\n  d: { ram: {}, log: { brokers: [a:1] } }\n  e: { rabbit: {} }\n",
        &[
            ("2:8", "unknown connector kind `lgo`", "did you mean `log`?"),
            ("3:8", "a connector's kind is a key", "write `log:` instead of `type: log`"),
            ("4:3", "nothing says what kind of connector this is", "add one of `log` or `ram`"),
            ("5:3", "the connector is of more than one kind: `log` and `ram`", "keep one"),
            ("6:8", "unknown connector kind `rabbit`", "this build has: `log` and `ram`"),
        ],
    );
    finds(
        "services:\n  - channel: /service/a\n  - channel: /service/b\n    wbe: { url: http://x }\n  - channel: /service/c\n    builtin: ech\n",
        &[
            ("2:5", "nothing says what kind of service this is", "add one of `web` or `builtin`"),
            ("4:5", "unknown key `wbe` in `services[1]`", "did you mean `web`?"),
            ("6:14", "`services[2].builtin` cannot be `ech`", "did you mean `echo`?"),
        ],
    );
}

#[test]
fn what_only_the_kind_knows_to_be_wrong_is_shown_at_its_place_too() {
    finds(
        "connectors:\n  a:\n    log:\n      brokers:\n        - good:1\n        - bad\n",
        &[("6:11", "`bad` has no port: write host:port", "")],
    );
    finds(
        "services:\n  - channel: /service/{id}\n    web: { url: \"http://x/{id}/{nme}\" }\n",
        &[("3:17", "`{nme}` is bound by no segment of the channel", "")],
    );
}

#[test]
fn a_mapping_to_a_connector_that_does_not_exist_is_told() {
    let mapping = "mappings:\n  - { channel: /a, connector: ordrs, topic: a }\n";
    finds(
        &format!("connectors: {{ orders: {{ ram: {{}} }} }}\n{mapping}"),
        &[("3:31", "there is no connector `ordrs`", "did you mean `orders`?")],
    );
    finds(
        &format!("connectors: {{ x: {{ ram: {{}} }}, y: {{ ram: {{}} }} }}\n{mapping}"),
        &[("3:31", "there is no connector `ordrs`", "there are `x` and `y`")],
    );
    finds(mapping, &[("2:31", "there is no connector `ordrs`", "add it: `connectors: { ordrs: {")]);
}

#[test]
fn keys_of_later_versions_are_refused_by_name_and_never_ignored() {
    finds(
        "admin: { token_file: x }\nbayeux:\n  extensions: [nonsense]\n  queue: { overflow: conflate }\nauth: { jwt: {}, rules: [] }\nhooks: {}\n",
        &[
            ("1:10", "`admin.token_file` is not available in this version", "leave it out"),
            ("3:16", "`bayeux.extensions[0]` cannot be `nonsense`", "possible here: `ack`, `timesync`"),
            ("4:22", "`conflate` is not available in this version", "possible here: `disconnect` and `drop_oldest`"),
            ("5:9", "`auth.jwt` is not available in this version", "leave it out"),
            ("5:18", "`auth.rules` is not available in this version", "leave it out"),
            ("6:1", "`hooks` is not available in this version", "leave it out"),
        ],
    );
    finds(
        "connectors: { a: { log: { brokers: [a:1], create_topics: {} } } }\nmappings:\n  - channel: /a\n    connector: a\n    topic: a\n    partitioner: x\n    idempotency: { window: 10m }\n    queue: {}\nservices:\n  - channel: /service/a\n    grpc: { url: x }\n  - channel: /service/b\n    web: { url: x, retries: 2 }\n",
        &[
            ("1:43", "`connectors.a.log.create_topics` is not available in this version", "leave it out"),
            ("6:5", "`mappings[0].partitioner` is not available in this version", "leave it out"),
            ("7:5", "`mappings[0].idempotency` is not available in this version", "leave it out"),
            ("8:5", "`mappings[0].queue` is not available in this version", "leave it out"),
            ("11:5", "`services[0].grpc` is not available in this version", "leave it out"),
            ("13:20", "`services[1].web.retries` is not available in this version", "leave it out"),
        ],
    );
}

#[test]
fn what_is_not_yaml_is_explained_at_its_place() {
    finds("server:\n\tlisten: x\n", &[("2:1", "a tab cannot indent YAML", "use spaces")]);
    finds(
        "server: { listen: x\nadmin: {}\n",
        &[("2:6", "the brace above is not closed", "add a comma or the closing `}`")],
    );
    finds("server:\n  path: \"/x\n", &[("2:9", "the quote is not closed", "add the same quote")]);
    finds("server:\n  path: a: b\n", &[("2:10", "a key cannot stand here", "must be quoted")]);
    finds(
        "mappings:\n  - channel: *all\n",
        &[("2:14", "a value that begins with `*` must be quoted", "YAML takes it for a reference")],
    );
    finds(
        "mappings:\n  - topic: **\n",
        &[("2:12", "a value that begins with `*` must be quoted", "YAML takes it for a reference")],
    );
    finds("a: 1\n---\nb: 2\n", &[("3:1", "a second YAML document begins here", "put it into a file of its own")]);
    finds("server:\n  path: @x\n", &[("2:9", "not YAML: unexpected character", "must be quoted")]);
    finds(&"[".repeat(400), &[("1:256", "nested too deeply", "ten levels")]);
}

#[test]
fn a_key_written_twice_is_an_error_that_names_the_first() {
    finds("server:\n  path: /a\n  path: /b\n", &[("3:3", "`server.path` is written twice", "it is on line 2 already")]);
    finds(
        "connectors:\n  a: { ram: {} }\nserver: {}\nconnectors:\n  b: { ram: {} }\n",
        &[("4:1", "`connectors` is written twice", "it is on line 1 already")],
    );
}

#[test]
fn variables_that_are_not_set_are_told_at_their_place() {
    finds_with(
        "server:\n  listen: ${LISTN}\n  allowed_origins: [\"${ORIGIN}\"]\n  node: \"${a b}\"\n",
        &[("LISTEN", "x")],
        &[
            (
                "2:11",
                "the environment variable `LISTN` is not set",
                "did you mean `LISTEN`? A default is written `${LISTN:default}`",
            ),
            (
                "3:21",
                "the environment variable `ORIGIN` is not set",
                "set it, or give it a default: `${ORIGIN:default}`",
            ),
            ("4:9", "`a b` cannot be the name of a variable", "write `${NAME}`"),
        ],
    );
    finds_with(
        "server:\n  max_connections: ${MAX:-5}\n",
        &[],
        &[
            ("2:20", "the default of `MAX` begins with `-`, as a shell writes it", "`${MAX:5}`"),
            ("2:20", "`server.max_connections` must be 1 or more, not `-5`", ""),
        ],
    );
}

#[test]
fn variables_that_set_nothing_or_something_wrong_are_named() {
    let variables = [
        ("BAYEUX_GATEWAY__ADMIN__TOKEN_FILE", "x"),
        ("BAYEUX_GATEWAY__BAYEUX__QUEUE__OVERFLOW__X", "x"),
        ("BAYEUX_GATEWAY__CONNECTORS__A__LGO__BROKERS", "[a:1]"),
        ("BAYEUX_GATEWAY__MAPPINGS__0__TOPIC", "x"),
        ("BAYEUX_GATEWAY__SERVER__ALLOWED_ORIGINS", "https://a.example"),
        ("BAYEUX_GATEWAY__SERVER__LISTN", "x"),
        ("BAYEUX_GATEWAY__SERVER__MAX_CONNECTIONS", "many"),
        ("BAYEUX_GATEWAY__", "x"),
        ("BAYEUX_GATEWAY_CONFIG", "gateway.yaml"),
    ];
    finds_with(
        "server: {}\n",
        &variables,
        &[
            ("BAYEUX_GATEWAY__", "there is no key ``", "possible here: `server`"),
            ("BAYEUX_GATEWAY__ADMIN__TOKEN_FILE", "`admin.token_file` is not available in this version", ""),
            ("BAYEUX_GATEWAY__BAYEUX__QUEUE__OVERFLOW__X", "`bayeux.queue.overflow` has no keys below it", ""),
            (
                "BAYEUX_GATEWAY__CONNECTORS__A__LGO__BROKERS",
                "there is no key `lgo` in `connectors.a`",
                "did you mean `BAYEUX_GATEWAY__CONNECTORS__A__LOG__BROKERS`?",
            ),
            (
                "BAYEUX_GATEWAY__MAPPINGS__0__TOPIC",
                "`mappings` is a list, and keys inside a list",
                "set the whole list",
            ),
            (
                "BAYEUX_GATEWAY__SERVER__ALLOWED_ORIGINS",
                "`server.allowed_origins` must be a list",
                "a list of one: `[https://a.example]`",
            ),
            (
                "BAYEUX_GATEWAY__SERVER__LISTN",
                "there is no key `listn` in `server`",
                "did you mean `BAYEUX_GATEWAY__SERVER__LISTEN`?",
            ),
            ("BAYEUX_GATEWAY__SERVER__MAX_CONNECTIONS", "must be a whole number, not `many`", ""),
        ],
    );
}

#[test]
fn rules_that_need_more_than_one_key_are_checked() {
    finds(
        "server: { listen: 127.0.0.1:8080, path: /x/, allowed_origins: [https://A.example.com/, app.example.com] }\nauth: { anonymous: false }\n",
        &[
            ("1:41", "`server.path` ends with a slash", "write `/x`"),
            ("1:64", "`https://A.example.com/` is not a web origin", "browsers send it as `https://a.example.com`"),
            ("1:88", "`app.example.com` is not a web origin", "write scheme, host and port"),
            ("2:20", "nobody could come in", "leave `auth` out"),
        ],
    );
    finds(
        "server: { tls: { cert_file: /nonexistent.crt, key_file: /dev/null } }\n",
        &[("1:29", "cannot read /nonexistent.crt: No such file", "")],
    );
    finds(
        "services:\n  - { channel: /quote, builtin: echo }\n",
        &[("2:16", "a service answers on channels below `/service/`, not on `/quote`", "for `mappings`")],
    );
    finds(
        "server: { listen: 127.0.0.1:8081 }\nadmin: { listen: 127.0.0.1:8081 }\n",
        &[("2:18", "`server.listen` and `admin.listen` are both 127.0.0.1:8081", "different ports")],
    );
    finds(
        "connectors: { a: { ram: {} } }\nmappings:\n  - { name: x, channel: /a, connector: a, topic: a }\n  - { name: x, channel: /b, connector: a, topic: a }\n",
        &[("4:13", "`mappings[0]` has the same name", "could not tell them apart")],
    );
}

#[test]
fn what_works_but_is_doubtful_is_a_warning() {
    finds(
        "server: { listen: 0.0.0.0:80, allowed_origins: [\"*\"] }\nconnectors: { a: { ram: {} } }\nmappings:\n  - { channel: /a, connector: a, topic: a, publish_timeout: 10s }\n  - { channel: /a, connector: a, topic: b, direction: egress }\n  - { channel: /b, connector: a, topic: b, direction: egress, publish_timeout: 10s }\n  - { channel: /b, connector: a, topic: b }\nservices:\n  - { channel: /service/a, builtin: echo }\n  - { channel: /service/a, builtin: echo }\n",
        &[
            (
                "1:19",
                "whoever reaches 0.0.0.0:80 may publish and subscribe to everything",
                "`auth: { anonymous: true }`",
            ),
            ("1:49", "any web page may use this gateway", "name the origins"),
            ("4:61", "CometD's clients give a publish up after 10s", "write less than 10s"),
            ("5:16", "never used: `mappings[0]` takes the same channel before", ""),
            ("10:16", "never used: `services[0]` takes the same channel before", ""),
        ],
    );
    finds("server: { listen: 0.0.0.0:80 }\nauth: { anonymous: true }\n", &[]);
}

#[test]
fn one_mistake_does_not_hide_the_others() {
    let text = "servr: {}\nadmin: { listen: x }\nbayeux: { timeout: 1 }\nconnectors:\n  a: { log: { brokers: [nohost] } }\nmappings:\n  - { channel: /a, connector: b, topic: a, forma: json }\nservices:\n  - { channel: /service/a, web: {} }\n";
    finds(
        text,
        &[
            ("1:1", "unknown key `servr`", "server"),
            ("2:18", "`admin.listen` must be", ""),
            ("3:20", "`bayeux.timeout` must be", "`1s`"),
            ("5:25", "`nohost` has no port", ""),
            ("7:31", "there is no connector `b`", "the only connector is `a`"),
            ("7:44", "unknown key `forma`", "did you mean `format`?"),
            ("9:28", "`services[0].web` needs the key `url`", "Where to ask"),
        ],
    );
}

#[test]
fn a_report_shows_the_line_the_place_and_the_advice_and_no_other_line() {
    let text = "connectors:\n  a:\n    ram:\n      password: hunter2\n      max_recods: 5\n";
    let report = load_text(text, &[]).expect_err("a misspelt key");
    let expected = "
  x error: unknown key `max_recods` in `connectors.a.ram`
   ,-[gateway.yaml:5:7]
 5 |       max_recods: 5
   :       ^^^^^^^^^^
   `----
  help: did you mean `max_records`?

1 error
";
    assert_eq!(report.to_string().trim(), expected.trim());
    let graphical = report.render(Style::Graphical { color: false });
    assert!(graphical.contains("╭─[gateway.yaml:5:7]") && !graphical.contains("hunter2"), "{graphical}");
    assert!(report.render(Style::Graphical { color: true }).contains("\u{1b}["));

    let variables = [("BAYEUX_GATEWAY__CONNECTORS__A__RAM__PASSWRD", "hunter2")];
    let report =
        load_text("connectors: { a: { ram: {} } }\n", &variables).expect_err("a misspelt variable").to_string();
    assert!(report.contains("[environment:1:1]") && !report.contains("hunter2"), "{report}");
}

#[test]
fn how_far_may_be_read_back_is_a_choice_or_bounds() {
    let mapping = |replay: &str| {
        format!(
            "connectors: {{ o: {{ log: {{ brokers: [a:1] }} }} }}\nmappings:\n  - {{ channel: /a, connector: o, topic: a, replay: {replay} }}\n"
        )
    };
    finds(&mapping("yes-please"), &[("3:52", "`mappings[0].replay` must be `true` or `false` or a map of keys", "")]);
    finds(&mapping("{ max_record: 5 }"), &[("3:54", "unknown key `max_record`", "did you mean `max_records`?")]);
    finds(&mapping("{ max_age: 24 }"), &[("3:63", "must be a duration such as", "write the unit: `24s`")]);
}
