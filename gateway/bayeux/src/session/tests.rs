use super::*;
use crate::delivery::DeliveryParts;
use crate::queue::{Overflow, QueueLimits};

fn start() -> (Session, Instant) {
    let now = Instant::now();
    (Session::new("c1".into(), Arc::default(), Carrier::LongPolling, now), now)
}

fn bounded(queue: QueueLimits, now: Instant) -> Session {
    let options = SessionOptions::same(Options { queue, ..Options::default() });
    Session::new("c".into(), Arc::new(options), Carrier::LongPolling, now)
}

fn poll() -> Connect {
    Connect { carrier: Carrier::LongPolling, alone: true, crowded: false, advice: None, ack: None }
}

fn message(n: u32) -> Arc<Delivery> {
    Arc::new(Delivery::new("/a".into(), &DeliveryParts { data: n.to_string().as_bytes(), ..Default::default() }))
}

#[test]
fn the_first_connect_is_answered_at_once_and_the_second_is_held() {
    let (mut session, now) = start();
    session.handshake_advice();
    let first = session.connect(now, &poll()).unwrap();
    assert_eq!((first.hold, first.advice), (None, None));
    let (ticket, until) = session.connect(now, &poll()).unwrap().hold.unwrap();
    assert_eq!(until, now + Duration::from_secs(20));
    assert_eq!(session.expires(), None);
    assert!(session.release(ticket, until));
    assert_eq!(session.expires(), Some(until + Duration::from_secs(10)));
    assert!(!session.release(ticket, until), "a ticket is good once");
}

#[test]
fn a_client_that_advises_is_advised_with_the_servers_values() {
    let (mut session, now) = start();
    session.handshake_advice();
    let advice = Some(ClientAdvice { timeout: Some(0), interval: None });
    let outcome = session.connect(now, &Connect { advice, ..poll() }).unwrap();
    assert_eq!(outcome.advice.unwrap().timeout, Some(20_000));
    let advice = Some(ClientAdvice { timeout: Some(500), interval: Some(3_000) });
    let outcome = session.connect(now, &Connect { advice, ..poll() }).unwrap();
    assert_eq!(outcome.hold.unwrap().1, now + Duration::from_millis(500));
    assert_eq!(outcome.advice.unwrap().interval, Some(3_000));
}

#[test]
fn another_transport_is_advised_again() {
    let now = Instant::now();
    let mut session = Session::new("c1".into(), Arc::default(), Carrier::WebSocket, now);
    session.handshake_advice();
    assert!(session.connect(now, &poll()).unwrap().advice.is_some());
    assert!(session.connect(now, &poll()).unwrap().advice.is_none());
}

#[test]
fn a_newer_connect_ends_the_older() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    let (first, _) = session.connect(now, &poll()).unwrap().hold.unwrap();
    let second = session.connect(now, &poll()).unwrap();
    assert_eq!(second.superseded, Some(first));
    assert!(!session.release(first, now), "the old ticket no longer answers");
    assert!(session.expires().is_none(), "the new one is held");
}

#[test]
fn a_message_ends_a_poll_but_leaves_a_websockets_connect_held() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    let (ticket, _) = session.connect(now, &poll()).unwrap().hold.unwrap();
    assert_eq!(session.push(message(1)), Push::Wake);
    assert_eq!(session.take_polling_hold(now), Some(ticket));
    assert!(session.pop(Carrier::LongPolling).is_some());

    let socket = Connect { carrier: Carrier::WebSocket, ..poll() };
    let (ticket, _) = session.connect(now, &socket).unwrap().hold.unwrap();
    assert_eq!(session.push(message(2)), Push::Wake);
    assert_eq!(session.take_polling_hold(now), None);
    assert!(session.release(ticket, now));
}

#[test]
fn a_poll_is_not_held_when_messages_wait_nor_in_company_nor_in_a_crowd() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    assert!(session.connect(now, &Connect { alone: false, ..poll() }).unwrap().hold.is_none());
    let batch = session.connect(now, &Connect { crowded: true, alone: false, ..poll() }).unwrap();
    assert!(batch.hold.is_none() && batch.advice.is_none(), "a batch would not be held anyway");
    let crowded = session.connect(now, &Connect { crowded: true, ..poll() }).unwrap();
    assert!(crowded.hold.is_none() && crowded.advice.unwrap().multiple_clients);
    let alone = session.connect(now, &poll()).unwrap();
    assert!(alone.hold.is_some() && alone.advice.is_none(), "CometD does not take its advice back");
    session.push(message(1));
    assert!(session.connect(now, &poll()).unwrap().hold.is_none());
}

#[test]
fn an_interval_that_a_client_asks_for_is_bounded() {
    let (mut session, now) = start();
    let advice = Some(ClientAdvice { timeout: None, interval: Some(1 << 50) });
    session.connect(now, &Connect { advice, ..poll() }).unwrap();
    assert_eq!(session.expires(), Some(now + Duration::from_secs(310)));
}

#[test]
fn a_batch_holds_wakes_back() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    let (ticket, _) = session.connect(now, &poll()).unwrap().hold.unwrap();
    session.start_batch();
    assert_eq!(session.push(message(1)), Push::Waits);
    assert_eq!(session.take_polling_hold(now), None);
    assert!(session.end_batch());
    assert_eq!(session.take_polling_hold(now), Some(ticket));
}

#[test]
fn expiry_counts_from_the_reply_and_any_message_gives_time_again() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    let later = now + Duration::from_secs(3);
    session.replied(later);
    assert_eq!(session.expires(), Some(later + Duration::from_secs(10)));
    let touched = later + Duration::from_secs(9);
    session.touch(touched, Carrier::LongPolling);
    assert_eq!(session.expires(), Some(touched + Duration::from_secs(10)));
}

#[test]
fn after_its_end_a_session_is_unknown_and_takes_nothing() {
    let (mut session, now) = start();
    session.subscribe(&ChannelName::parse(&"/a".into()).unwrap()).unwrap();
    assert_eq!(session.end(EndReason::Expired).unwrap().len(), 1);
    assert_eq!(session.end(EndReason::Expired), None);
    assert_eq!(session.push(message(1)), Push::Gone);
    let refusal = session.connect(now, &poll()).unwrap_err();
    assert_eq!(refusal.error, "402::session_unknown");
    assert_eq!(refusal.advice.unwrap().reconnect, Reconnect::Handshake);
}

#[test]
fn a_full_queue_asks_for_the_sessions_end() {
    let now = Instant::now();
    let queue = QueueLimits { max_messages: 2, max_bytes: 1 << 20, overflow: Overflow::Disconnect };
    let mut session = bounded(queue, now);
    assert_eq!(session.push(message(1)), Push::Wake);
    assert_eq!(session.push(message(2)), Push::Wake);
    assert_eq!(session.push(message(3)), Push::Overflow);
}

#[test]
fn what_was_dropped_is_counted_and_told_once() {
    let now = Instant::now();
    let queue = QueueLimits { max_messages: 2, max_bytes: 1 << 20, overflow: Overflow::DropOldest };
    let mut session = bounded(queue, now);
    session.connect(now, &poll()).unwrap();
    (0..5).for_each(|n| assert_eq!(session.push(message(n)), Push::Wake));
    assert_eq!((session.take_untold(), session.take_untold()), (3, 0));
    assert_eq!((session.take_dropped(), session.take_dropped()), (3, 0));
    assert_eq!(session.pop(Carrier::LongPolling).unwrap().json(), message(3).json());
}

#[test]
fn unacknowledged_messages_come_again_and_acknowledged_ones_never() {
    let (mut session, now) = start();
    session.acknowledge();
    let connect = |ack| Connect { ack: Some(ack), carrier: Carrier::WebSocket, ..poll() };
    session.connect(now, &connect(0)).unwrap();
    assert_eq!(session.take_for_connect().1, Some(1));
    let (ticket, _) = session.connect(now, &connect(1)).unwrap().hold.unwrap();
    session.push(message(1));
    session.push(message(2));
    assert_eq!(
        session.pop(Carrier::LongPolling).map(|d| d.json().clone()),
        None,
        "only a connect's reply may carry them"
    );
    assert_eq!(session.take_polling_hold(now), Some(ticket), "also on a WebSocket");
    let (sent, batch) = session.take_for_connect();
    assert_eq!((sent.len(), batch), (2, Some(2)));
    session.push(message(3));
    // The reply was lost: the client repeats its number.
    assert!(session.connect(now, &connect(1)).unwrap().hold.is_none());
    let (again, batch) = session.take_for_connect();
    assert_eq!((again.len(), batch), (3, Some(3)));
    assert_eq!(again[0].json(), message(1).json());
    assert!(session.connect(now, &connect(3)).unwrap().hold.is_some());
    assert_eq!(session.waiting().0, 0);
}

#[test]
fn each_transport_has_its_own_options_and_a_session_those_of_what_carries_it() {
    let now = Instant::now();
    let secs = Duration::from_secs;
    let mut options = SessionOptions::default();
    options.websocket = Options { timeout: secs(60), interval: secs(1), max_interval: secs(90), ..options.websocket };
    options.long_polling.handshake_reconnect = true;
    let mut session = Session::new("c".into(), Arc::new(options), Carrier::WebSocket, now);
    let advice = session.handshake_advice();
    assert_eq!((advice.timeout, advice.interval, advice.max_interval), (Some(60_000), Some(1_000), None));
    assert_eq!(session.expires(), Some(now + secs(91)));
    let advice = session.connect(now, &poll()).unwrap().advice.unwrap();
    assert_eq!((advice.timeout, advice.interval, advice.max_interval), (Some(20_000), Some(0), Some(10_000)));
    assert_eq!(session.connect(now, &poll()).unwrap().hold.unwrap().1, now + secs(20));
    session.touch(now, Carrier::WebSocket);
    let held = session.connect(now, &Connect { carrier: Carrier::WebSocket, ..poll() }).unwrap();
    assert_eq!(held.hold.unwrap().1, now + secs(60));
}

#[test]
fn a_client_that_holds_a_connect_and_says_nothing_more_is_ended_after_max_processing() {
    let now = Instant::now();
    let options = Options { max_processing: Some(Duration::from_secs(30)), ..Options::default() };
    let mut session = Session::new("c".into(), Arc::new(SessionOptions::same(options)), Carrier::LongPolling, now);
    session.connect(now, &poll()).unwrap();
    assert_eq!(session.expires(), Some(now + Duration::from_secs(10)), "it holds nothing yet");
    let (ticket, _) = session.connect(now, &poll()).unwrap().hold.unwrap();
    assert_eq!(session.expires(), Some(now + Duration::from_secs(30)));
    let later = now + Duration::from_secs(15);
    session.touch(later, Carrier::LongPolling);
    assert_eq!(session.expires(), Some(later + Duration::from_secs(30)));
    assert!(session.release(ticket, later));
    assert_eq!(session.expires(), Some(later + Duration::from_secs(10)));
}

fn lazy(n: u32, millis: u64) -> Arc<Delivery> {
    let parts = DeliveryParts { lazy: Some(Duration::from_millis(millis)), ..Default::default() };
    Arc::new(Delivery::new(format!("/lazy/{n}").into(), &parts))
}

fn channels(deliveries: &[Arc<Delivery>]) -> Vec<&str> {
    deliveries.iter().map(|delivery| &**delivery.channel()).collect()
}

#[test]
fn a_lazy_message_holds_no_connect_up_and_goes_with_the_next_that_is_not_lazy() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    assert_eq!(session.push(lazy(1, 0)), Push::Lazy(Duration::from_secs(5)), "max_lazy_timeout");
    assert!(session.lazy_until(now + Duration::from_secs(5), now));
    let (ticket, _) = session.connect(now, &poll()).unwrap().hold.expect("held, though a lazy one waits");
    assert_eq!(session.push(message(2)), Push::Wake);
    assert_eq!(session.take_polling_hold(now), Some(ticket));
    assert_eq!(channels(&session.take_for_connect().0), ["/lazy/1", "/a"], "in their order");
    assert_eq!(session.wake_lazy(now + Duration::from_secs(5)), Ok(false), "it is gone already");
}

#[test]
fn lazy_messages_go_by_themselves_at_the_earliest_of_their_times() {
    let (mut session, now) = start();
    let at = |millis| now + Duration::from_millis(millis);
    session.connect(now, &poll()).unwrap();
    let (ticket, _) = session.connect(now, &poll()).unwrap().hold.unwrap();
    assert_eq!(session.push(lazy(1, 900)), Push::Lazy(Duration::from_millis(900)), "the channel's own time");
    assert!(session.lazy_until(at(900), now));
    session.push(lazy(2, 400));
    assert!(session.lazy_until(at(500), at(100)), "earlier than the first");
    session.push(lazy(3, 800));
    assert!(!session.lazy_until(at(1_000), at(200)), "will go before anyway");
    assert_eq!(session.pop(Carrier::LongPolling), None);
    assert_eq!(session.wake_lazy(at(500)), Ok(true));
    assert_eq!(session.take_polling_hold(at(500)), Some(ticket));
    assert_eq!(session.take_for_connect().0.len(), 3);
    assert_eq!(session.wake_lazy(at(900)), Ok(false));
    session.push(lazy(4, 900));
    assert!(session.lazy_until(at(1_900), at(1_000)), "and the next wait anew");
}

#[test]
fn a_client_that_sends_something_gets_its_lazy_messages_with_the_reply() {
    let now = Instant::now();
    let mut session = Session::new("c".into(), Arc::default(), Carrier::WebSocket, now);
    session.connect(now, &Connect { carrier: Carrier::WebSocket, ..poll() }).unwrap();
    assert_eq!(session.pop(Carrier::WebSocket), None);
    session.push(lazy(1, 0));
    assert_eq!(session.pop(Carrier::WebSocket), None, "a socket that is written to for another reason");
    session.touch(now, Carrier::WebSocket);
    assert!(session.pop(Carrier::WebSocket).is_some() && session.pop(Carrier::WebSocket).is_none());
    session.push(lazy(2, 0));
    assert_eq!(session.pop(Carrier::WebSocket), None, "the next one is lazy again");
}

#[test]
fn with_acknowledgement_lazy_messages_wait_too_and_come_again_at_once() {
    let (mut session, now) = start();
    session.acknowledge();
    let connect = |ack| Connect { ack: Some(ack), ..poll() };
    session.connect(now, &connect(0)).unwrap();
    assert_eq!(session.take_for_connect().1, Some(1));
    session.push(lazy(1, 0));
    let held = session.connect(now, &connect(1)).unwrap().hold.unwrap().0;
    assert!(session.release(held, now));
    assert_eq!(session.take_for_connect(), (vec![lazy(1, 0)], Some(2)));
    assert!(session.connect(now, &connect(1)).unwrap().hold.is_none(), "batch 2 was lost");
}

#[test]
fn where_only_connects_deliver_nothing_goes_with_other_replies() {
    let now = Instant::now();
    let options = Options { meta_connect_deliver_only: true, ..Options::default() };
    let mut session = Session::new("c".into(), Arc::new(SessionOptions::same(options)), Carrier::WebSocket, now);
    let socket = Connect { carrier: Carrier::WebSocket, ..poll() };
    session.connect(now, &socket).unwrap();
    let (ticket, _) = session.connect(now, &socket).unwrap().hold.unwrap();
    session.touch(now, Carrier::WebSocket);
    assert_eq!(session.push(message(1)), Push::Wake);
    assert_eq!(session.pop(Carrier::WebSocket), None);
    assert_eq!(session.take_polling_hold(now), Some(ticket), "a connect is answered to carry it");
    assert_eq!(session.take_for_connect().0, [message(1)]);
    session.push(message(2));
    assert!(session.connect(now, &socket).unwrap().hold.is_none());
}

#[test]
fn what_waits_for_a_new_session_stays_until_its_client_says_something_unless_the_handshake_may_deliver() {
    let now = Instant::now();
    let new = |allowed| {
        let options = Options { allow_message_delivery_during_handshake: allowed, ..Options::default() };
        let mut session = Session::new("c".into(), Arc::new(SessionOptions::same(options)), Carrier::WebSocket, now);
        session.push(message(1));
        session
    };
    let mut session = new(false);
    assert_eq!((session.take_for_handshake(), session.pop(Carrier::WebSocket)), (None, None));
    session.touch(now, Carrier::WebSocket);
    assert_eq!(session.pop(Carrier::WebSocket), Some(message(1)));
    assert_eq!(new(true).take_for_handshake(), Some((vec![message(1)], None)));
    let mut acknowledging = new(true);
    acknowledging.acknowledge();
    assert_eq!(acknowledging.take_for_handshake(), Some((vec![message(1)], Some(1))));
    assert_eq!(acknowledging.waiting().0, 1, "until it is acknowledged");
}

#[test]
fn a_session_that_only_connects_is_inactive() {
    let now = Instant::now();
    let minutes = |n: u64| now + Duration::from_secs(60 * n);
    let new = |client_server| {
        let activity = Some(Activity { max_inactivity: Duration::from_secs(300), client_server });
        let options = SessionOptions { activity, ..SessionOptions::default() };
        Session::new("c".into(), Arc::new(options), Carrier::LongPolling, now)
    };
    let mut session = new(false);
    session.connect(minutes(3), &poll()).unwrap();
    assert!(!session.inactive(minutes(5)) && session.inactive(minutes(6)), "a connect is no activity");
    session.touch(minutes(6), Carrier::LongPolling);
    assert!(!session.inactive(minutes(10)) && !session.counts_sends());
    let mut session = new(true);
    assert!(session.counts_sends());
    session.active(minutes(4));
    assert!(!session.inactive(minutes(9)) && session.inactive(minutes(10)));
}

#[test]
fn a_session_that_the_server_disconnects_is_told_so_behind_what_waits_for_it() {
    let (mut session, now) = start();
    session.connect(now, &poll()).unwrap();
    session.push(message(1));
    session.end(EndReason::Server);
    assert!(session.ended() && session.disconnected());
    assert_eq!(channels(&session.take_for_connect().0), ["/a", "/meta/disconnect"]);
    let (mut expired, _) = start();
    expired.end(EndReason::Expired);
    assert!(expired.ended() && !expired.disconnected());
}

#[test]
fn the_names_that_a_session_is_subscribed_to_are_bounded_in_bytes_too() {
    let (mut session, _) = start();
    let long = |n: usize| ChannelName::parse(&format!("/{n}/{}", "x".repeat(60_000)).into()).unwrap();
    let taken = (0..200).take_while(|n| session.subscribe(&long(*n)).is_ok()).count();
    assert!((60..=70).contains(&taken), "{taken} names of 60 KB");
    let usual = ChannelName::parse(&"/usual".into()).unwrap();
    assert_eq!(session.subscribe(&usual), Ok(true), "a usual one has room");
    assert_eq!(session.subscribe(&long(0)), Ok(false), "and what is there is there");
}
