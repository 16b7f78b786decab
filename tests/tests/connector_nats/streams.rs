//! Stories of JetStream: what streams do to publishers and subscribers.

use crate::kit::{begin, jetstream, log, numbers, read, record, refusal, store, text, until, within};
use connector::{PublishError, Start, State, SubscribeError};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::{Value, json};

const COUNT: usize = 10_000;

pub fn own() -> Broker {
    aside(|| Broker::own(Kind::Nats, &[]))
}

pub fn make(nats: &Broker, name: &str, subject: &str) {
    aside(|| Nats::connect(&nats.url()).make_stream(name, &[subject]));
}

pub fn ask(nats: &Broker, api: &str, body: &Value) -> Value {
    aside(|| Nats::connect(&nats.url()).jetstream(api, body))
}

/// Publishes by the script: what a foreign program would do.
pub fn foreign(nats: &Broker, subject: &str, lines: &[String]) {
    let lines: String = lines.iter().flat_map(|l| [l, "\n"]).collect();
    aside(|| nats.run_with_input(&["pub", subject], lines.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_publishes_are_in_the_stream_in_order_where_they_were_said_to_be() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let connector = jetstream(&nats);
    let answers: Vec<_> =
        (0..COUNT).map(|n| connector.publish(record(&format!("orders.{}", n % 7), n.to_string()))).collect();
    let mut positions = Vec::new();
    for answer in answers {
        match within("a publish is answered", answer).await {
            Ok(Some(place)) => positions.push(place.n),
            other => panic!("{other:?}"),
        }
    }
    let stored = aside(|| Nats::connect(&nats.url()).stream_dump("ORDERS"));
    assert_eq!(stored.iter().map(|m| m.payload.clone()).collect::<Vec<_>>(), numbers(0..COUNT));
    assert_eq!(stored.iter().map(gateway_tests::nats::Stored::sequence).collect::<Vec<_>>(), positions);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_foreign_messages_arrive_once_in_order_at_a_slow_reader() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let connector = jetstream(&nats);
    let mut reader = begin(&connector, "orders.*", Start::Live, 1);
    reader.subscription.ready().await.unwrap();
    foreign(&nats, "orders.a", &numbers(0..COUNT));
    for n in 0..COUNT {
        let record = reader.next().await;
        assert_eq!(text(&record), n.to_string());
        let place = record.place.unwrap();
        assert_eq!((&place.log, place.n), (&log("ORDERS"), n as u64 + 1));
        assert!(record.timestamp.is_some() && place.at == record.timestamp);
    }
    assert_eq!(connector.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_removes_before_a_slow_reader_comes_to_it_is_counted() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    foreign(&nats, "orders.a", &numbers(1..3001));
    let connector = jetstream(&nats);
    let mut reader = begin(&connector, "orders.*", Start::Earliest, 1);
    reader.subscription.ready().await.unwrap();
    assert_eq!(reader.text().await, "1");
    ask(&nats, "STREAM.PURGE.ORDERS", &json!({ "seq": 2001 })); // as a limit would: keeps 2001 to 3000
    let mut seen = vec!["1".to_owned()];
    while seen.last().is_some_and(|last| last != "3000") {
        seen.push(reader.text().await);
    }
    assert!(seen.len() < 2000, "the reader was not slow");
    assert_eq!(seen.len() as u64 + connector.dropped(), 3000, "every record is given or counted");
    // What is not for a reader is not missed.
    let mut rare = read(&connector, "orders.rare", Start::Live).await;
    let before = connector.dropped();
    store(&connector, "orders.rare", "first").await;
    foreign(&nats, "orders.a", &numbers(0..100));
    store(&connector, "orders.rare", "second").await;
    assert_eq!(rare.texts(2).await, ["first", "second"]);
    assert_eq!(connector.dropped(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_without_a_stream_is_unknown_until_someone_makes_one() {
    let nats = own();
    let connector = jetstream(&nats);
    let error = refusal(&connector, record("orders.a", "0")).await;
    assert_eq!(error, PublishError::TopicUnknown("orders.a".into()));
    let mut reader = read(&connector, "orders.**", Start::Live).await;
    make(&nats, "ORDERS", "orders.>");
    foreign(&nats, "orders.a", &numbers(0..100));
    assert_eq!(reader.texts(100).await, numbers(0..100), "it is read from its beginning");
    assert_eq!(store(&connector, "orders.b", "100").await, 101);
    assert_eq!(reader.text().await, "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_only_plain_subscribers_listen_to_is_unknown_as_well() {
    let nats = own();
    let connector = jetstream(&nats);
    let mut witness = aside(|| {
        let mut witness = Nats::connect(&nats.url());
        witness.subscribe("orders.*");
        witness
    });
    let error = refusal(&connector, record("orders.a", "0")).await;
    assert_eq!(error, PublishError::TopicUnknown("orders.a".into()));
    assert_eq!(aside(|| witness.next()).payload, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_anew_is_read_from_its_beginning() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "orders.*", Start::Live).await;
    foreign(&nats, "orders.a", &numbers(0..10));
    assert_eq!(reader.texts(10).await, numbers(0..10));
    ask(&nats, "STREAM.DELETE.ORDERS", &json!({}));
    make(&nats, "ORDERS", "orders.>");
    foreign(&nats, "orders.a", &numbers(10..20));
    assert_eq!(reader.texts(10).await, numbers(10..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_are_read_as_one_family() {
    let nats = own();
    make(&nats, "EU", "orders.eu.>");
    make(&nats, "US", "orders.us.>");
    foreign(&nats, "orders.eu.1", &numbers(0..5));
    foreign(&nats, "orders.us.1", &numbers(0..5));
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "orders.*.*", Start::Earliest).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let record = reader.next().await;
        seen.push(format!("{} {}", record.topic, text(&record)));
    }
    for region in ["eu", "us"] {
        let of_region: Vec<_> = seen.iter().filter(|s| s.contains(region)).collect();
        assert_eq!(
            of_region,
            (0..5).map(|n| format!("orders.{region}.1 {n}")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_leaves_no_consumer_behind() {
    let nats = own();
    make(&nats, "S", "s.*");
    let consumers = || ask(&nats, "STREAM.INFO.S", &json!({}))["state"]["consumer_count"].as_u64().unwrap();
    let none = || async {
        while consumers() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // the server tells it to no one
        }
    };
    let connector = jetstream(&nats);
    for close in [false, true] {
        let mut reader = read(&connector, "s.*", Start::Earliest).await;
        store(&connector, "s.a", "1").await;
        reader.text().await;
        assert_eq!(consumers(), 1);
        if close {
            connector.close(std::time::Duration::from_secs(5)).await;
        } else {
            drop(reader);
        }
        // The server alone would keep it for a minute.
        let forgotten = tokio::time::timeout(std::time::Duration::from_secs(20), none()).await;
        assert!(forgotten.is_ok(), "the consumer is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_no_room_for_a_consumer_is_not_ready_and_the_health_says_why_until_there_is() {
    let nats = own();
    let settings = json!({ "name": "FULL", "subjects": ["full.*"], "storage": "file", "max_consumers": 1 });
    ask(&nats, "STREAM.CREATE.FULL", &settings);
    let other = json!({ "stream_name": "FULL", "config": { "durable_name": "other", "ack_policy": "none" } });
    ask(&nats, "CONSUMER.DURABLE.CREATE.FULL.other", &other);
    let connector = jetstream(&nats);
    until(&connector, State::Up).await;
    let mut reader = begin(&connector, "full.*", Start::Live, 8);
    let mut health = connector.health();
    let told = within("the reason is told", health.wait_for(|h| h.reason.contains("full.*"))).await.unwrap().clone();
    assert_eq!(told.state, State::Degraded);
    assert!(told.reason.contains("consumers"), "{}", told.reason);
    store(&connector, "full.a", "meanwhile").await;
    ask(&nats, "CONSUMER.DELETE.FULL.other", &json!({}));
    within("it is ready now", reader.subscription.ready()).await.unwrap();
    assert_eq!(reader.text().await, "meanwhile");
    until(&connector, State::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_not_eaten() {
    let nats = own();
    let settings = json!({ "name": "JOBS", "subjects": ["jobs.>"], "retention": "workqueue", "storage": "file" });
    ask(&nats, "STREAM.CREATE.JOBS", &settings);
    let connector = jetstream(&nats);
    store(&connector, "jobs.a", "1").await;
    let mut reader = begin(&connector, "jobs.*", Start::Earliest, 8);
    let refused = within("it is answered", reader.subscription.ready()).await;
    assert!(matches!(&refused, Err(SubscribeError::FilterInvalid(why)) if why.contains("work queue")), "{refused:?}");
    assert_eq!(aside(|| Nats::connect(&nats.url()).stream_len("JOBS")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_forgets_what_no_one_waits_for_is_not_read_with_gaps_but_refused() {
    let nats = own();
    let settings = json!({ "name": "NEWS", "subjects": ["news.>"], "retention": "interest", "storage": "file" });
    ask(&nats, "STREAM.CREATE.NEWS", &settings);
    let connector = jetstream(&nats);
    let mut reader = begin(&connector, "news.*", Start::Live, 8);
    let refused = within("it is answered", reader.subscription.ready()).await;
    assert!(matches!(&refused, Err(SubscribeError::FilterInvalid(why)) if why.contains("interest")), "{refused:?}");
    assert_eq!(store(&connector, "news.a", "1").await, 1, "it can be published to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_subjects_beyond_the_filter_gives_only_those_within() {
    let nats = own();
    aside(|| Nats::connect(&nats.url()).make_stream("MIXED", &["orders.eu.*", "bills.*"]));
    let connector = jetstream(&nats);
    // The stream holds only a part of what the filter asks for, and more than that.
    let mut reader = read(&connector, "orders.*.*", Start::Live).await;
    foreign(&nats, "bills.1", &["no".to_owned()]);
    foreign(&nats, "orders.eu.1", &numbers(0..3));
    assert_eq!(reader.texts(3).await, numbers(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_refuses_is_told_by_what_the_publisher_should_do() {
    let nats = own();
    let settings = json!({ "name": "SMALL", "subjects": ["small.*"], "storage": "file",
                           "max_msgs": 3, "discard": "new", "max_msg_size": 1000 });
    ask(&nats, "STREAM.CREATE.SMALL", &settings);
    let connector = jetstream(&nats);
    let error = refusal(&connector, record("small.a", vec![b'x'; 1001])).await;
    assert!(matches!(error, PublishError::TooLarge(_)), "{error:?}");
    let mut unexpected = record("small.a", "1");
    unexpected.headers = vec![("Nats-Expected-Last-Sequence".into(), "7".into())];
    let error = refusal(&connector, unexpected).await;
    assert!(matches!(error, PublishError::Rejected(_)), "{error:?}");
    for n in 0..3 {
        store(&connector, "small.a", &n.to_string()).await;
    }
    let error = refusal(&connector, record("small.a", "full")).await;
    assert!(matches!(error, PublishError::Overloaded(_)), "{error:?}");
    let huge = refusal(&connector, record("small.a", vec![b'x'; 2_000_000])).await;
    assert!(matches!(huge, PublishError::TooLarge(_)), "{huge:?}");
    assert_eq!(aside(|| Nats::connect(&nats.url()).stream_len("SMALL")), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_broken_headers_is_read_and_those_after_it_too() {
    let nats = own();
    make(&nats, "ODD", "odd.*");
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "odd.*", Start::Live).await;
    aside(|| {
        let mut tool = Nats::connect(&nats.url());
        tool.publish_with("odd.a", &["fine: yes"], "0");
        // A carriage return inside a value is against the rules; the server keeps and passes it on.
        tool.publish_with("odd.a", &["bad: one\rtwo", "fine: yes"], "1");
        tool.publish_with("odd.a", &["no colon in this line"], "2");
        tool.publish_with("odd.a", &["fine: yes"], "3");
        tool.flush();
    });
    for n in 0..4 {
        let record = reader.next().await;
        assert_eq!((text(&record), record.place.as_ref().map(|p| p.n)), (n.to_string(), Some(n + 1)));
        if n == 1 {
            assert_eq!(record.header("bad").unwrap(), &b"one\rtwo"[..]);
        }
        assert_eq!(record.header("fine").is_some(), n != 2);
    }
    until(&connector, State::Up).await;
    assert_eq!(store(&connector, "odd.b", "4").await, 5);
    assert_eq!(reader.text().await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_publishes_than_the_line_holds_are_refused_as_overload() {
    let nats = own();
    make(&nats, "S", "s.*");
    let connector = crate::kit::connect(&nats, json!({ "jetstream": true, "max_in_flight": 10 }));
    until(&connector, State::Up).await;
    aside(|| nats.pause());
    let answers: Vec<_> = (0..12).map(|n| connector.publish(record("s.a", n.to_string()))).collect();
    let mut answers = answers.into_iter();
    let taken: Vec<_> = answers.by_ref().take(10).collect();
    for refused in answers {
        assert!(matches!(within("it is answered at once", refused).await, Err(PublishError::Overloaded(_))));
    }
    aside(|| nats.resume());
    for answer in taken {
        // The pause may have been long enough for the connection to be given up.
        let answer = within("a publish is answered", answer).await;
        assert!(matches!(answer, Ok(Some(_)) | Err(PublishError::OutcomeUnknown(_))), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_degraded_and_says_why() {
    let nats = aside(|| Broker::own(Kind::Nats, &[("NATS_JETSTREAM", "no")]));
    let connector = jetstream(&nats);
    until(&connector, State::Degraded).await;
    let reason = connector.health().borrow().reason.clone();
    assert!(reason.contains("JetStream"), "{reason}");
    let error = refusal(&connector, record("a", "1")).await;
    assert!(matches!(error, PublishError::Unavailable(_)), "{error:?}");
}
