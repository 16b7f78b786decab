//! The laws of a session, whatever happens in whatever order: two or three connections of one client (WebSockets and
//! polls), batches, acknowledgements, cuts, timeouts.
//!
//! - Every request is answered once, superseded, or lost with its connection.
//! - At most one connect is held. Its ticket ends it once; an old one ends nothing.
//! - A session never expires while a connect is held, and always can while none is.
//! - With acknowledgement, the client gets every message once and in order, whatever is cut off.
//! - Without, what was taken and not sent goes out again, in its place: nothing is lost but what a broken connection had
//!   already been given, and nothing comes twice.
//! - The queue keeps its bounds; what it drops is counted.
//!
//! [`model`] says what the session should be, [`driver`] and [`transport`] are the server in short, [`client`] the other
//! end.

use super::*;
use crate::delivery::DeliveryParts;
use crate::queue::{Overflow, QueueLimits};
use client::Ack;
use driver::World;
use proptest::prelude::*;
use std::collections::VecDeque;

mod client;
mod driver;
mod model;
mod transport;

/// All that is set of a session: for each transport something else, but for the queue.
fn options(overflow: Overflow, max_messages: usize, max_bytes: usize) -> SessionOptions {
    let queue = QueueLimits { max_messages, max_bytes, overflow };
    let of = |timeout, interval, max_interval| Options {
        timeout: Duration::from_secs(timeout),
        interval: Duration::from_millis(interval),
        max_interval: Duration::from_secs(max_interval),
        queue,
        ..Options::default()
    };
    SessionOptions {
        websocket: of(20, 500, 10),
        long_polling: of(15, 0, 12),
        callback_polling: of(25, 1_000, 8),
        ..SessionOptions::default()
    }
}

fn channel(n: u8) -> ChannelName {
    ChannelName::parse(&format!("/c/{n}").into()).unwrap()
}

/// A message that carries its number; every third is large.
fn message(channel: &ChannelName, n: u32) -> Arc<Delivery> {
    let data = format!("{n}{}", " ".repeat(if n.is_multiple_of(3) { 300 } else { 0 }));
    let parts = DeliveryParts { data: data.as_bytes(), ..Default::default() };
    Arc::new(Delivery::new(channel.as_bytestring().clone(), &parts))
}

fn number(delivery: &Delivery) -> u32 {
    let json = std::str::from_utf8(delivery.json()).unwrap();
    let (_, data) = json.rsplit_once(':').unwrap();
    data.trim_end_matches(['}', ' ']).parse().unwrap_or(u32::MAX) // the last of all: that it has ended
}

#[derive(Debug, Clone)]
enum Step {
    Connect { slot: usize, ack: Ack, alone: bool, crowded: bool, advice: Option<ClientAdvice> },
    Send { slot: usize, waits: bool },
    Push { channel: u8 },
    Subscribe { channel: u8, wanted: bool },
    Run { slot: usize },
    Write { slot: usize, count: usize },
    Arrive { slot: usize, count: usize },
    Cut { slot: usize },
    Close { slot: usize },
    Pass { millis: u64 },
    Expire,
    Wake,
    OldTicket { nth: usize },
    End { reason: EndReason },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = || 0usize..3;
    let ack = prop_oneof![6 => Just(Ack::Right), 1 => (1usize..4).prop_map(Ack::Old), 1 => Just(Ack::None)];
    let timeout = prop_oneof![Just(None), Just(Some(0)), Just(Some(3_000))];
    let interval = prop_oneof![3 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(2_000))];
    let advice = prop_oneof![
        2 => Just(None),
        1 => (timeout, interval).prop_map(|(timeout, interval)| Some(ClientAdvice { timeout, interval }))
    ];
    let connect = (slot(), ack, prop::bool::weighted(0.8), prop::bool::weighted(0.1), advice);
    let reason = prop_oneof![Just(EndReason::Disconnected), Just(EndReason::Server)];
    let step = prop_oneof![
        12 => connect.prop_map(|(slot, ack, alone, crowded, advice)| Step::Connect { slot, ack, alone, crowded, advice }),
        4 => (slot(), any::<bool>()).prop_map(|(slot, waits)| Step::Send { slot, waits }),
        16 => (0u8..3).prop_map(|channel| Step::Push { channel }),
        2 => (0u8..3, any::<bool>()).prop_map(|(channel, wanted)| Step::Subscribe { channel, wanted }),
        14 => slot().prop_map(|slot| Step::Run { slot }),
        8 => (slot(), 0usize..6).prop_map(|(slot, count)| Step::Write { slot, count }),
        10 => (slot(), 0usize..6).prop_map(|(slot, count)| Step::Arrive { slot, count }),
        2 => slot().prop_map(|slot| Step::Cut { slot }),
        3 => slot().prop_map(|slot| Step::Close { slot }),
        4 => prop_oneof![0u64..10, Just(3_000), Just(9_000), Just(20_000)].prop_map(|millis| Step::Pass { millis }),
        1 => Just(Step::Expire),
        5 => Just(Step::Wake),
        2 => any::<usize>().prop_map(|nth| Step::OldTicket { nth }),
        1 => prop::option::weighted(0.2, reason).prop_map(|r| r.map_or(Step::Pass { millis: 1 }, |reason| Step::End { reason })),
    ];
    prop::collection::vec(step, 0..120)
}

fn carriers() -> impl Strategy<Value = Vec<Carrier>> {
    let carrier = prop_oneof![2 => Just(Carrier::WebSocket), 2 => Just(Carrier::LongPolling), 1 => Just(Carrier::CallbackPolling)];
    prop::collection::vec(carrier, 2..=3)
}

fn queue() -> impl Strategy<Value = (Overflow, usize, usize)> {
    let overflow = prop_oneof![1 => Just(Overflow::Disconnect), 2 => Just(Overflow::DropOldest)];
    (overflow, prop_oneof![3 => Just(1_000), 1 => 1usize..8], prop_oneof![3 => Just(1 << 20), 1 => 500usize..3_000])
}

fn take(world: &mut World, step: Step) {
    let slots = world.slots().len();
    match step {
        Step::Connect { slot, ack, alone, crowded, advice } => {
            // Which connection it comes by, and which number the client has seen, the world says.
            let connect = Connect { carrier: Carrier::LongPolling, alone, crowded, advice, ack: None };
            world.connect(slot % slots, ack, connect);
        }
        Step::Send { slot, waits } => world.send(slot % slots, waits),
        Step::Push { channel: n } => world.push(&channel(n)),
        Step::Subscribe { channel: n, wanted } => world.session.subscribe(&channel(n), wanted),
        Step::Run { slot } => world.run(slot % slots),
        Step::Write { slot, count } => world.write(slot % slots, count),
        Step::Arrive { slot, count } => world.arrive(slot % slots, count),
        Step::Cut { slot } => world.cut(slot % slots),
        Step::Close { slot } => world.close(slot % slots),
        Step::Pass { millis } => world.pass(Duration::from_millis(millis)),
        Step::Expire => world.expire(),
        Step::Wake => world.wake(),
        Step::OldTicket { nth } => world.old_ticket(nth),
        Step::End { reason } => world.end(reason),
    }
    world.one_is_held();
}

/// The client comes by its first connection until nothing waits any more.
fn finish(world: &mut World) {
    world.pass(Duration::from_secs(60));
    world.settle();
    for _ in 0..3 {
        let advice = Some(ClientAdvice { timeout: Some(0), interval: None });
        let connect = Connect { carrier: Carrier::LongPolling, alone: true, crowded: false, advice, ack: None };
        world.connect(0, Ack::Right, connect);
        world.one_is_held();
        world.settle();
    }
    assert_eq!(world.client.asked, [], "every request has its outcome");
}

proptest! {
    #[test]
    fn the_laws_hold_whatever_happens(
        carriers in carriers(), acknowledges: bool, one_by_one: bool, (overflow, messages, bytes) in queue(), steps in steps()
    ) {
        let mut world = World::new(options(overflow, messages, bytes), acknowledges, &carriers, Instant::now());
        world.one_by_one = one_by_one;
        (0..2).for_each(|n| world.session.subscribe(&channel(n), true));
        for step in steps {
            take(&mut world, step);
        }
        finish(&mut world);

        let got = world.client.messages();
        if acknowledges || one_by_one {
            prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice: {got:?}");
        }
        let mut accounted = [got, std::mem::take(&mut world.client.lost)].concat();
        if acknowledges {
            // What was lost came again, what was dropped may have come before.
            accounted = world.client.messages();
            let missing = world.all.iter().filter(|n| !accounted.contains(n) && !world.session.dropped.contains(n));
            prop_assert!(world.session.ended || missing.count() == 0, "{accounted:?} of {:?}", world.all);
        } else if !world.session.ended {
            accounted.extend(&world.session.dropped);
            accounted.sort_unstable();
            prop_assert_eq!(&accounted, &world.all, "each sent once or dropped");
        }
        accounted.sort_unstable();
        prop_assert!(accounted.windows(2).all(|pair| pair[0] < pair[1]), "none twice: {accounted:?}");
        prop_assert!(world.session.ended || world.session.numbers().is_empty(), "all went out");
    }
}
