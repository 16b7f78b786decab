//! Stories of core NATS.

use crate::kit::{connect, filter, next, numbers, read, record, refusal, text, within};
use bytes::Bytes;
use connector::{Event, PublishError, Start, State};
use gateway_tests::kafka::unique;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

const COUNT: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_publishes_reach_a_plain_subscriber_in_order() {
    let nats = aside(|| Broker::shared(Kind::Nats));
    let subject = unique("plain");
    let mut witness = aside(|| {
        let mut witness = Nats::connect(&nats.url());
        witness.subscribe(&format!("{subject}.>"));
        witness
    });
    let connector = connect(&nats, json!({}));
    crate::kit::until(&connector, State::Up).await;
    let answers: Vec<_> =
        (0..COUNT).map(|n| connector.publish(record(&format!("{subject}.{}", n % 7), n.to_string()))).collect();
    for answer in answers {
        assert_eq!(within("a publish is answered", answer).await, Ok(None));
    }
    let seen: Vec<String> = aside(|| witness.take(COUNT)).into_iter().map(|m| m.payload).collect();
    assert_eq!(seen, numbers(0..COUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_foreign_program_publishes_arrives_once_in_order_with_its_headers() {
    let nats = aside(|| Broker::shared(Kind::Nats));
    let subject = unique("foreign");
    let connector = connect(&nats, json!({}));
    let mut reader = read(&connector, &format!("{subject}.*"), Start::Live).await;
    aside(|| {
        let lines: String = (0..COUNT).map(|n| format!("{n}\n")).collect();
        nats.run_with_input(&["pub", &format!("{subject}.a")], lines.as_bytes());
        let mut tool = Nats::connect(&nats.url());
        tool.publish_with(&format!("{subject}.b"), &["Tag: one", "tag:two", "Tag: three"], "last");
        tool.flush();
    });
    assert_eq!(reader.texts(COUNT).await, numbers(0..COUNT));
    let last = reader.next().await;
    assert_eq!((text(&last).as_str(), &last.topic[..]), ("last", &format!("{subject}.b")[..]));
    let headers: Vec<_> = last.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    assert_eq!(headers, [("Tag", b"one" as &[u8]), ("Tag", b"three"), ("tag", b"two")]);
    assert_eq!(connector.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_misses_what_is_counted_and_nothing_else() {
    let nats = aside(|| Broker::shared(Kind::Nats));
    let subject = unique("slow");
    let connector = connect(&nats, json!({ "max_buffered": 100 }));
    let (sink, mut records) = mpsc::channel::<Event>(10);
    let mut subscription = connector.subscribe(filter(&subject), Start::Live, sink).unwrap();
    subscription.ready().await.unwrap();
    aside(|| {
        let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
        nats.run_with_input(&["pub", &subject], lines.as_bytes());
    });
    // What is sent last proves that all before it was taken or dropped.
    let mut other = read(&connector, &format!("{subject}.end"), Start::Live).await;
    aside(|| nats.run(&["pub", &format!("{subject}.end"), "end"]));
    assert_eq!(other.text().await, "end");
    let mut seen = Vec::new();
    while let Ok(Some(Event::Record(record))) = tokio::time::timeout(Duration::from_millis(500), records.recv()).await {
        seen.push(text(&record));
    }
    assert_eq!(seen[..100], numbers(0..100), "the oldest are kept, in order");
    assert_eq!(seen.len() as u64 + connector.dropped(), 5000, "every record is given or counted");
    assert!(connector.dropped() > 0);
    aside(|| nats.run(&["pub", &subject, "afterwards"]));
    let next = next(&mut records, "the reader that caught up goes on").await;
    assert_eq!(text(&next), "afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_for_everything_shows_no_inboxes_and_no_api_calls() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    let connector = connect(&nats, json!({}));
    let (sink, mut records) = mpsc::channel::<Event>(100);
    let all = connector::TopicFilter { tokens: Vec::new(), rest: true };
    let mut subscription = connector.subscribe(all, Start::Live, sink).unwrap();
    subscription.ready().await.unwrap();
    aside(|| {
        let mut tool = Nats::connect(&nats.url());
        tool.make_stream("S", &["s.>"]); // asks $JS.API, answered in an inbox
        tool.publish("s.a", "1");
        tool.flush();
    });
    let first = next(&mut records, "a record arrives").await;
    assert_eq!(&first.topic[..], "s.a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_leads_to_inboxes_or_commands_neither_takes_nor_gives_records() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    aside(|| Nats::connect(&nats.url()).make_stream("S", &["s.>"]));
    for settings in [json!({}), json!({ "jetstream": true }), json!({ "inbox_prefix": "_GW" })] {
        let connector = connect(&nats, settings);
        crate::kit::until(&connector, State::Up).await;
        for reserved in ["_INBOX.someone.1", "$JS.API.STREAM.DELETE.S", "$SYS.REQ.SERVER.PING"] {
            let error = refusal(&connector, record(reserved, "1")).await;
            assert!(matches!(&error, PublishError::TopicInvalid(why) if why.contains(reserved)), "{error:?}");
        }
    }
    let custom = connect(&nats, json!({ "inbox_prefix": "_GW" }));
    let error = refusal(&custom, record("_GW.someone.1", "1")).await;
    assert!(matches!(error, PublishError::TopicInvalid(_)), "{error:?}");
    aside(|| assert_eq!(Nats::connect(&nats.url()).stream_len("S"), 0));
    // Nor does one who asks for an inbox by name get to read it.
    let connector = connect(&nats, json!({}));
    let mut inboxes = read(&connector, "_INBOX.**", Start::Live).await;
    let mut plain = read(&connector, "plain", Start::Live).await;
    aside(|| {
        let mut tool = Nats::connect(&nats.url());
        tool.publish("_INBOX.someone.1", "secret");
        tool.publish("plain", "1");
        tool.flush();
    });
    assert_eq!(plain.text().await, "1");
    assert_eq!(inboxes.left(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_broken_headers_disturbs_no_one_for_long() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    let connector = connect(&nats, json!({}));
    let mut reader = read(&connector, "odd.*", Start::Live).await;
    // A carriage return inside a value is against the rules; the server passes it on.
    let publish = |payload: String, header: &str| {
        aside(|| {
            let mut tool = Nats::connect(&nats.url());
            tool.publish_with("odd.a", &[header], &payload);
            tool.flush();
        });
    };
    publish("0".into(), "ok: fine");
    assert_eq!(reader.text().await, "0");
    publish("lost".into(), "bad: one\rtwo");
    // Core NATS forgets what was sent while no one listened: send until one arrives again.
    let again = async {
        for n in 1.. {
            publish(n.to_string(), "ok: fine");
            if let Ok(record) = tokio::time::timeout(Duration::from_millis(200), reader.next()).await {
                return text(&record);
            }
        }
        unreachable!()
    };
    assert_ne!(within("the subscription goes on after a broken message", again).await, "lost");
    crate::kit::until(&connector, State::Up).await;
    assert_eq!(connector.publish(record("odd.b", "x")).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nats_cannot_carry_is_refused_clearly() {
    let nats = aside(|| Broker::own(Kind::Nats, &[("NATS_MAX_PAYLOAD", "64KB")]));
    let connector = connect(&nats, json!({}));
    crate::kit::until(&connector, State::Up).await;
    let error = refusal(&connector, record("a", vec![b'x'; 70_000])).await;
    assert!(
        matches!(&error, PublishError::TooLarge(why) if why.contains("64000") || why.contains("65536")),
        "{error:?}"
    );
    for bad in ["", "a..b", "a b", "a.*", "a.>", "a\r\nPUB b 0"] {
        let error = refusal(&connector, record(bad, "1")).await;
        assert!(matches!(error, PublishError::TopicInvalid(_)), "{bad:?}: {error:?}");
    }
    let mut odd = record("a", "1");
    odd.headers = vec![("bayeux-user".into(), Bytes::from_static(b"eve\r\nadmin: yes"))];
    let error = refusal(&connector, odd).await;
    assert!(matches!(&error, PublishError::Rejected(why) if why.contains("bayeux-user")), "{error:?}");
    let mut trimmed = record("a", "1");
    trimmed.headers = vec![("note".into(), Bytes::from_static(b" indented"))];
    let error = refusal(&connector, trimmed).await;
    assert!(
        matches!(&error, PublishError::Rejected(why) if why.contains("note") && why.contains("space")),
        "{error:?}"
    );
    assert_eq!(connector.publish(record("a", vec![b'x'; 60_000])).await, Ok(None));
}
