use super::*;
use crate::replay::ring::Limits;
use connector::{Log, Seen};
use proptest::prelude::*;
use std::collections::VecDeque;

/// A message of the model: its log, its number there, and for whom it is.
type Message = (i32, u64, u8);

fn place(log: i32, n: u64) -> Place {
    Place { log: Log { topic: "t".into(), partition: log }, n, at: None, sole: false }
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    /// A record is stored in that log, for that kind of reader; or a marker, which is no record.
    Store { log: i32, kind: u8, marker: bool },
    /// The feed reads on.
    Feed,
    /// The log is read on, for the reader who catches up; as far as it has room.
    Scan,
    /// The reader tries to join.
    Join,
    /// The reader's queue is emptied.
    Drain,
    /// The reader's connection is lost and it comes back with the position it had last.
    Return,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3i32, 0..2u8, prop::bool::weighted(0.1)).prop_map(|(log, kind, marker)| Step::Store { log, kind, marker }),
        4 => Just(Step::Feed),
        4 => Just(Step::Scan),
        3 => Just(Step::Join),
        3 => Just(Step::Drain),
        1 => Just(Step::Return),
    ];
    prop::collection::vec(step, 0..400)
}

/// A broker's log of three partitions, a feed with its ring, a scan, and one reader, each as far as it happens to be.
struct World {
    /// All that is stored, in the order it was stored; `None` for a marker.
    stored: Vec<(Place, Option<Message>)>,
    feed_at: usize,
    ring: Ring<Message>,
    scan_at: usize,
    reader: CatchUp,
    live: bool,
    queue: VecDeque<(Place, Message)>,
    room: usize,
    /// What the reader was given and its queue was emptied of: what the client has.
    got: Vec<Message>,
    /// The client's own position: all that it has.
    client: Cursor,
}

const MINE: u8 = 1;

impl World {
    fn new(stored: usize, ring: usize, room: usize) -> Self {
        let mut world = World {
            stored: Vec::new(),
            feed_at: 0,
            ring: Ring::new(Limits { messages: ring, bytes: usize::MAX }, Cursor::default()),
            scan_at: 0,
            reader: CatchUp::new(Cursor::default()),
            live: false,
            queue: VecDeque::new(),
            room,
            got: Vec::new(),
            client: Cursor::default(),
        };
        for n in 0..stored {
            world.store((n % 3) as i32, MINE, false);
        }
        // The feed began behind what was stored before.
        let begins = (0..3).map(|log| (place(log, 0).log, Seen { n: world.last(log), at: None })).collect();
        world.ring = Ring::new(Limits { messages: ring, bytes: usize::MAX }, begins);
        world.feed_at = world.stored.len();
        world
    }

    fn last(&self, log: i32) -> u64 {
        self.stored.iter().filter(|(place, _)| place.log.partition == log).map(|(place, _)| place.n).max().unwrap_or(0)
    }

    fn store(&mut self, log: i32, kind: u8, marker: bool) {
        let n = self.last(log) + 1;
        self.stored.push((place(log, n), (!marker).then_some((log, n, kind))));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Store { log, kind, marker } => self.store(log, kind, marker),
            Step::Feed => {
                let Some((place, message)) = self.stored.get(self.feed_at).cloned() else { return };
                self.feed_at += 1;
                let Some(message) = message else { return self.ring.reached(&place) };
                // Slow readers are not the matter here: a live one has room.
                if self.live && message.2 == MINE {
                    self.queue.push_back((place.clone(), message));
                }
                assert!(self.ring.push(place, message, 1));
            }
            Step::Scan => {
                while !self.live && self.queue.len() < self.room {
                    let Some((place, message)) = self.stored.get(self.scan_at).cloned() else { return };
                    self.scan_at += 1;
                    if self.reader.take(&place)
                        && let Some(message) = message.filter(|message| message.2 == MINE)
                    {
                        self.queue.push_back((place, message));
                        return;
                    }
                }
            }
            Step::Join => {
                if !self.live {
                    let (queue, room) = (&mut self.queue, self.room);
                    let joined = self.reader.join(&self.ring, |_, message| {
                        let full = queue.len() >= room;
                        if !full && message.2 == MINE {
                            queue.push_back((place(message.0, message.1), *message));
                        }
                        !full
                    });
                    self.live = joined == Join::Live;
                }
            }
            Step::Drain => self.drain(),
            Step::Return => {
                // What was on its way is lost with the connection; the client asks for what is behind its position.
                self.queue.clear();
                self.live = false;
                self.reader = CatchUp::new(self.client.clone());
                self.scan_at = 0;
            }
        }
    }

    fn drain(&mut self) {
        for (place, message) in self.queue.drain(..) {
            self.client.advance(&place);
            self.got.push(message);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The seam: whoever catches up, joins, is live, loses its connection and comes back, in whatever order these happen,
    /// gets each message once, in the order of each log.
    #[test]
    fn catching_up_joins_live_without_gap_double_or_disorder(
        stored in 0usize..40, ring in 1usize..30, room in 1usize..8, steps in steps()
    ) {
        let mut world = World::new(stored, ring, room);
        for step in &steps {
            world.step(step);
        }
        // Given time, it gets there.
        while world.feed_at < world.stored.len() {
            world.step(&Step::Feed);
        }
        for _ in 0..=2 * world.stored.len() {
            world.step(&Step::Drain);
            world.step(&Step::Join);
            world.step(&Step::Scan);
        }
        world.step(&Step::Join);
        world.drain();
        prop_assert!(world.live, "it never joined");
        for log in 0..3 {
            let expected: Vec<_> = world.stored.iter().filter_map(|(_, message)| *message)
                .filter(|message| message.0 == log && message.2 == MINE).collect();
            let got: Vec<_> = world.got.iter().copied().filter(|message| message.0 == log).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_ring_keeps_its_bounds_and_gives_what_is_behind_a_cursor(
        places in prop::collection::vec(0..3i32, 0..60), limit in 1usize..20, from in prop::collection::vec(0u64..30, 3)
    ) {
        let mut ring = Ring::new(Limits { messages: limit, bytes: 3 * limit }, Cursor::default());
        let mut all = Vec::new();
        let mut last = [0u64; 3];
        for log in places {
            last[log as usize] += 1;
            let n = last[log as usize];
            prop_assert!(ring.push(place(log, n), (log, n, 0u8), 2));
            all.push((log, n, 0u8));
        }
        let kept: Vec<_> = ring.after(&Cursor::default()).map(|entry| entry.item).collect();
        prop_assert!(kept.len() <= limit && 2 * kept.len() <= 3 * limit);
        prop_assert!(all.ends_with(&kept));
        let from: Cursor = (0..3).map(|log| (place(log, 0).log, Seen { n: from[log as usize], at: None })).collect();
        let given: Vec<_> = ring.after(&from).map(|entry| entry.item).collect();
        let behind = |message: &&Message| !from.covers(&place(message.0, message.1));
        let expected: Vec<_> = kept.iter().filter(behind).copied().collect();
        prop_assert_eq!(&given, &expected);
        if ring.joins(&from) {
            let complete: Vec<_> = all.iter().filter(behind).copied().collect();
            prop_assert_eq!(given, complete, "who may join misses nothing");
        }
    }
}

#[test]
fn who_is_ahead_of_the_feed_waits_for_it() {
    let mut ring = Ring::new(Limits { messages: 10, bytes: 1000 }, Cursor::default());
    assert!(ring.push(place(0, 1), (0, 1, 0u8), 1));
    assert!(!ring.push(place(0, 1), (0, 1, 0u8), 1), "a record that was read before is not kept again");
    let mut ahead = CatchUp::new(Cursor::from(place(0, 2)));
    assert_eq!(ahead.join(&ring, |_, _| true), Join::Behind);
    assert!(ring.push(place(0, 2), (0, 2, 0u8), 1));
    assert_eq!(ahead.join(&ring, |_, _| panic!("it has all of it")), Join::Live);
}
