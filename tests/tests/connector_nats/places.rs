//! Stories of places: where a reader of JetStream stands, and where it goes on.

use crate::kit::{after, begin, jetstream, log, numbers, read, read_told, within};
use crate::streams::{ask, foreign, make, own};
use connector::{Connector, Cursor, Event, Seen, Start, SubscribeError};
use gateway_tests::lab::Broker;
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Why a subscription is refused.
async fn refused(connector: &Arc<dyn Connector>, topics: &str, start: Start) -> SubscribeError {
    let mut reader = begin(connector, topics, start, 8);
    match within("it is answered", reader.subscription.ready()).await {
        Err(error) => error,
        Ok(ready) => panic!("it began at {ready:?}"),
    }
}

/// Two streams of one family, with five messages each, the second's later.
async fn two_regions(nats: &Broker) {
    make(nats, "EU", "orders.eu.>");
    make(nats, "US", "orders.us.>");
    foreign(nats, "orders.eu.1", &numbers(0..5));
    // Only to give the messages different times; nothing is concluded from how long it takes.
    tokio::time::sleep(Duration::from_millis(20)).await;
    foreign(nats, "orders.us.1", &numbers(5..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_good_from_the_first_minus_one_to_the_last() {
    let nats = own();
    make(&nats, "S", "s.*");
    let connector = jetstream(&nats);
    let mut empty = begin(&connector, "s.*", after(&[("S", 1)]), 8);
    let refused = within("it is answered", empty.subscription.ready()).await;
    assert_eq!(refused, Err(SubscribeError::PositionGone { first: None, last: None }));
    let mut from_zero = read(&connector, "s.*", after(&[("S", 0)])).await;
    foreign(&nats, "s.a", &numbers(1..11));
    assert_eq!(from_zero.texts(10).await, numbers(1..11));
    ask(&nats, "STREAM.PURGE.S", &json!({ "seq": 5 })); // keeps 5 to 10
    for (n, first) in [(4, "5"), (5, "6"), (9, "10")] {
        let mut reader = read(&connector, "s.*", after(&[("S", n)])).await;
        assert_eq!(reader.text().await, first, "after {n}");
    }
    for n in [0, 3, 11, u64::MAX] {
        let mut reader = begin(&connector, "s.*", after(&[("S", n)]), 8);
        let gone = Err(SubscribeError::PositionGone { first: Some(5), last: Some(10) });
        assert_eq!(within("it is answered", reader.subscription.ready()).await, gone, "after {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_over_several_streams_goes_on_in_each_of_them() {
    let nats = own();
    two_regions(&nats).await;
    let connector = jetstream(&nats);
    let (mut reader, ready) = read_told(&connector, "orders.**", after(&[("EU", 3), ("US", 1)])).await;
    let n = |stream: &str| ready.cursor.get(&log(stream)).map(|seen| seen.n);
    assert_eq!((n("EU"), n("US"), ready.cursor.len(), ready.sole), (Some(3), Some(1), 2, false));
    let mut seen = reader.texts(6).await;
    seen.sort();
    assert_eq!(seen, ["3", "4", "6", "7", "8", "9"]);
    // Its token says where all of it was read.
    let mut cursor = Cursor::default();
    let mut all = begin(&connector, "orders.**", Start::Earliest, 64);
    for _ in 0..10 {
        cursor.advance(all.next().await.place.as_ref().unwrap());
    }
    let connector::Position::Token(token) = cursor.position() else { panic!("two streams are a token") };
    let cursor = Cursor::parse(&token).unwrap();
    let mut on = read(&connector, "orders.**", Start::After { cursor, others: None }).await;
    foreign(&nats, "orders.us.1", &numbers(10..12));
    assert_eq!(on.texts(2).await, numbers(10..12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_cursor_does_not_name_begins_where_is_said() {
    let nats = own();
    two_regions(&nats).await;
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "orders.**", after(&[("EU", 4)])).await;
    let mut seen = reader.texts(6).await;
    seen.sort();
    assert_eq!(seen, numbers(4..10), "from its beginning");
    let mut newest = read(&connector, "orders.us.*", after(&[("US", 4)])).await;
    let at = u64::try_from(newest.next().await.timestamp.unwrap()).unwrap();
    let cursor: Cursor = [(log("US"), Seen { n: 4, at: None })].into_iter().collect();
    let others = Some(UNIX_EPOCH + Duration::from_millis(at));
    let mut reader = read(&connector, "orders.**", Start::After { cursor, others }).await;
    foreign(&nats, "orders.eu.1", &["new".to_owned()]);
    let mut seen = reader.texts(2).await;
    seen.sort();
    assert_eq!(seen, ["9", "new"], "EU has nothing of that time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_names_a_stream_beyond_the_filter_is_refused() {
    let nats = own();
    two_regions(&nats).await;
    let connector = jetstream(&nats);
    let gone = SubscribeError::PositionGone { first: None, last: None };
    assert_eq!(refused(&connector, "orders.eu.*", after(&[("EU", 2), ("US", 2)])).await, gone);
    assert_eq!(refused(&connector, "nothing.*", after(&[("EU", 0)])).await, gone);
    let gone = SubscribeError::PositionGone { first: Some(1), last: Some(5) };
    assert_eq!(refused(&connector, "orders.**", after(&[("EU", 2), ("US", 6)])).await, gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_is_not_taken_for_the_one_that_was_read() {
    let nats = own();
    make(&nats, "S", "s.*");
    foreign(&nats, "s.a", &numbers(0..10));
    let connector = jetstream(&nats);
    let (mut reader, _) = read_told(&connector, "s.*", Start::Earliest).await;
    let mut cursor = Cursor::default();
    for _ in 0..5 {
        cursor.advance(reader.next().await.place.as_ref().unwrap());
    }
    let (_, ready) = read_told(&connector, "s.*", Start::Live).await;
    // The message there may be removed from the midst of the stream: that is no other stream.
    ask(&nats, "STREAM.MSG.DELETE.S", &json!({ "seq": 5 }));
    let mut on = read(&connector, "s.*", Start::After { cursor: cursor.clone(), others: None }).await;
    assert_eq!(on.text().await, "5");
    ask(&nats, "STREAM.DELETE.S", &json!({}));
    make(&nats, "S", "s.*");
    foreign(&nats, "s.a", &numbers(0..20));
    let gone = SubscribeError::PositionGone { first: Some(1), last: Some(20) };
    for cursor in [cursor, ready.cursor] {
        assert_eq!(refused(&connector, "s.*", Start::After { cursor, others: None }).await, gone);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_says_it_all_only_where_no_other_stream_can_come() {
    let nats = own();
    aside(|| Nats::connect(&nats.url()).make_stream("MIXED", &["orders.eu.*", "bills.>"]));
    let connector = jetstream(&nats);
    for (topics, sole) in
        [("orders.eu.1", true), ("orders.eu.*", true), ("bills.a.*", true), ("bills.**", true), ("orders.*.*", false)]
    {
        let (_, ready) = read_told(&connector, topics, Start::Live).await;
        assert_eq!((ready.sole, ready.cursor.len()), (sole, 1), "{topics}");
    }
    let (_, ready) = read_told(&connector, "none.*", Start::Live).await;
    assert_eq!((ready.sole, ready.cursor.len()), (false, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_moves_on_when_only_others_get_messages() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let connector = jetstream(&nats);
    let mut reader = begin(&connector, "orders.rare", Start::Live, 1);
    within("it is ready", reader.subscription.ready()).await.unwrap();
    assert_eq!(reader.place().await.n, 0, "there is nothing to read");
    foreign(&nats, "orders.a", &numbers(0..10));
    assert_eq!(reader.until("ORDERS", 10).await, [""; 0]);
    foreign(&nats, "orders.rare", &["one".to_owned()]);
    foreign(&nats, "orders.a", &numbers(10..20));
    assert_eq!(reader.until("ORDERS", 21).await, ["one"]);
    // A part of a token is beyond what NATS can filter: all of the stream comes, and most is passed over.
    let mut filter = crate::kit::filter("orders.*");
    filter.tokens[1] = connector::FilterToken::Wild { prefix: "ra".into(), suffix: String::new() };
    let (sink, events) = tokio::sync::mpsc::channel(1);
    let subscription = connector.subscribe(filter, Start::Earliest, sink).unwrap();
    let mut reader = crate::kit::Reader { events, subscription };
    assert_eq!(reader.until("ORDERS", 21).await, ["one"]);
    foreign(&nats, "orders.a", &numbers(20..22));
    assert_eq!(reader.until("ORDERS", 23).await, [""; 0]);
}

/// Writers go on while readers begin, read and wait, some of them slowly.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_never_told_before_all_up_to_it_was_given() {
    const ROUNDS: usize = 400;
    let nats = own();
    make(&nats, "S", "s.*");
    let connector = jetstream(&nats);
    let url = nats.url();
    let writer = std::thread::spawn(move || {
        let mut tool = Nats::connect(&url);
        for round in 0..ROUNDS {
            // Pauses of all lengths, so that readers come to the end again and again.
            for n in 0..1 + round % 7 {
                tool.publish(if (round + n) % 3 == 0 { "s.mine" } else { "s.other" }, "x");
            }
            tool.flush();
            std::thread::sleep(Duration::from_millis((round % 11) as u64));
        }
        tool.publish("s.other", "end");
        tool.flush();
    });
    let mut readers = tokio::task::JoinSet::new();
    for capacity in [1, 2, 64, 64] {
        for _ in 0..4 {
            let mut reader = begin(&connector, "s.mine", Start::Earliest, capacity);
            within("it is ready", reader.subscription.ready()).await.unwrap();
            readers.spawn(async move {
                let reader = &mut reader; // with its subscription
                let (mut given, mut told) = (Vec::new(), Vec::new());
                let end: u64 = 1 + (0..ROUNDS as u64).map(|round| 1 + round % 7).sum::<u64>();
                while told.last() != Some(&end) {
                    let event = within("the end is reached", reader.events.recv()).await.unwrap();
                    match event {
                        Event::Record(record) => {
                            let n = record.place.unwrap().n;
                            assert!(
                                told.last().is_none_or(|told| *told < n),
                                "{n} comes after {:?} was told",
                                told.last()
                            );
                            given.push(n);
                            if capacity == 1 {
                                tokio::task::yield_now().await;
                            }
                        }
                        Event::Reached(place) => {
                            let last = told.iter().chain(given.last()).max();
                            assert!(last.is_none_or(|last| *last < place.n), "{} was told already", place.n);
                            told.push(place.n);
                        }
                    }
                }
                given
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut all = BTreeMap::new();
    while let Some(given) = readers.join_next().await {
        *all.entry(given.unwrap()).or_insert(0) += 1;
    }
    writer.join().unwrap();
    let stored = aside(|| Nats::connect(&nats.url()).stream_dump("S"));
    let mine: Vec<u64> =
        stored.iter().filter(|m| m.subject == "s.mine").map(gateway_tests::nats::Stored::sequence).collect();
    assert_eq!(all, BTreeMap::from([(mine, 16)]), "each was given all");
}
