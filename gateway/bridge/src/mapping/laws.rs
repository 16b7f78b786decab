//! The laws of the table, for every way in which the brokers write topics.

use super::tests::{KAFKA, MQTT, NATS, channel, connectors, inbound};
use super::*;
use bayeux::channel::{ChannelName, is_channel_byte};
use bytestring::ByteString;
use connector::{Inbound, TopicSyntax};
use proptest::prelude::*;

const CONNECTORS: [(&str, &TopicSyntax); 3] = [("kafka", &KAFKA), ("nats", &NATS), ("mqtt", &MQTT)];

/// A mapping of up to three names, each in the topic, the key or a header, between literals as awkward as can be.
fn mapping() -> impl Strategy<Value = (usize, MappingSpec)> {
    let glue =
        prop::sample::select(vec![".", "-", "_", "x", "4", "A", "_x", "%", "x4", "a", "é", "$", "-_", ".t.", "%2"]);
    let place = prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(2)];
    (
        0..CONNECTORS.len(),
        prop::collection::vec((prop::bool::ANY, place), 1..=3),
        prop::collection::vec(glue, 8),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::ANY,
    )
        .prop_map(|(kind, names, glue, rest, keyed, both)| {
            let (connector, syntax) = CONNECTORS[kind];
            let mut glue = glue.into_iter();
            let mut spec = MappingSpec::new("/m", connector, "");
            let (mut topic, mut key) = (String::new(), String::new());
            for (i, (literal, place)) in names.iter().enumerate() {
                if *literal {
                    spec.channel.push_str("/l");
                }
                spec.channel.push_str(&format!("/{{n{i}}}"));
                let g = glue.next().unwrap_or("-");
                match place {
                    1 if kind == 0 => key.push_str(&format!("{{n{i}}}{g}")),
                    2 if kind != 2 => spec.headers.push((format!("h{i}"), format!("{{n{i}}}{g}"))),
                    _ => topic.push_str(&format!("{g}{{n{i}}}")),
                }
            }
            if both {
                topic.push_str(glue.next().unwrap_or("-"));
            }
            if topic.is_empty() {
                topic.push('t');
            }
            if rest {
                spec.channel.push_str("/**");
                topic.push_str(if syntax.rest { ".**" } else { "" });
            }
            let separator = char::from(syntax.separator).to_string();
            spec.topic = topic.replace('.', &separator);
            spec.key = (!key.is_empty()).then_some(key).or_else(|| (keyed && kind == 0).then(|| "k".to_owned()));
            (kind, spec)
        })
}

fn segment() -> impl Strategy<Value = String> {
    let any =
        "[ -~]{1,6}".prop_map(|s| s.bytes().filter(|b| is_channel_byte(*b) && *b != b'/').map(char::from).collect());
    let value =
        prop_oneof!["\\PC{1,4}", "[_x%0-9A-F.~ $*>/+#]{1,5}"].prop_map(|value| encode_segment(&value).into_owned());
    prop_oneof!["[_x%0-9A-Fa-f~$.-]{1,6}".prop_map(|s| s.replace('%', "x")), any, value, "[a-c4A_x]{1,3}"]
        .prop_filter("a segment", |s: &String| !s.is_empty())
}

/// A channel of the mapping.
fn fill(spec: &MappingSpec, segments: &[String], rest: &[String]) -> Option<ChannelName> {
    let mut values = segments.iter();
    let mut name = String::new();
    for segment in spec.channel[1..].split('/') {
        name.push('/');
        match segment {
            "**" => name.push_str(&rest.join("/")),
            _ if segment.starts_with('{') => name.push_str(values.next()?),
            _ => name.push_str(segment),
        }
    }
    let channel = ChannelName::parse(&ByteString::from(name.as_str())).ok()?;
    (channel.as_str() == name && !channel.is_wild()).then_some(channel)
}

fn record(rendered: &Rendered) -> Inbound {
    let mut record = inbound(&rendered.topic, None);
    record.key = rendered.key.clone();
    record.headers = rendered.headers.clone();
    record
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_becomes_a_record_that_comes_back_to_it(
        (kind, spec) in mapping(),
        segments in prop::collection::vec(segment(), 3),
        rest in prop::collection::vec(segment(), 1..3),
    ) {
        let Ok(compiled) = Table::compile(std::slice::from_ref(&spec), &connectors()) else { return Ok(()) };
        let Some(channel) = fill(&spec, &segments, &rest) else { return Ok(()) };
        let IngestMatch::Mapping(route) = compiled.table.ingest(&channel) else {
            return Err(TestCaseError::fail(format!("{channel} fits {}", spec.channel)));
        };
        let canonical = |s: &&str| decode_segment(s).is_some();
        let rendered = match route.render(&Sources::default()) {
            Ok(rendered) => rendered,
            Err(RenderError::ChannelInvalid(segment)) => {
                prop_assert_eq!(decode_segment(&segment), None);
                return Ok(());
            }
            Err(error) => {
                prop_assert!(!matches!(error, RenderError::ValueMissing(_)), "{}", error);
                return Ok(());
            }
        };
        prop_assert_eq!((CONNECTORS[kind].1.check)(&rendered.topic), Ok(()));
        let filter = route.mapping.filter();
        prop_assert!(filter.matches(&rendered.topic, CONNECTORS[kind].1), "the filter takes {}", rendered.topic);
        let mut record = record(&rendered);
        let back = compiled.table.egress(0, &record);
        prop_assert_eq!(back, Ok(channel.clone()), "with its header, from {:?}", record);
        record.headers.retain(|(name, _)| name != CHANNEL_HEADER);
        let back = compiled.table.egress(0, &record);
        if spec.channel.ends_with("**") && !spec.topic.ends_with("**") {
            prop_assert_eq!(back, Err(EgressError::Poison(Poison::Rest)));
        } else {
            prop_assert_eq!(back.unwrap(), channel.clone(), "from {:?}", record);
            let by_key = spec.key.is_none() && kind == 0;
            prop_assert!(by_key || channel.segments().all(|s| canonical(&s)));
        }
    }

    #[test]
    fn two_channels_never_share_a_topic_and_key(
        (_, spec) in mapping(),
        one in prop::collection::vec(segment(), 3),
        other in prop::collection::vec(segment(), 3),
        same in prop::collection::vec(prop::bool::ANY, 3),
        rest in prop::collection::vec(segment(), 1..3),
        other_rest in prop::collection::vec(segment(), 1..3),
    ) {
        let Ok(compiled) = Table::compile(std::slice::from_ref(&spec), &connectors()) else { return Ok(()) };
        // What the header alone holds is not in topic and key.
        prop_assume!(spec.headers.is_empty());
        prop_assume!(!spec.channel.ends_with("**") || spec.topic.ends_with("**") || spec.key.is_none());
        let other: Vec<String> =
            one.iter().zip(&other).zip(&same).map(|((a, b), same)| if *same { a.clone() } else { b.clone() }).collect();
        let (Some(a), Some(b)) = (fill(&spec, &one, &rest), fill(&spec, &other, &other_rest)) else { return Ok(()) };
        let render = |channel: &ChannelName| match compiled.table.ingest(channel) {
            IngestMatch::Mapping(route) => route.render(&Sources::default()).ok(),
            _ => None,
        };
        if let (Some(x), Some(y)) = (render(&a), render(&b)) {
            prop_assert!(a == b || (&x.topic, &x.key) != (&y.topic, &y.key), "{} and {} share {:?}", a, b, x);
        }
    }

    #[test]
    fn a_plain_channel_is_never_refused(
        (kind, spec) in mapping(),
        segments in prop::collection::vec("[a-z]{1,6}", 3),
        rest in prop::collection::vec("[a-z]{1,6}", 1..3),
    ) {
        let Ok(compiled) = Table::compile(std::slice::from_ref(&spec), &connectors()) else { return Ok(()) };
        let Some(channel) = fill(&spec, &segments, &rest) else { return Ok(()) };
        let IngestMatch::Mapping(route) = compiled.table.ingest(&channel) else {
            return Err(TestCaseError::fail("it fits"));
        };
        // Only where a value and the literal after it could read as an escape: `_` before `x41` in Kafka.
        let rendered = route.render(&Sources::default());
        prop_assert!(rendered.is_ok() || kind == 0 && spec.topic.contains('_'), "{:?}", rendered);
    }

    #[test]
    fn a_foreign_record_is_a_channel_of_the_mapping_or_refused(
        (kind, spec) in mapping(),
        topic in prop_oneof!["[a-z_x%4A$.-]{0,12}", "\\PC{0,12}"],
        fitting in prop::collection::vec("[_x%0-9A-F~]{0,4}", 3),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
        header in prop::option::of("(/[a-z*]{0,3}){0,3}|\\PC{0,12}"),
    ) {
        let Ok(compiled) = Table::compile(std::slice::from_ref(&spec), &connectors()) else { return Ok(()) };
        let separator = char::from(CONNECTORS[kind].1.separator).to_string();
        let mut close = spec.topic.clone();
        for (i, value) in fitting.iter().enumerate() {
            close = close.replace(&format!("{{n{i}}}"), value);
        }
        for topic in [topic.replace('.', &separator), close.replace("**", "a")] {
            let mut record = inbound(&topic, None);
            record.key = key.clone().map(Into::into);
            record.headers.extend(header.clone().map(|h| (ByteString::from_static(CHANNEL_HEADER), h.into())));
            if let Ok(channel) = compiled.table.egress(0, &record) {
                let IngestMatch::Mapping(route) = compiled.table.ingest(&channel) else {
                    return Err(TestCaseError::fail(format!("{channel} is a channel of {}", spec.channel)));
                };
                if let Ok(rendered) = route.render(&Sources::default()) {
                    prop_assert_eq!(&rendered.topic[..], &topic[..], "published on {}, it goes back", channel);
                }
            }
        }
    }

    #[test]
    fn every_value_has_one_segment_and_every_canonical_segment_one_value(
        value in prop_oneof!["\\PC{1,8}", "[~0-9A-F *{}/a]{1,6}", any::<String>()],
        segment in "[~0-9A-Fa-f *{}.$-]{1,6}",
    ) {
        prop_assume!(!value.is_empty());
        let written = encode_segment(&value).into_owned();
        prop_assert!(written.bytes().all(|b| is_channel_byte(b) && !b"/*{}".contains(&b)), "{}", written);
        let name = format!("/x/{written}");
        let parsed = channel(&name);
        prop_assert_eq!(parsed.as_str(), &name);
        let read = decode_segment(&written);
        prop_assert_eq!(read.as_deref(), Some(&value[..]));
        if let Some(value) = decode_segment(&segment) {
            let again = encode_segment(&value);
            prop_assert_eq!(&again[..], &segment[..]);
        }
    }

    #[test]
    fn no_config_makes_it_panic(
        channel in "(/[a-z{}*~]{0,5}){0,3}|\\PC{0,12}",
        topic in "[a-z{}.*_%:/>+#-]{0,16}|\\PC{0,12}",
        key in prop::option::of("[a-z{}.%:/-]{0,12}"),
        header in ("\\PC{0,6}", "[a-z{}.%:/-]{0,12}"),
        kind in 0..CONNECTORS.len(),
    ) {
        let mut spec = MappingSpec::new(channel, CONNECTORS[kind].0, topic);
        spec.key = key;
        spec.headers.push(header);
        if let Err(findings) = Table::compile(&[spec], &connectors()) {
            prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
        }
    }
}
