//! Conflation: of many messages that say the same anew, such as prices, only the latest goes out, and not more often than
//! subscribers can use (`deliver: { conflate_by, every }`).

use crate::egress::Message;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many different things may wait: when there are more, all go out at once.
const MAX_WAITING: usize = 10_000;

/// Messages that wait for their time, the latest of each kind.
#[derive(Debug)]
pub(crate) struct Conflated<K, T> {
    every: Duration,
    /// In the order in which they came; one that a later one has replaced is gone.
    waiting: Vec<Option<T>>,
    place: HashMap<K, usize>,
    due: Option<Instant>,
    /// How many were replaced since this was asked last.
    replaced: u64,
}

/// What a message is about: the channel, and by the mapping's pointer a part of its data.
pub(crate) type About = (ChannelName, Option<String>);

impl<K: Eq + Hash, T> Conflated<K, T> {
    /// With that time between deliveries.
    pub(crate) fn new(every: Duration) -> Self {
        Conflated { every, waiting: Vec::new(), place: HashMap::new(), due: None, replaced: 0 }
    }

    /// A message waits, in the place of an earlier one about the same: true when it is time to let all go.
    pub(crate) fn put(&mut self, about: K, message: T, now: Instant) -> bool {
        self.due.get_or_insert(now + self.every);
        if let Some(before) = self.place.insert(about, self.waiting.len()) {
            // It goes to the end, so that what came between is not overtaken.
            self.waiting[before] = None;
            self.replaced += 1;
        }
        self.waiting.push(Some(message));
        if self.waiting.len() > 2 * self.place.len() + 64 {
            self.pack();
        }
        self.place.len() >= MAX_WAITING
    }

    /// Gives back the room of what was replaced.
    fn pack(&mut self) {
        let mut moved = vec![usize::MAX; self.waiting.len()];
        let mut next = 0;
        for (at, message) in self.waiting.iter().enumerate() {
            if message.is_some() {
                moved[at] = next;
                next += 1;
            }
        }
        self.waiting.retain(Option::is_some);
        self.place.values_mut().for_each(|at| *at = moved[*at]);
    }

    /// When those that wait are to go, if any do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Those that wait, in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<K, T> {
        self.due = None;
        self.place.clear();
        std::mem::take(&mut self.waiting).into_iter().flatten()
    }

    /// How many were replaced by a later one since the last call.
    pub(crate) fn take_replaced(&mut self) -> u64 {
        std::mem::take(&mut self.replaced)
    }
}

/// What a message is about. `by`: a JSON pointer into its data; where there is nothing, the channel alone says it.
pub(crate) fn about(message: &Message, by: Option<&str>) -> About {
    let part = by.and_then(|pointer| data(&message.delivery)?.pointer(pointer).map(ToString::to_string));
    (message.channel.clone(), part)
}

fn data(delivery: &Delivery) -> Option<serde_json::Value> {
    serde_json::from_slice(delivery.message().data.as_ref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_latest_of_each_goes_out_and_later_ones_go_later(
            steps in prop::collection::vec((0u8..12, prop::bool::weighted(0.02)), 0..400)
        ) {
            let now = Instant::now();
            let mut conflated = Conflated::new(Duration::from_millis(250));
            let mut model: Vec<(u8, usize)> = Vec::new();
            let (mut put, mut out, mut replaced) = (0, 0, 0);
            for (n, (about, goes)) in steps.into_iter().enumerate() {
                prop_assert!(!conflated.put(about, n, now));
                put += 1;
                model.retain(|(other, _)| *other != about);
                model.push((about, n));
                prop_assert_eq!(conflated.due(), Some(now + Duration::from_millis(250)));
                replaced += conflated.take_replaced();
                if goes {
                    let taken: Vec<_> = conflated.take().collect();
                    out += taken.len() as u64;
                    prop_assert_eq!(taken, model.drain(..).map(|(_, n)| n).collect::<Vec<_>>());
                    prop_assert_eq!(conflated.due(), None);
                }
                prop_assert!(conflated.waiting.len() <= 2 * 12 + 65, "what is replaced takes no room for long");
            }
            prop_assert_eq!(put, out + replaced + model.len() as u64, "each went out, was replaced, or waits");
        }
    }

    #[test]
    fn when_too_many_wait_all_go() {
        let mut conflated = Conflated::new(Duration::from_secs(1));
        let now = Instant::now();
        assert!((0..MAX_WAITING - 1).all(|n| !conflated.put(n, n, now)));
        assert!(conflated.put(MAX_WAITING, 0, now));
    }
}
