//! What is published arrives, as it was, in order, once for each subscription.

use super::Fixture;
use super::kit::{Kit, next_record, number_of, numbered, record, same_place, within};
use crate::{Confirm, Headers, Inbound, Outbound, Start};
use bytes::Bytes;
use bytestring::ByteString;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// JSON with odd spacing and numbers, nothing at all, NUL and invalid UTF-8, and a large value arrive byte for byte,
/// with their keys and headers where the broker has them.
///
/// # Panics
/// When one does not.
pub async fn payload_key_and_headers_arrive_as_they_were(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "identical").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    let payloads: [Bytes; 6] = [
        Bytes::from_static(br#"{"b" : 1.50,  "a":12345678901234567890.0e2,"a":null}"#),
        Bytes::from_static(b""),
        Bytes::from_static(b"\0\x01\xff\xfe\x80\r\n\0"),
        Bytes::from_static("grüße ☃ 🦀".as_bytes()),
        Bytes::from_static(b"null"),
        (0..60_000u32).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into(),
    ];
    for (i, payload) in payloads.into_iter().enumerate() {
        let mut sent = record(&topic, payload);
        sent.key = match i % 3 {
            0 => None,
            1 => Some(Bytes::from_static(b"/orders/eu/7")),
            _ => Some(Bytes::from_static(b"\0\xff key")),
        };
        if kit.can.headers && i != 4 {
            sent.headers = headers(&[("bayeux-channel", "/orders/eu/7"), ("Tag", "one"), ("Tag", "two grüße")]);
        }
        let position = kit.store(sent.clone()).await;
        let got = reader.next("a published record arrives").await;
        assert_eq!(got.topic, sent.topic, "record {i} came from another topic");
        assert_eq!(got.payload, sent.payload, "the payload of record {i} was changed");
        if kit.can.keys {
            assert_eq!(got.key, sent.key, "the key of record {i} was changed");
        }
        same_headers(&sent, &got);
        assert!(!got.retained, "record {i} was new, yet is marked as retained");
        if kit.can.log {
            assert!(got.place.is_some(), "there is a log, yet record {i} has no place");
            same_place(got.place.as_ref(), position.as_ref());
        }
        if kit.can.confirm == Confirm::Stored {
            assert!(position.is_some(), "a stored record must be answered with its position");
        }
    }
    kit.end().await;
}

fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
    pairs.iter().map(|(name, value)| (ByteString::from_static(name), Bytes::from_static(value.as_bytes()))).collect()
}

/// Each name's values in order; the order of different names is the broker's, and it may add names of its own.
fn same_headers(sent: &Outbound, got: &Inbound) {
    let by_name = |headers: &Headers| {
        let mut map = BTreeMap::<ByteString, Vec<Bytes>>::new();
        for (name, value) in headers {
            map.entry(name.clone()).or_default().push(value.clone());
        }
        map
    };
    let got = by_name(&got.headers);
    for (name, values) in by_name(&sent.headers) {
        assert_eq!(got.get(&name), Some(&values), "the header {name} was changed");
    }
}

/// No value: a tombstone where the broker has them, else an empty value.
///
/// # Panics
/// When it arrives as something else.
pub async fn a_missing_value_is_stored_as_declared(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "tombstone").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    let mut sent = record(&topic, "");
    sent.key = Some(Bytes::from_static(b"7"));
    sent.payload = None;
    kit.store(sent).await;
    let got = reader.next("a record without a value arrives").await;
    if kit.can.tombstones {
        assert_eq!(got.payload, None, "a tombstone became a value");
    } else {
        assert_eq!(got.payload, Some(Bytes::new()), "a missing value is stored as an empty one");
    }
    kit.end().await;
}

/// Two thousand publishes to two topics, each begun before the one before was confirmed, arrive once each, in the
/// order of the calls per topic and key.
///
/// # Panics
/// When one is lost, doubled or overtaken.
pub async fn pipelined_publishes_keep_their_order(fixture: &impl Fixture) {
    const COUNT: usize = 2000;
    const KEYS: usize = 10;
    let kit = Kit::begin(fixture, "order").await;
    let (sink, mut records) = mpsc::channel(COUNT);
    let mut topics = Vec::new();
    let mut subscriptions = Vec::new();
    for name in ["a", "b"] {
        let topic = kit.topic(fixture, &[name], 3).await;
        subscriptions.push(kit.join(kit.exact(&topic), Start::Live, sink.clone()).await);
        topics.push(topic);
    }
    let key_of = |n: usize| format!("key-{}", n / 2 % KEYS);
    let mut answers = Vec::with_capacity(COUNT);
    for n in 0..COUNT {
        let mut sent = numbered(&topics[n % 2], n);
        sent.key = Some(key_of(n).into());
        answers.push(kit.publish(sent));
    }
    for (n, answer) in answers.into_iter().enumerate() {
        if let Err(error) = within("a pipelined publish is answered", answer).await {
            panic!("publish {n} of {COUNT} pipelined ones failed: {error:?}");
        }
    }
    let mut seen = vec![false; COUNT];
    let mut newest = BTreeMap::<(String, String), usize>::new();
    for arrived in 0..COUNT {
        let what = format!("each of {COUNT} records arrives ({arrived} did)");
        let got = next_record(&mut records, &what).await;
        let n = number_of(&got);
        assert!(!std::mem::replace(&mut seen[n], true), "record {n} arrived twice");
        assert_eq!(got.topic, topics[n % 2], "record {n} came from another topic");
        // Without keys and partitions a topic is one line; with them the promise is per key.
        let lane = if kit.can.partitions { key_of(n) } else { String::new() };
        if let Some(before) = newest.insert((got.topic.to_string(), lane), n) {
            assert!(before < n, "record {n} arrived after record {before} of the same topic and key");
        }
    }
    kit.end().await;
}

/// A live subscription begins with the first record that is stored after it was ready.
///
/// # Panics
/// When it gives an older one, or misses one.
pub async fn a_live_subscription_gets_what_comes_after_ready_and_nothing_older(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "live").await;
    let topic = kit.topic(fixture, &[], 3).await;
    let old = if kit.can.confirm == Confirm::Sent { 0 } else { 20 };
    kit.store_numbered(&topic, 0..old).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    kit.store_numbered(&topic, old..old + 20).await;
    let mut numbers = reader.numbers(20, "what is stored after ready arrives").await;
    numbers.sort_unstable();
    assert_eq!(numbers, (old..old + 20).collect::<Vec<_>>(), "a live subscription gives what is new, all of it, once");
    kit.end().await;
}

/// Subscriptions share nothing.
///
/// # Panics
/// When one of two misses a record.
pub async fn two_subscriptions_both_get_everything(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "twice").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut one = kit.read(kit.exact(&topic), Start::Live).await;
    let mut two = kit.read(kit.exact(&topic), Start::Live).await;
    kit.store_numbered(&topic, 0..50).await;
    let all: Vec<_> = (0..50).collect();
    assert_eq!(one.numbers(50, "the first subscription gets all").await, all);
    assert_eq!(two.numbers(50, "the second subscription gets all").await, all);
    kit.end().await;
}

/// A caller that does not wait for the answer has published all the same.
///
/// # Panics
/// When the record does not arrive.
pub async fn a_publish_whose_future_is_dropped_is_stored(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "dropped").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    for n in 0..20 {
        drop(kit.publish(numbered(&topic, n)));
    }
    let numbers = reader.numbers(20, "a record whose publisher left arrives").await;
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    kit.end().await;
}
