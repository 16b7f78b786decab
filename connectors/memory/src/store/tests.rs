use super::*;
use bytes::Bytes;
use connector::{ByteSize, Duration, FilterToken, Outbound};
use std::time::{Instant, SystemTime};

fn store(settings: Settings) -> Store {
    Store::new(settings, 0)
}

fn put(store: &mut Store, topic: &str, payload: &str, now: Millis) -> u64 {
    let record = Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        headers: Vec::new(),
        deadline: Instant::now(),
    };
    store.append(topic, Content::of(record), now).unwrap().n
}

fn after(n: u64) -> Start {
    Start::After { cursor: Cursor::from(place(n, None)), others: None }
}

fn all() -> TopicFilter {
    TopicFilter { tokens: Vec::new(), rest: true }
}

fn exact(topic: &str) -> TopicFilter {
    TopicFilter::exact(topic, &SYNTAX)
}

fn reader(store: &mut Store, filter: TopicFilter, start: Start) -> u64 {
    store.subscribe(filter, &start, Arc::default(), 0).unwrap().0
}

/// What a reader gets now, as `topic=payload`, and how many it missed.
fn take(store: &mut Store, id: u64, max: usize, now: Millis) -> (Vec<String>, u64) {
    let mut batch = Vec::new();
    let missed = store.read(id, max, now, &mut batch);
    let text = |record: &Inbound| String::from_utf8(record.payload.clone().unwrap_or_default().to_vec()).unwrap();
    (batch.iter().map(|record| format!("{}={}", record.topic, text(record))).collect(), missed)
}

#[test]
fn the_oldest_go_by_count_and_a_reader_that_was_overtaken_is_told_how_many_it_missed() {
    let mut store = store(Settings { max_messages: 3, ..Settings::default() });
    let slow = reader(&mut store, exact("t"), Start::Live);
    for n in 1..=5 {
        put(&mut store, "t", &n.to_string(), 0);
    }
    assert_eq!(take(&mut store, slow, 10, 0), (vec!["t=3".into(), "t=4".into(), "t=5".into()], 2));
    assert_eq!(store.missed(), 2);
    put(&mut store, "t", "6", 0);
    assert_eq!(take(&mut store, slow, 10, 0), (vec!["t=6".into()], 0));
    assert_eq!(store.missed(), 2);
}

#[test]
fn the_oldest_go_by_bytes_and_a_record_beyond_the_bound_is_refused() {
    let mut store = store(Settings { max_bytes: ByteSize::from_bytes(3 * 228), ..Settings::default() });
    let payload = "x".repeat(100);
    for _ in 0..10 {
        put(&mut store, "t", &payload, 0);
    }
    assert_eq!(store.size(), (1, 3, 3 * 228));
    let record = Outbound {
        topic: "t".into(),
        key: None,
        partition: None,
        payload: Some(Bytes::from(vec![0; 1000])),
        headers: Vec::new(),
        deadline: Instant::now(),
    };
    let answer = store.append("t", Content::of(record), 0);
    assert!(matches!(answer, Err(PublishError::TooLarge(_))), "{answer:?}");
    assert_eq!(store.size(), (1, 3, 3 * 228));
}

#[test]
fn what_is_too_old_is_not_given_even_where_nothing_new_comes() {
    let mut store = store(Settings { max_age: Some(Duration::from_secs(1)), ..Settings::default() });
    put(&mut store, "t", "old", 1_000);
    put(&mut store, "t", "new", 1_900);
    let early = reader(&mut store, exact("t"), Start::Earliest);
    assert_eq!(take(&mut store, early, 10, 2_500), (vec!["t=new".into()], 1));
    let gone = store.subscribe(exact("t"), &after(0), Arc::default(), 2_500);
    let first = Some(2);
    assert_eq!(gone, Err(SubscribeError::PositionGone { first, last: first }));
}

#[test]
fn over_all_topics_the_largest_give_way_and_what_was_just_stored_stays() {
    let mut store = store(Settings {
        max_bytes: ByteSize::from_bytes(100 * 138),
        max_total_bytes: ByteSize::from_bytes(100 * 138),
        ..Settings::default()
    });
    for n in 0..5 {
        put(&mut store, "small", &format!("small-{n:04}"), 0);
    }
    for n in 0..500 {
        put(&mut store, "large", &format!("large-{n:04}"), 0);
    }
    let (_, _, bytes) = store.size();
    assert!(bytes <= 100 * 138, "{bytes} bytes are kept");
    let small = reader(&mut store, exact("small"), Start::Earliest);
    assert_eq!(take(&mut store, small, 1000, 0).0.len(), 5, "the small topic paid for the large one");
    let large = reader(&mut store, exact("large"), Start::Earliest);
    let kept = take(&mut store, large, 1000, 0).0;
    assert_eq!(kept.last().map(String::as_str), Some("large=large-0499"));
    assert!(kept.len() > 80, "only {} of the large topic are kept", kept.len());
}

#[test]
fn a_family_is_read_in_one_order_so_that_one_position_says_how_far() {
    let mut store = store(Settings::default());
    let live = reader(&mut store, all(), Start::Live);
    for (topic, payload) in [("a", "1"), ("b.c", "2"), ("a", "3"), ("d", "4"), ("b.c", "5"), ("a", "6")] {
        put(&mut store, topic, payload, 0);
    }
    let order = ["a=1", "b.c=2", "a=3", "d=4", "b.c=5", "a=6"];
    assert_eq!(take(&mut store, live, 2, 0).0, order[..2]);
    assert_eq!(take(&mut store, live, 100, 0).0, order[2..]);
    let again = reader(&mut store, all(), after(3));
    assert_eq!(take(&mut store, again, 100, 0).0, order[3..]);
}

#[test]
fn a_family_stays_in_order_where_records_of_one_topic_have_gone() {
    let mut store = store(Settings { max_messages: 2, ..Settings::default() });
    let live = reader(&mut store, all(), Start::Live);
    for (topic, payload) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"), ("a", "5"), ("a", "6")] {
        put(&mut store, topic, payload, 0);
    }
    // Gone: a=1 and a=3.
    assert_eq!(take(&mut store, live, 100, 0), (["b=2", "b=4", "a=5", "a=6"].map(String::from).to_vec(), 2));
}

#[test]
fn a_start_in_time_holds_for_a_family_and_a_clock_that_jumps_back() {
    let mut store = store(Settings::default());
    for (topic, time) in [("a", 10), ("b", 20), ("a", 5), ("b", 30)] {
        put(&mut store, topic, &time.to_string(), time);
    }
    let at = |millis| Start::At(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(millis));
    for (time, expected) in [(0, 4), (10, 4), (11, 3), (20, 3), (21, 1), (31, 0)] {
        let id = reader(&mut store, all(), at(time));
        assert_eq!(take(&mut store, id, 100, 0).0.len(), expected, "from {time}");
    }
}

#[test]
fn without_create_topics_only_declared_ones_are_written_and_readers_wait_for_them() {
    let mut store = store(Settings {
        topics: vec!["orders.eu".into()],
        create_topics: false,
        max_topics: 2,
        ..Settings::default()
    });
    let any = FilterToken::Wild { prefix: String::new(), suffix: String::new() };
    let family = TopicFilter { tokens: vec![FilterToken::Literal("orders".into()), any], rest: false };
    let id = reader(&mut store, family, Start::Live);
    assert!(store.has_room_for("orders.eu") && !store.has_room_for("orders.us"));
    put(&mut store, "orders.eu", "1", 0);
    let refused = store.append("orders.us", Content::of(outbound("orders.us")), 0);
    assert_eq!(refused, Err(PublishError::TopicUnknown("orders.us".into())));
    store.declare("orders.us").unwrap();
    put(&mut store, "orders.us", "2", 0);
    assert_eq!(take(&mut store, id, 10, 0).0, ["orders.eu=1", "orders.us=2"]);
    assert!(matches!(store.declare("orders.fr"), Err(PublishError::Rejected(_))));
    assert!(matches!(store.declare("orders..fr"), Err(PublishError::TopicInvalid(_))));
}

#[test]
fn a_reader_that_ended_leaves_nothing_behind() {
    let mut store = store(Settings::default());
    put(&mut store, "t", "1", 0);
    let id = reader(&mut store, all(), Start::Earliest);
    store.unsubscribe(id);
    assert!(store.logs.iter().all(|log| log.readers.is_empty()));
    assert_eq!(take(&mut store, id, 10, 0), (Vec::new(), 0));
}

fn outbound(topic: &str) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: None,
        headers: Vec::new(),
        deadline: Instant::now(),
    }
}

#[test]
fn a_position_of_an_earlier_process_or_of_a_record_that_is_another_now_is_gone() {
    let mut store = Store::new(Settings::default(), 1_000);
    let gone = |store: &mut Store, n, at| {
        let cursor = Cursor::from(place(n, at));
        let answer = store.subscribe(exact("t"), &Start::After { cursor, others: None }, Arc::default(), 0);
        matches!(answer, Err(SubscribeError::PositionGone { .. }))
    };
    assert_eq!(put(&mut store, "t", "1", 77), 1_001);
    assert!(gone(&mut store, 3, None) && gone(&mut store, 999, None) && gone(&mut store, 1_002, None));
    assert!(!gone(&mut store, 1_000, None) && !gone(&mut store, 1_001, Some(77)));
    assert!(gone(&mut store, 1_001, Some(78)), "another record has that number now");
}
