//! Without a broker: the law of topics, settings, and the books of what is under way.

use crate::SYNTAX;
use crate::connector::MqttFactory;
use connector::{ConnectorFactory, ConnectorKind, Context};
use proptest::prelude::*;
use serde_json::json;

mod inflow;
mod line;
mod link;
mod peer;
mod table;

proptest! {
    #[test]
    fn a_value_becomes_one_level_and_is_read_back(value in "\\PC{0,12}|[%/+#$~\u{0}-\u{1f}a0Fé]{0,12}|.{0,12}", cut in prop::option::of(0x20u8..0x7f), first: bool) {
        // A literal that reads as part of an escape cannot cut; the config's lint refuses it.
        let cut = cut.filter(|c| !c.is_ascii_hexdigit() && *c != b'%');
        let mut level = String::new();
        SYNTAX.encode(&value, first, cut, &mut level);
        prop_assert_eq!(SYNTAX.decode(&level), Some(value.clone()));
        prop_assert!(!level.contains(['/', '+', '#', '\0']));
        prop_assert!(!(first && level.starts_with('$')));
        if let Some(cut) = cut {
            prop_assert!(!level.contains(char::from(cut)));
        }
        if !value.is_empty() && crate::topic::is_text(&level) {
            prop_assert_eq!((SYNTAX.check)(&level), Ok(()));
        }
    }

    #[test]
    fn what_needs_no_escape_stands_for_itself(value in "[A-Za-z0-9 äöü._~*>-]{1,20}") {
        let mut level = String::new();
        SYNTAX.encode(&value, true, None, &mut level);
        prop_assert_eq!(level, value);
    }
}

#[test]
fn topics_that_a_broker_would_choke_on_are_refused() {
    let deep = vec!["a"; 129].join("/");
    let long = "a".repeat(65_536);
    for topic in ["", "/a", "a/", "a//b", "a/+/b", "a/#", "a\0b", "a\nb", "a\u{85}b", "a\u{fffe}", &deep, &long] {
        assert!((SYNTAX.check)(topic).is_err(), "{topic:?} passed");
    }
    for topic in ["a", "a/b c/%2F", "$SYS/x", "grüße/☃/🦀", &vec!["a"; 128].join("/")] {
        assert_eq!((SYNTAX.check)(topic), Ok(()), "{topic:?} was refused");
    }
}

#[test]
fn the_smallest_settings_are_an_address() {
    let kind = ConnectorKind::of::<MqttFactory>();
    assert_eq!(kind.kind, "mqtt");
    let plan = kind.plan(json!({"url": "mqtt://localhost"})).map_err(|e| e.message);
    assert!(plan.is_ok_and(|plan| plan.capabilities().rest_topics));
    // Not every machine has certificates to trust, so these name their own.
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (settings, path, says) in [
        (json!({}), vec![], "url"),
        (json!({"url": "localhost:1883"}), vec!["url"], "mqtt://"),
        (json!({"url": "http://localhost"}), vec!["url"], "http://"),
        (json!({"url": "mqtt://me:secret@localhost"}), vec!["url"], "password_file"),
        (json!({"url": "mqtt://localhost/topic"}), vec!["url"], "more than host and port"),
        (json!({"url": "mqtt://localhost", "usr": "me"}), vec!["usr"], "unknown field"),
        (json!({"url": "mqtt://localhost", "password": "x"}), vec!["user"], "missing"),
        (
            json!({"url": "mqtt://localhost", "user": "me", "password_file": "/no/such"}),
            vec!["password_file"],
            "/no/such",
        ),
        (json!({"url": "mqtt://localhost", "keep_alive": "1s"}), vec!["keep_alive"], "5s"),
        (json!({"url": "mqtt://localhost", "keep_alive": 15}), vec!["keep_alive"], "duration"),
        (json!({"url": "mqtt://localhost", "client_id": ""}), vec!["client_id"], "1 to 65535"),
        (json!({"url": "mqtt://localhost", "max_packet_size": "1GiB"}), vec!["max_packet_size"], "255MiB"),
        (json!({"url": "mqtt://localhost", "receive_maximum": 0}), vec!["receive_maximum"], "at least 1"),
        (json!({"url": "mqtt://localhost", "tls": {"ca_file": empty}}), vec!["tls", "ca_file"], "holds none"),
        (json!({"url": "mqtts://localhost", "tls": {"ca_file": "/no/such"}}), vec!["tls", "ca_file"], "/no/such"),
    ] {
        let error = kind.plan(settings.clone()).err().unwrap_or_else(|| panic!("{settings} passed"));
        assert_eq!(error.path, path, "{settings}: {}", error.message);
        assert!(error.message.contains(says), "{settings}: {}", error.message);
    }
}

#[test]
fn the_client_id_is_the_same_at_every_start_and_another_for_every_gateway_and_connector() {
    let plan = MqttFactory::plan(serde_json::from_value(json!({"url": "mqtt://localhost"})).unwrap())
        .unwrap_or_else(|e| panic!("{e}"));
    let id = |node: &str, name: &str| plan.client_id(&Context { node: node.into(), name: name.into() });
    assert_eq!(id("gateway-7f9c-üx2", "sensors"), id("gateway-7f9c-üx2", "sensors"));
    let ids =
        [id("a", "bc"), id("ab", "c"), id("a-b", "c"), id("gateway-7f9c-üx2", "sensors"), id("", ""), id("ü", "ß")];
    for (i, one) in ids.iter().enumerate() {
        assert!((1..=23).contains(&one.len()) && one.bytes().all(|b| b.is_ascii_alphanumeric()), "{one:?}");
        assert!(!ids[..i].contains(one), "{one:?} came twice");
    }
    let given = json!({"url": "mqtt://localhost", "client_id": "mine"});
    let plan = MqttFactory::plan(serde_json::from_value(given).unwrap()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.client_id(&Context { node: "a".into(), name: "b".into() }), "mine");
}
