//! What the lint finds in a config, and how the table explains itself.

use super::*;
use std::time::Duration;

fn findings(specs: &[MappingSpec]) -> Vec<Finding> {
    match Table::compile(specs, &connectors()) {
        Ok(compiled) => compiled.warnings,
        Err(findings) => findings,
    }
}

/// The only finding, as a line.
fn finding(spec: MappingSpec) -> String {
    match &findings(std::slice::from_ref(&spec))[..] {
        [one] => one.to_string(),
        other => panic!("one finding for {spec:?}: {other:?}"),
    }
}

#[test]
fn a_mapping_that_an_earlier_one_leaves_nothing_is_told() {
    let line = findings(&[spec("/a/**", "nats", "a.**"), going(Direction::Egress, spec("/a/b", "nats", "b"))]);
    assert_eq!(line.len(), 1);
    assert_eq!(line[0].severity, Severity::Warning);
    assert!(line[0].to_string().starts_with("warning: mappings[1].channel: no record ever comes"), "{}", line[0]);
    let other =
        [going(Direction::Ingest, spec("/a/**", "nats", "a.**")), going(Direction::Egress, spec("/a/b", "nats", "b"))];
    assert_eq!(findings(&other), [], "the other direction shadows nothing");
    assert_eq!(
        findings(&[spec("/a/b", "nats", "b"), spec("/a/**", "nats", "a.**")]),
        [],
        "narrow before wide is the way"
    );
}

#[test]
fn every_mistake_of_a_config_is_told_at_once_with_its_place() {
    let mut bad = headed("bayeux-user", "x", keyed("{nope}", spec("/a/{x}", "nats", "a.{y}")));
    bad.partition = Some(-1);
    bad.tombstones = true;
    bad.include.key = true;
    let all = findings(&[spec("/fine", "nats", "fine"), bad, spec("/b//c", "lost", "b.{")]);
    let places: Vec<(usize, &str)> = all.iter().map(|finding| (finding.index, &finding.key[..])).collect();
    for place in ["topic", "key", "headers.bayeux-user", "partition", "tombstones", "include"] {
        assert!(places.contains(&(1, place)), "{place} in {places:?}");
    }
    for place in ["channel", "connector"] {
        assert!(places.contains(&(2, place)), "{place} in {places:?}");
    }
    assert!(!places.iter().any(|(index, _)| *index == 0));
}

#[test]
fn each_mistake_says_what_to_write() {
    let egress = |spec| going(Direction::Egress, spec);
    for (mapping, expected) in [
        (
            spec("/a", "lost", "a"),
            "mappings[0].connector: there is no connector `lost` (under `connectors` there is: `bare`, `kafka`",
        ),
        (spec("/meta/a", "nats", "a"), "channel: /meta channels are"),
        (
            spec("/service/**", "nats", "a.**"),
            "channel: /service channels have handlers, not mappings (write it under `services`)",
        ),
        (spec("/a/*", "nats", "a"), "channel: `*` in a mapping binds a value that nothing can use (write a name"),
        (spec("/a/x{b}", "nats", "a"), "channel: {name} stands for a whole segment"),
        (spec("/a/{x}", "nats", "a.{y}"), "topic: `{y}` is not a name of the channel (the channel has `{x}`)"),
        (spec("/a/{x}/{y}", "nats", "a.{x}{y}"), "topic: `{x}` and `{y}` stand side by side"),
        (spec("/a/{x}", "nats", "a.{user.name}"), "topic: `{user.name}` is not known"),
        (spec("/a/{x}", "nats", "a.{x"), "topic: `{` is never closed (write `{{` for a brace)"),
        (
            spec("/a/**", "kafka", "a.**"),
            "topic: `**` cannot stand in a topic of connector `kafka` (use one fixed topic",
        ),
        (spec("/a", "nats", "a.**"), "topic: `**` in the topic has nothing in the channel"),
        (spec("/a/**", "nats", "**.a"), "topic: `**` may only be the whole last token"),
        (spec("/a/**", "nats", "a.>"), "topic: `>` is the broker's own wildcard (write `**`)"),
        (spec("/a/{x}", "mqtt", "a/+"), "topic: `+` is the broker's own wildcard (write `{name}`)"),
        (spec("/a", "kafka", "a/b"), "topic: the broker cannot have this topic: letters"),
        (spec("/a/{x}", "kafka", "__{x}"), "topic: the broker cannot have this topic: not beginning with __"),
        (
            spec("/a/{x}", "nats", "a"),
            "topic: no record could be brought back to its channel: nothing holds `{x}` (put `{x}` into",
        ),
        (keyed("k", spec("/a/{x}", "kafka", "a")), "nothing holds `{x}`"),
        (spec("/a/**", "bare", "a"), "topic: no record could tell what `**` in the channel stands for"),
        (spec("/a/**", "nats", "a"), "warning: mappings[0].topic: only the header bayeux-channel tells"),
        (keyed("k", spec("/a", "nats", "a")), "key: connector `nats` has no keys"),
        (headed("h", "v", spec("/a", "bare", "a")), "headers: connector `bare` has no headers"),
        (headed("Traceparent", "v", spec("/a", "nats", "a")), "headers.Traceparent: the gateway itself sets"),
        (headed("a b", "v", spec("/a", "nats", "a")), "headers.a b: a header's name is made of"),
        (headed("h", "v\n", spec("/a", "nats", "a")), "headers.h: a header's value cannot hold control"),
        (headed("h", "v", headed("h", "w", spec("/a", "nats", "a"))), "headers.h: the header appears twice"),
        (egress(spec("/a", "nats", "a.{session.user}")), "topic: only a publish has `{session.user}`"),
    ] {
        let told = finding(mapping);
        assert!(told.contains(expected), "{told}\n  should hold {expected}");
    }
    let slow = MappingSpec { publish_timeout: Duration::from_secs(10), ..spec("/a", "nats", "a") };
    assert!(finding(slow).contains("warning: mappings[0].publish_timeout: CometD's clients give up"));
    let never = MappingSpec { publish_timeout: Duration::ZERO, ..spec("/a", "nats", "a") };
    assert!(finding(never).contains("error: mappings[0].publish_timeout"));
    assert_eq!(findings(&[going(Direction::Ingest, spec("/a/{x}", "nats", "a"))]), [], "ingest need not come back");
}

#[test]
fn explain_says_who_takes_a_channel_and_why_the_others_do_not() {
    let table = table(&[
        keyed("{id}", spec("/orders/{region}/{id}", "kafka", "orders.{region}")),
        going(Direction::Egress, spec("/market/**", "nats", "market.**")),
        going(Direction::Ingest, spec("/**", "kafka", "all")),
    ]);
    let all = table.explain_channel(&channel("/orders/eu/7"), &Sources::default());
    let short: Vec<(usize, Way, bool)> = all.iter().map(|e| (e.mapping, e.way, e.taken)).collect();
    assert_eq!(
        short,
        [(0, Way::Ingest, true), (2, Way::Ingest, false), (0, Way::Egress, true), (1, Way::Egress, false)]
    );
    assert_eq!(
        all[0].to_string(),
        "ingest mappings[0] /orders/{region}/{id} (kafka): takes it: the first ingest mapping that fits the channel\n  \
         topic      orders.eu\n  key        7\n  partition  by the key\n  header     bayeux-channel: /orders/eu/7"
    );
    assert_eq!(all[1].reason, "the channel fits, but mapping 0 comes first");
    assert_eq!(all[3].reason, "the channel does not fit: segment 1 is `orders`, the pattern has `market`");
    let json = serde_json::to_value(&all[0]).unwrap();
    assert_eq!(json["way"], "ingest");
    assert_eq!(json["topic"], "orders.eu");

    let refused = &table.explain_channel(&channel("/orders/~41/7"), &Sources::default())[0];
    assert!(refused.error.as_deref().unwrap().starts_with("400:/orders/~41/7:channel_invalid"));
}

#[test]
fn explain_brings_a_record_to_its_channel() {
    let table = table(&[
        spec("/orders/{region}", "nats", "orders.{region}"),
        spec("/orders/**", "nats", "orders.**"),
        spec("/x", "mqtt", "x"),
    ]);
    let all = table.explain_record(None, "orders.eu", None, &Vec::new());
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].taken, all[0].channel.as_deref()), (true, Some("/orders/eu")));
    assert_eq!(all[1].reason, "mapping 0 comes first and has the channel");
    assert_eq!(all[2].reason, "the topic is not of this mapping");
    assert_eq!(table.explain_record(Some("mqtt"), "orders.eu", None, &Vec::new()).len(), 1);
}

#[test]
fn reading_back_needs_a_log_and_the_envelope_needs_reading_back() {
    let replaying = |mut spec: MappingSpec| {
        spec.replay = Some(Replay { max_records: 10, max_age: None });
        spec
    };
    let line = finding(replaying(spec("/a", "mqtt", "a")));
    assert!(line.contains("mappings[0].replay: connector `mqtt` keeps no log"), "{line}");
    let line = finding(replaying(going(Direction::Ingest, spec("/a", "kafka", "a"))));
    assert!(line.contains("nothing of an ingest mapping is delivered"), "{line}");
    let mut bare = spec("/a", "kafka", "a");
    bare.envelope = Envelope::Salesforce;
    let line = finding(bare);
    assert!(line.contains("mappings[0].envelope: the envelope carries the position"), "{line}");
}

#[test]
fn what_is_conflated_cannot_be_read_back_too() {
    let delivering = |conflate_by: Option<&str>, every: u64, mut spec: MappingSpec| {
        let conflate_by = conflate_by.map(str::to_owned);
        spec.deliver = Some(Deliver { conflate_by, every: Duration::from_millis(every) });
        spec
    };
    assert_eq!(findings(&[delivering(Some("/symbol"), 250, spec("/a", "nats", "a"))]), []);
    let mut both = delivering(None, 250, spec("/a", "kafka", "a"));
    both.replay = Some(Replay { max_records: 10, max_age: None });
    assert!(finding(both).contains("mappings[0].deliver: with `replay` every record is delivered"));
    assert!(finding(delivering(Some("symbol"), 250, spec("/a", "nats", "a"))).contains("is a JSON pointer"));
    assert!(finding(delivering(None, 0, spec("/a", "nats", "a"))).contains("mappings[0].deliver.every"));
}

#[test]
fn dead_letters_that_would_come_back_are_refused_and_so_are_topics_that_cannot_be() {
    let dead = |topic: &str, mut spec: MappingSpec| {
        spec.on_error = OnError::DeadLetter(topic.into());
        spec
    };
    for (mapping, expected) in [
        (dead("a.dead", spec("/a/**", "nats", "a.**")), "its dead letters would come back to it"),
        (dead("a", spec("/a", "kafka", "a")), "its dead letters would come back to it"),
        (dead("dead.{x}", spec("/a/{x}", "kafka", "a.{x}")), "it has no `{name}` and no wildcard"),
        (dead("dead.>", spec("/a", "nats", "a")), "it has no `{name}` and no wildcard"),
        (dead("de ad", spec("/a", "kafka", "a")), "the broker cannot have this topic"),
        (dead("dead", spec("/a", "bare", "a")), "the connector has no headers"),
    ] {
        let line = finding(mapping);
        assert!(line.contains("mappings[0].on_error.dead_letter.topic") && line.contains(expected), "{line}");
    }
    assert_eq!(findings(&[dead("dead.a", spec("/a/**", "nats", "a.**"))]), []);
    let circle = [dead("two", spec("/one", "nats", "one")), dead("one", spec("/two", "nats", "two"))];
    let indexes: Vec<usize> = findings(&circle).iter().map(|finding| finding.index).collect();
    assert_eq!(indexes, [0, 1], "each buries where the other reads");
    let shown = [dead("two", spec("/one", "nats", "one")), spec("/two", "nats", "two")];
    assert_eq!(findings(&shown), [], "a mapping may show the letters of another");
}

#[test]
fn a_schema_is_for_what_is_published_as_json() {
    let with = |mut spec: MappingSpec| {
        spec.schema = Some(std::sync::Arc::new(Schema::parse("{\"type\": \"number\"}").unwrap()));
        spec
    };
    assert_eq!(findings(&[with(spec("/a", "nats", "a"))]), []);
    assert!(finding(with(going(Direction::Egress, spec("/a", "nats", "a")))).contains("this is an egress mapping"));
    let mut bytes = with(spec("/a", "nats", "a"));
    bytes.format = Format::Binary;
    assert!(finding(bytes).contains("mappings[0].schema_file: bytes have no schema"));

    let table = table(&[with(spec("/a", "nats", "a"))]);
    let explained = |data: &'static [u8]| {
        let sources = Sources { data: Some(data), ..Sources::default() };
        table.explain_channel(&channel("/a"), &sources).remove(0).error
    };
    assert_eq!(explained(b"7"), None);
    let told = "400:/a:schema_violation (at the top: value is not of type \"number\")";
    assert_eq!(explained(b"\"7\"").as_deref(), Some(told));
}
