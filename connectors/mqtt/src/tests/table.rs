use crate::SYNTAX;
use crate::inflow::{Arrival, Inflow};
use crate::parked::STILL;
use crate::subscribe::{Ask, Burst, Parcel, QOS0_ROOM, Subscriber, Table};
use connector::{SubscribeError, TopicFilter};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties, RetainForwardRule, SubscribeReasonCode};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for one reader whose queue is full.
const BACKLOG: usize = 8;

struct Reader {
    key: u64,
    ready: oneshot::Receiver<Result<connector::Ready, SubscribeError>>,
    parcels: mpsc::Receiver<Parcel>,
}

impl Reader {
    /// What has come: payload, `redelivered`, `retained`.
    fn got(&mut self) -> Vec<(String, bool, bool)> {
        std::iter::from_fn(|| self.parcels.try_recv().ok())
            .map(|Parcel { inbound: m, .. }| {
                let payload = m.payload.unwrap_or_default();
                (String::from_utf8_lossy(&payload).into_owned(), m.redelivered, m.retained)
            })
            .collect()
    }
}

fn join(table: &mut Table, filter: &str) -> Reader {
    let rest = filter.ends_with("/#");
    let exact = TopicFilter::exact(filter.trim_end_matches("/#"), &SYNTAX);
    let (tell, ready) = oneshot::channel();
    let (to, parcels) = mpsc::channel(QOS0_ROOM + 4);
    let subscriber = Subscriber { filter: TopicFilter { rest, ..exact }, ready: tell, to, stop: Default::default() };
    Reader { key: table.add(filter, subscriber).unwrap(), ready, parcels }
}

/// The broker grants all that it is asked for; the identifiers it was given, and how it was asked for retained messages.
fn grant(table: &mut Table) -> Vec<(String, u32, RetainForwardRule)> {
    let mut asked = Vec::new();
    while let Some(ask) = table.next() {
        if let Ask::Subscribe { native, id, making, retained } = ask {
            table.answered(&native, making, SubscribeReasonCode::Success(QoS::AtLeastOnce));
            asked.push((native.to_string(), id.unwrap_or(0), retained));
        }
    }
    asked
}

fn message(topic: &str, payload: &str, ids: &[u32], retain: bool) -> Publish {
    let properties = PublishProperties {
        subscription_identifiers: ids.iter().map(|id| *id as usize).collect(),
        ..PublishProperties::default()
    };
    let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.to_owned(), Some(properties));
    publish.retain = retain;
    publish
}

fn connected() -> Table {
    let mut table = Table::new(268_435_454, BACKLOG); // so that identifiers begin anew at once
    table.connected(false, true);
    table
}

fn plain(payload: &str) -> (String, bool, bool) {
    (payload.into(), false, false)
}

#[test]
fn overlapping_filters_get_one_copy_each_whether_the_broker_sends_one_or_two() {
    let mut table = connected();
    let mut wide = join(&mut table, "a/#");
    let mut exact = join(&mut table, "a/b");
    let ids: Vec<u32> = grant(&mut table).into_iter().map(|(_, id, _)| id).collect();
    assert!(ids.iter().all(|id| (1..=268_435_455).contains(id)), "{ids:?}");
    table.dispatch(&message("a/b", "two copies", &ids[..1], false), None);
    table.dispatch(&message("a/b", "two copies", &ids[1..], false), None);
    table.dispatch(&message("a/b", "one copy", &ids, false), None);
    assert_eq!(wide.got(), [plain("two copies"), plain("one copy")]);
    assert_eq!(exact.got(), [plain("two copies"), plain("one copy")]);
    // The broker's # takes the parent as well.
    table.dispatch(&message("a", "parent", &ids[..1], false), None);
    assert!(wide.got().is_empty());
}

#[test]
fn retained_messages_go_to_the_one_who_just_came() {
    let mut table = connected();
    let mut old = join(&mut table, "a/b");
    let first = grant(&mut table)[0].1;
    table.dispatch(&message("a/b", "kept", &[first], true), None);
    let mut new = join(&mut table, "a/b");
    let asked = grant(&mut table);
    assert_eq!(asked[0].2, RetainForwardRule::OnEverySubscribe);
    let second = asked[0].1;
    table.dispatch(&message("a/b", "before", &[first], false), None);
    table.dispatch(&message("a/b", "kept", &[second], true), None);
    table.dispatch(&message("a/b", "after", &[second], false), None);
    assert_eq!(old.got(), [("kept".into(), false, true), plain("before"), plain("after")]);
    assert_eq!(new.got(), [("kept".into(), false, true), plain("after")]);
}

#[test]
fn after_a_reconnect_every_filter_is_asked_for_again_and_retained_messages_only_if_the_session_is_lost() {
    let mut table = connected();
    let mut reader = join(&mut table, "a/b");
    let first = grant(&mut table);
    assert!(matches!(reader.ready.try_recv(), Ok(Ok(_))));
    table.connected(true, true);
    assert_eq!(grant(&mut table), [("a/b".to_owned(), first[0].1, RetainForwardRule::OnNewSubscribe)]);
    table.dispatch(&message("a/b", "kept for us", &[first[0].1], false), None);
    table.connected(false, true);
    let again = grant(&mut table);
    assert_eq!(again[0].2, RetainForwardRule::OnEverySubscribe);
    table.dispatch(&message("a/b", "retained", &[again[0].1], true), None);
    assert_eq!(reader.got(), [plain("kept for us"), ("retained".into(), true, true)]);
}

#[test]
fn one_who_comes_while_filters_are_being_asked_for_again_gets_retained_messages() {
    let mut table = connected();
    let mut old = join(&mut table, "a/b");
    grant(&mut table);
    table.connected(true, true);
    let mut new = join(&mut table, "a/b");
    let asked = grant(&mut table);
    let last = asked.last().unwrap();
    assert_eq!(last.2, RetainForwardRule::OnEverySubscribe);
    table.dispatch(&message("a/b", "kept", &[last.1], true), None);
    assert_eq!(new.got(), [("kept".into(), false, true)]);
    assert!(old.got().is_empty());
}

#[test]
fn the_last_one_to_leave_lets_the_filter_go_and_the_broker_is_told_until_it_knows() {
    let mut table = connected();
    let one = join(&mut table, "a/b");
    let two = join(&mut table, "a/b");
    let id = grant(&mut table)[0].1;
    table.remove(one.key);
    assert_eq!(table.next(), None);
    table.remove(two.key);
    let gone = Some(Ask::Unsubscribe { native: "a/b".into() });
    assert_eq!(table.next(), gone);
    table.connected(true, true);
    assert_eq!(table.next(), gone, "the session that came back still has it");
    table.dispatch(&message("a/b", "late", &[id], false), None);
    assert_eq!(table.next(), None, "a late copy is no reason for anything");
    table.unsubscribed(&"a/b".into());
    table.connected(true, true);
    assert_eq!(table.next(), None);
}

#[test]
fn one_who_comes_back_before_the_filter_is_gone_is_subscribed_last() {
    let mut table = connected();
    let one = join(&mut table, "a/b");
    grant(&mut table);
    table.remove(one.key);
    let two = join(&mut table, "a/b");
    let mut last = None;
    while let Some(ask) = table.next() {
        last = Some(ask);
    }
    assert!(matches!(last, Some(Ask::Subscribe { .. })), "{last:?}");
    drop(two);
}

#[test]
fn a_refusal_ends_the_new_and_degrades_the_running() {
    let mut table = connected();
    let mut running = join(&mut table, "a/b");
    grant(&mut table);
    assert!(matches!(running.ready.try_recv(), Ok(Ok(_))));
    let mut new = join(&mut table, "a/b");
    let Some(Ask::Subscribe { native, making, .. }) = table.next() else { panic!("nothing was asked") };
    table.answered(&native, making, SubscribeReasonCode::NotAuthorized);
    assert!(matches!(new.ready.try_recv(), Ok(Err(SubscribeError::Denied(_)))));
    assert!(table.refused().is_some_and(|why| why.contains("a/b")));
    table.retry_refused();
    grant(&mut table);
    assert_eq!(table.refused(), None);
}

#[test]
fn without_subscription_identifiers_the_topic_decides() {
    let mut table = Table::new(0, BACKLOG);
    table.connected(false, false);
    let mut reader = join(&mut table, "a/#");
    assert_eq!(grant(&mut table)[0].1, 0);
    table.dispatch(&message("a/b", "x", &[], false), None);
    table.dispatch(&message("b/b", "x", &[], false), None);
    assert_eq!(reader.got(), [plain("x")]);
}

#[test]
fn a_message_without_an_identifier_goes_by_its_topic_though_the_broker_has_them() {
    let mut table = connected();
    let mut reader = join(&mut table, "a/#");
    let mut other = join(&mut table, "b/#");
    let id = grant(&mut table)[0].1;
    table.dispatch(&message("a/b", "without", &[], false), None);
    table.dispatch(&message("a/b", "with", &[id], false), None);
    assert_eq!(reader.got(), [plain("without"), plain("with")]);
    assert!(other.got().is_empty());
}

#[test]
fn a_broker_that_refuses_identifiers_is_asked_without() {
    let mut table = connected();
    let mut reader = join(&mut table, "a/b");
    let Some(Ask::Subscribe { native, making, .. }) = table.next() else { panic!("nothing was asked") };
    table.answered(&native, making, SubscribeReasonCode::SubscriptionIdNotSupported);
    assert_eq!(grant(&mut table)[0].1, 0);
    assert!(matches!(reader.ready.try_recv(), Ok(Ok(_))));
}

#[test]
fn messages_that_nothing_holds_back_are_dropped_and_counted_when_a_reader_stands_still() {
    let mut table = connected();
    let mut reader = join(&mut table, "a/b");
    let id = grant(&mut table)[0].1;
    for n in 0..QOS0_ROOM + 10 {
        table.dispatch(&message("a/b", &n.to_string(), &[id], false), None);
    }
    assert_eq!(table.dropped, 10);
    assert_eq!(reader.got().len(), QOS0_ROOM);
}

/// A message at QoS 1 comes.
fn deliver(table: &mut Table, inflow: &mut Inflow, n: usize, id: u32) {
    let mut publish = message("a/b", &n.to_string(), &[id], false);
    publish.qos = QoS::AtLeastOnce;
    publish.pkid = u16::try_from(n + 1).unwrap();
    let Arrival::New(ticket) = inflow.arrived(&publish) else { panic!("{n} is new") };
    table.dispatch(&publish, Some(ticket));
}

#[test]
fn what_must_not_be_dropped_waits_in_order_for_a_reader_whose_queue_is_full_and_others_go_on() {
    let mut table = connected();
    let mut inflow = Inflow::new(10, Default::default());
    let mut still = join(&mut table, "a/b");
    let mut other = join(&mut table, "a/#");
    let ids: Vec<u32> = grant(&mut table).into_iter().map(|(_, id, _)| id).collect();
    let places = still.parcels.max_capacity();
    for n in 0..places {
        deliver(&mut table, &mut inflow, n, ids[0]);
    }
    assert_eq!(table.parked.since(), None);
    for n in places..places + BACKLOG {
        assert!(!table.parked.is_full());
        deliver(&mut table, &mut inflow, n, ids[0]);
    }
    assert!(table.parked.is_full(), "more than the bound would be read");
    deliver(&mut table, &mut inflow, 5_000, ids[1]);
    assert_eq!(other.got(), [plain("5000")]);

    let since = table.parked.since().unwrap();
    assert_eq!(table.parked.complaint(since), None);
    let complaint = table.parked.complaint(since + STILL).unwrap();
    assert!(complaint.contains("a/b") && complaint.contains("nothing more is read"), "{complaint}");

    // One place: one parked message comes in, and what comes now stays behind the others.
    assert!(still.parcels.try_recv().is_ok());
    deliver(&mut table, &mut inflow, places + BACKLOG, ids[0]);
    table.dispatch(&message("a/b", "at QoS 0", &ids[..1], false), None);
    assert_eq!(table.dropped, 1, "it would overtake");
    table.parked.retry(since + STILL);
    assert_eq!(table.parked.complaint(since + STILL), None, "it has taken one");
    let mut got = still.got();
    table.parked.retry(Instant::now());
    got.extend(still.got());
    let expected: Vec<_> = (1..=places + BACKLOG).map(|n| plain(&n.to_string())).collect();
    assert_eq!(got, expected);
    assert_eq!(table.parked.since(), None);
}

#[test]
fn what_waits_for_a_reader_that_leaves_is_let_go() {
    let mut table = connected();
    let mut inflow = Inflow::new(10, Default::default());
    let still = join(&mut table, "a/b");
    let id = grant(&mut table)[0].1;
    for n in 0..still.parcels.max_capacity() + BACKLOG {
        deliver(&mut table, &mut inflow, n, id);
    }
    assert!(table.parked.is_full());
    table.remove(still.key);
    drop(still);
    table.parked.retry(Instant::now());
    assert!(!table.parked.is_full() && table.parked.since().is_none());
    assert!(inflow.next().is_some(), "it can be acknowledged");
}

#[test]
fn a_reader_just_fast_enough_to_stay_nearly_full_is_reported_once_and_the_count_at_the_end() {
    let mut burst = Burst::default();
    assert_eq!(burst.ends(QOS0_ROOM), None, "nothing was dropped");
    assert!(burst.begins());
    for _ in 0..100 {
        assert_eq!(burst.ends(1), None); // one place, taken at once
        assert!(!burst.begins());
    }
    assert_eq!(burst.ends(QOS0_ROOM / 2), Some(101));
    assert!(burst.begins(), "the next one is new");
    assert_eq!(burst.ends(QOS0_ROOM), Some(1));
}
