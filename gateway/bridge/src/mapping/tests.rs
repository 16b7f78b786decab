//! The rules of mapping, one story each.

use super::*;
use bayeux::channel::ChannelName;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Capabilities, Confirm, FilterToken, Inbound, TopicSyntax};
use std::collections::BTreeMap;

mod lint;

pub(super) static KAFKA: TopicSyntax = TopicSyntax {
    separator: b'.',
    introducer: "_x",
    literal: |byte, _| byte.is_ascii_alphanumeric() || b"_-".contains(&byte),
    check: |topic| {
        let bytes = topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        match topic {
            _ if topic.is_empty() || topic.len() > 249 => Err("1 to 249 bytes"),
            "." | ".." => Err("not . or .."),
            _ if topic.starts_with("__") => Err("not beginning with __"),
            _ if !bytes => Err("letters, digits, ., _ and - only"),
            _ => Ok(()),
        }
    },
    wildcards: &[("*", "{name}")],
    rest: false,
};

pub(super) static NATS: TopicSyntax = TopicSyntax {
    separator: b'.',
    introducer: "%",
    literal: |byte, first| match byte {
        0..=b' ' | 0x7f | b'.' | b'*' | b'>' => false,
        b'$' => !first,
        _ => true,
    },
    check: |topic| match topic {
        _ if topic.split('.').any(str::is_empty) => Err("no empty token"),
        _ if topic.bytes().any(|b| matches!(b, 0..=b' ' | 0x7f | b'*' | b'>')) => Err("no space, control or wildcard"),
        _ => Ok(()),
    },
    wildcards: &[("*", "{name}"), (">", "**")],
    rest: true,
};

pub(super) static MQTT: TopicSyntax = TopicSyntax {
    separator: b'/',
    introducer: "%",
    literal: |byte, first| match byte {
        0 | b'/' | b'+' | b'#' => false,
        b'$' => !first,
        _ => true,
    },
    check: |topic| match topic {
        _ if topic.is_empty() || topic.len() > 65535 => Err("1 to 65535 bytes"),
        _ if topic.contains(['\0', '+', '#']) => Err("no NUL or wildcard"),
        _ => Ok(()),
    },
    wildcards: &[("+", "{name}"), ("#", "**")],
    rest: true,
};

fn traits(syntax: &'static TopicSyntax, keys: bool, partitions: bool) -> ConnectorTraits {
    let capabilities = Capabilities {
        confirm: Confirm::Stored,
        log: keys,
        keys,
        partitions,
        headers: true,
        tombstones: keys,
        rest_topics: syntax.rest,
        retained: false,
        back_pressure: true,
    };
    ConnectorTraits { capabilities, syntax }
}

/// One connector of each kind.
pub(super) fn connectors() -> BTreeMap<String, ConnectorTraits> {
    let mut bare = traits(&NATS, false, false);
    bare.capabilities.headers = false;
    BTreeMap::from([
        ("kafka".to_owned(), traits(&KAFKA, true, true)),
        ("nats".to_owned(), traits(&NATS, false, false)),
        ("mqtt".to_owned(), traits(&MQTT, false, false)),
        ("bare".to_owned(), bare),
    ])
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(&ByteString::from(name)).unwrap()
}

pub(super) fn inbound(topic: &str, key: Option<&str>) -> Inbound {
    Inbound {
        topic: ByteString::from(topic),
        partition: None,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        payload: None,
        headers: Vec::new(),
        timestamp: None,
        place: None,
        redelivered: false,
        retained: false,
    }
}

fn with_header(mut record: Inbound, name: &'static str, value: &'static str) -> Inbound {
    record.headers.push((ByteString::from_static(name), Bytes::from_static(value.as_bytes())));
    record
}

fn spec(channel: &str, connector: &str, topic: &str) -> MappingSpec {
    MappingSpec::new(channel, connector, topic)
}

fn going(direction: Direction, mut spec: MappingSpec) -> MappingSpec {
    spec.direction = direction;
    spec
}

fn keyed(key: &str, mut spec: MappingSpec) -> MappingSpec {
    spec.key = Some(key.to_owned());
    spec
}

fn headed(name: &str, value: &str, mut spec: MappingSpec) -> MappingSpec {
    spec.headers.push((name.to_owned(), value.to_owned()));
    spec
}

fn table(specs: &[MappingSpec]) -> Table {
    match Table::compile(specs, &connectors()) {
        Ok(compiled) => compiled.table,
        Err(findings) => panic!("{findings:?}"),
    }
}

fn render(table: &Table, name: &str, sources: &Sources<'_>) -> Result<Rendered, RenderError> {
    match table.ingest(&channel(name)) {
        IngestMatch::Mapping(route) => route.render(sources),
        other => panic!("{name}: {other:?}"),
    }
}

fn topic(spec: MappingSpec, name: &str) -> Result<String, String> {
    render(&table(&[spec]), name, &Sources::default())
        .map(|rendered| rendered.topic.to_string())
        .map_err(|error| error.error_string(name))
}

fn back(table: &Table, record: &Inbound) -> Result<String, EgressError> {
    table.egress(0, record).map(|channel| channel.to_string())
}

fn poison(why: Poison) -> Result<String, EgressError> {
    Err(EgressError::Poison(why))
}

#[test]
fn an_order_published_in_a_browser_comes_back_to_its_channel() {
    let spec = headed(
        "user",
        "{claims.sub}",
        headed("source", "web", keyed("{id}", spec("/orders/{region}/{id}", "kafka", "orders.{region}"))),
    );
    let table = table(&[spec]);
    let sources = Sources { claims: Some(br#"{"sub":"ann"}"#), ..Sources::default() };
    let rendered = render(&table, "/orders/eu/7", &sources).unwrap();
    assert_eq!(rendered.topic, "orders.eu");
    assert_eq!(rendered.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(rendered.partition, None);
    let headers: Vec<(&str, &[u8])> = rendered.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    assert_eq!(headers, [("bayeux-channel", &b"/orders/eu/7"[..]), ("source", b"web"), ("user", b"ann")]);
    assert_eq!(back(&table, &inbound("orders.eu", Some("7"))).unwrap(), "/orders/eu/7");
}

#[test]
fn directions_are_matched_each_on_its_own() {
    let table = table(&[
        going(Direction::Egress, spec("/news/{x}", "nats", "news.{x}")),
        going(Direction::Ingest, spec("/in/{x}", "nats", "in.{x}")),
        going(Direction::Ingest, spec("/split/{x}", "nats", "up.{x}")),
        going(Direction::Egress, spec("/split/{x}", "nats", "down.{x}")),
    ]);
    assert!(matches!(table.ingest(&channel("/news/a")), IngestMatch::EgressOnly), "publish_denied");
    assert!(matches!(table.ingest(&channel("/other")), IngestMatch::Unmapped));
    assert!(matches!(table.ingest(&channel("/in/a")), IngestMatch::Mapping(route) if route.mapping.index() == 1));
    assert!(matches!(table.ingest(&channel("/split/a")), IngestMatch::Mapping(route) if route.mapping.index() == 2));
    assert_eq!(table.subscribe(&channel("/in/a")), SubscribeMatch::IngestOnly, "subscribe_denied");
    assert_eq!(table.subscribe(&channel("/in/*")), SubscribeMatch::Unmapped, "no exact channel");
    assert_eq!(table.subscribe(&channel("/other")), SubscribeMatch::Unmapped);
    assert_eq!(table.subscribe(&channel("/news/a")), SubscribeMatch::Egress(vec![0]));
    assert_eq!(table.subscribe(&channel("/split/a")), SubscribeMatch::Egress(vec![3]));
    assert_eq!(table.subscribe(&channel("/**")), SubscribeMatch::Egress(vec![0, 3]));
    for class in ["/meta/connect", "/service/x", "/news/*"] {
        assert!(matches!(table.ingest(&channel(class)), IngestMatch::Unmapped), "{class}");
    }
}

#[test]
fn the_first_mapping_that_takes_a_channel_has_it() {
    let specs = [spec("/a/{x}", "nats", "one.{x}"), spec("/{x}/b", "nats", "two.{x}"), spec("/**", "nats", "all.**")];
    let table = table(&specs);
    let taken = |name: &str| match table.ingest(&channel(name)) {
        IngestMatch::Mapping(route) => route.mapping.index(),
        other => panic!("{other:?}"),
    };
    assert_eq!([taken("/a/b"), taken("/c/b"), taken("/a/b/c"), taken("/x")], [0, 1, 2, 2]);
    let shadowed = EgressError::Shadowed { channel: channel("/a/b"), by: 0 };
    assert_eq!(table.egress(1, &inbound("two.a", None)), Err(shadowed.clone()));
    assert_eq!(table.egress(2, &inbound("all.a.b", None)), Err(shadowed));
    assert_eq!(table.egress(2, &inbound("all.a.b.c", None)), Ok(channel("/a/b/c")));
    assert_eq!(table.subscribe(&channel("/a/b")), SubscribeMatch::Egress(vec![0]));
    assert_eq!(table.subscribe(&channel("/a/*")), SubscribeMatch::Egress(vec![0, 1, 2]));
    assert_eq!(table.subscribe(&channel("/service/**")), SubscribeMatch::Unmapped);
}

#[test]
fn values_are_escaped_so_that_none_is_a_separator_or_wildcard() {
    for (connector, template, name, expected) in [
        ("kafka", "t.{x}", "/c/a.b c", "t.a_x2Eb_x20c"),
        ("kafka", "t.{x}", "/c/_x41", "t._x5Fx41"),
        ("kafka", "t.{x}", "/c/a_b", "t.a_b"),
        ("kafka", "t.{x}", "/c/~C3~BC", "t._xC3_xBC"),
        ("nats", "t.{x}", "/c/a.~2A~3E b", "t.a%2E%2A%3E%20b"),
        ("nats", "t.{x}", "/c/$SYS", "t.%24SYS"),
        ("nats", "{x}.t", "/c/~2A", "%2A.t"),
        ("nats", "t.{x}", "/c/~2541", "t.%2541"),
        ("mqtt", "t/{x}", "/c/a~2Fb+", "t/a%2Fb%2B"),
        ("mqtt", "t/{x}", "/c/#", "t/%23"),
        ("mqtt", "t/a{x}", "/c/$b", "t/a$b"),
    ] {
        let table = table(&[spec("/c/{x}", connector, template)]);
        let rendered = render(&table, name, &Sources::default()).unwrap();
        assert_eq!(rendered.topic, expected, "{connector} {name}");
        assert_eq!(back(&table, &inbound(expected, None)).unwrap(), name, "{connector} {expected}");
    }
}

#[test]
fn a_name_that_another_producer_wrote_otherwise_is_poison() {
    let kafka = table(&[spec("/c/{x}", "kafka", "t.{x}")]);
    assert_eq!(back(&kafka, &inbound("t._x41", None)), poison(Poison::Topic), "`A` is written A");
    assert_eq!(back(&kafka, &inbound("t._xFF", None)), poison(Poison::Topic), "not UTF-8");
    assert_eq!(back(&kafka, &inbound("t.a.b", None)), Err(EgressError::OtherTopic));
    assert_eq!(back(&kafka, &inbound("u.a", None)), Err(EgressError::OtherTopic));
    let nats = table(&[spec("/c/{x}", "nats", "t.{x}")]);
    assert_eq!(back(&nats, &inbound("t.$SYS", None)), poison(Poison::Topic));
    assert_eq!(back(&nats, &inbound("t.50%", None)).unwrap(), "/c/50~25");
    assert_eq!(back(&nats, &inbound("t.grün", None)).unwrap(), "/c/gr~C3~BCn");
    let root = table(&[spec("/{a}/{b}", "nats", "{a}.{b}")]);
    let why = Poison::NotBroadcast("/meta/connect".to_owned());
    assert_eq!(back(&root, &inbound("meta.connect", None)), poison(why), "no record speaks for the protocol");
}

#[test]
fn a_segment_with_a_second_spelling_is_refused_rather_than_merged() {
    for name in ["/c/~41", "/c/a*b", "/c/{x}", "/c/ a/d"] {
        let pattern = if name.ends_with("/d") { "/c/{x}/d" } else { "/c/{x}" };
        assert_eq!(topic(spec(pattern, "nats", "t.{x}"), name), Err(format!("400:{name}:channel_invalid")));
    }
}

#[test]
fn values_in_one_token_are_cut_at_the_literal_between_them() {
    let table = table(&[spec("/c/{x}/{y}", "nats", "a{x}-{y}-z")]);
    let rendered = render(&table, "/c/1-2/3-", &Sources::default()).unwrap();
    assert_eq!(rendered.topic, "a1%2D2-3%2D-z");
    assert_eq!(back(&table, &inbound("a1%2D2-3%2D-z", None)).unwrap(), "/c/1-2/3-");
    assert_eq!(back(&table, &inbound("a1-2-3-z", None)), poison(Poison::Topic));
    assert_eq!(back(&table, &inbound("a-2-z", None)), poison(Poison::Topic), "a name is never empty");
    let wild = FilterToken::Wild { prefix: "a".to_owned(), suffix: "-z".to_owned() };
    assert_eq!(table.mappings()[0].filter().tokens, [wild]);
}

#[test]
fn a_topic_that_would_read_back_as_another_is_refused() {
    let mapping = spec("/c/{x}/{y}", "kafka", "{x}_{y}");
    assert_eq!(topic(mapping.clone(), "/c/a_b/c"), Ok("a_x5Fb_c".to_owned()));
    assert_eq!(topic(mapping, "/c/a/x41"), Err("400:/c/a/x41:topic_invalid".to_owned()));
    let mapping = spec("/c/{x}", "nats", "{x}41");
    assert_eq!(topic(mapping, "/c/~25"), Err("400:/c/~25:topic_invalid".to_owned()));
}

#[test]
fn a_topic_that_kafka_cannot_have_is_the_publishers_mistake() {
    let long = format!("/c/{}", "a".repeat(250));
    for name in ["/c/__x", &long] {
        assert_eq!(topic(spec("/c/{x}", "kafka", "{x}"), name), Err(format!("400:{name}:topic_invalid")));
    }
    assert_eq!(topic(spec("/c/{x}", "kafka", "{x}"), "/c/.."), Ok("_x2E_x2E".to_owned()), "escaped, it is a name");
}

#[test]
fn the_rest_of_a_channel_is_the_rest_of_a_subject() {
    let nats = table(&[spec("/market/**", "nats", "market.**")]);
    assert_eq!(render(&nats, "/market/eu/x.y", &Sources::default()).unwrap().topic, "market.eu.x%2Ey");
    assert_eq!(back(&nats, &inbound("market.eu.x%2Ey", None)).unwrap(), "/market/eu/x.y");
    assert_eq!(nats.mappings()[0].filter().native(&NATS, "*", ">"), "market.>");
    let mqtt = table(&[spec("/market/**", "mqtt", "market/**")]);
    assert_eq!(mqtt.mappings()[0].filter().native(&MQTT, "+", "#"), "market/#");
    assert_eq!(back(&mqtt, &inbound("market/a/b", None)).unwrap(), "/market/a/b");
    assert_eq!(
        back(&mqtt, &inbound("market", None)),
        Err(EgressError::OtherTopic),
        "# matches the parent too, ** does not"
    );
    assert_eq!(back(&mqtt, &inbound("market//b", None)), poison(Poison::Topic), "no segment is empty");
    let all = table(&[spec("/**", "nats", "**")]);
    assert_eq!(render(&all, "/a/b", &Sources::default()).unwrap().topic, "a.b");
    assert_eq!(back(&all, &inbound("a.b", None)).unwrap(), "/a/b");
}

#[test]
fn the_rest_of_a_channel_travels_to_kafka_in_a_header() {
    let table = table(&[spec("/logs/**", "kafka", "logs")]);
    let rendered = render(&table, "/logs/a/b", &Sources::default()).unwrap();
    assert_eq!((&rendered.topic[..], rendered.key.as_deref()), ("logs", Some(&b"/logs/a/b"[..])));
    assert_eq!(back(&table, &with_header(inbound("logs", None), CHANNEL_HEADER, "/logs/a/b")).unwrap(), "/logs/a/b");
    assert_eq!(back(&table, &inbound("logs", Some("/logs/a/b"))), poison(Poison::Rest), "without the header: poison");
    for foreign in ["/other/a", "/logs", "/logs/*", "/logs/a/", "logs/a", "/meta/connect"] {
        let record = with_header(inbound("logs", None), CHANNEL_HEADER, foreign);
        assert_eq!(back(&table, &record), poison(Poison::Rest), "{foreign} is no channel of this mapping");
    }
}

#[test]
fn the_channel_header_decides_only_among_channels_that_the_template_could_yield() {
    let table = table(&[keyed("{id}", spec("/orders/{region}/{id}", "kafka", "orders.{region}"))]);
    let record = |key, header| with_header(inbound("orders.eu", key), CHANNEL_HEADER, header);
    assert_eq!(back(&table, &record(None, "/orders/eu/8")).unwrap(), "/orders/eu/8", "it stands in for a key");
    assert_eq!(back(&table, &record(Some("7"), "/orders/eu/8")).unwrap(), "/orders/eu/7");
    assert_eq!(back(&table, &record(Some("7"), "/orders/us/7")).unwrap(), "/orders/eu/7");
    assert_eq!(back(&table, &record(Some("7"), "/admin")).unwrap(), "/orders/eu/7");
    assert_eq!(back(&table, &record(None, "/orders/us/8")), poison(Poison::Name("id".to_owned())));
}

#[test]
fn without_a_key_the_channel_is_the_key_and_brings_the_record_back() {
    let table = table(&[spec("/chat/{room}", "kafka", "chat")]);
    let rendered = render(&table, "/chat/a*b", &Sources::default()).unwrap();
    assert_eq!(rendered.key.as_deref(), Some(&b"/chat/a*b"[..]), "nothing is escaped in it");
    assert_eq!(back(&table, &inbound("chat", Some("/chat/a*b"))).unwrap(), "/chat/a*b");
    assert_eq!(back(&table, &inbound("chat", Some("/other/a"))), poison(Poison::Key));
    assert_eq!(back(&table, &inbound("chat", None)), poison(Poison::Name("room".to_owned())));
    assert_eq!(table.mappings()[0].fixed_topic().unwrap(), "chat");
}

#[test]
fn a_key_of_one_name_is_raw_and_one_of_several_is_cut_apart() {
    let raw = table(&[keyed("{x}", spec("/c/{x}", "kafka", "t"))]);
    let rendered = render(&raw, "/c/a.b~C3~BC~20", &Sources::default()).unwrap();
    assert_eq!(rendered.key.as_deref(), Some("a.bü ".as_bytes()));
    assert_eq!(back(&raw, &inbound("t", Some("a.bü "))).unwrap(), "/c/a.b~C3~BC~20");
    assert_eq!(back(&raw, &inbound("t", Some(""))), poison(Poison::Key));
    let mut binary = inbound("t", None);
    binary.key = Some(Bytes::from_static(b"\xff"));
    assert_eq!(back(&raw, &binary), poison(Poison::Key));

    let several = table(&[keyed("{x}:{y}", spec("/c/{x}/{y}", "kafka", "t"))]);
    let rendered = render(&several, "/c/a~3Ab/c~3Ad", &Sources::default()).unwrap();
    assert_eq!(rendered.key.as_deref(), Some(&b"a%3Ab:c:d"[..]));
    assert_eq!(back(&several, &inbound("t", Some("a%3Ab:c:d"))).unwrap(), "/c/a~3Ab/c~3Ad");
}

#[test]
fn a_name_can_travel_in_a_header() {
    let table = table(&[headed("room", "{room}", spec("/chat/{room}", "nats", "chat"))]);
    let record = with_header(inbound("chat", None), "room", "blue");
    assert_eq!(back(&table, &record).unwrap(), "/chat/blue");
    assert_eq!(back(&table, &inbound("chat", None)), poison(Poison::Name("room".to_owned())));
    let refused = render(&table, "/chat/a~0Ab", &Sources::default()).unwrap_err();
    assert_eq!(refused.error_string("/chat/a~0Ab"), "400:/chat/a~0Ab:header_invalid", "a line end in a header");
}

#[test]
fn what_a_publish_brings_stands_in_topic_and_key() {
    let mapping = keyed("{data:/order/id}", spec("/c/{x}", "kafka", "t.{x}.{claims.org}.{session.user}"));
    let table = table(&[mapping]);
    let full = Sources { data: Some(br#"{"order":{"id":7}}"#), claims: Some(br#"{"org":"a.*"}"#), user: Some("ann") };
    let rendered = render(&table, "/c/1", &full).unwrap();
    assert_eq!((&rendered.topic[..], rendered.key.as_deref()), ("t.1.a_x2E_x2A.ann", Some(&b"7"[..])));
    assert_eq!(back(&table, &inbound("t.1.other.bob", Some("9"))).unwrap(), "/c/1");
    for without in [Sources { data: None, ..full }, Sources { claims: None, ..full }, Sources { user: None, ..full }] {
        let error = render(&table, "/c/1", &without).unwrap_err();
        assert_eq!(error.error_string("/c/1"), "400:/c/1:value_missing");
    }
    let error = render(&table, "/c/1", &Sources { data: Some(b"{}"), ..full }).unwrap_err();
    assert_eq!(error, RenderError::ValueMissing("data:/order/id".to_owned()));
}

#[test]
fn an_empty_config_maps_nothing() {
    let table = Table::empty();
    assert!(matches!(table.ingest(&channel("/a")), IngestMatch::Unmapped));
    assert_eq!(table.subscribe(&channel("/**")), SubscribeMatch::Unmapped);
    assert_eq!(table.egress(0, &inbound("a", None)), Err(EgressError::OtherTopic));
}
