//! Latencies by the million, in little memory.

/// Steps within one doubling: a quantile is exact to 3 %.
const STEPS: usize = 32;

/// Counts of microseconds.
#[derive(Debug, Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { counts: vec![0; STEPS * 40], total: 0 }
    }
}

impl Latencies {
    /// One more.
    pub fn add(&mut self, micros: u64) {
        let at = slot(micros).min(self.counts.len() - 1);
        self.counts[at] += 1;
        self.total += 1;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The time within which that share of all came, in milliseconds; `None` of nothing.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let mut left = (share * self.total as f64).ceil().max(1.0) as u64;
        for (slot, count) in self.counts.iter().enumerate() {
            if *count >= left {
                return Some(upper(slot) as f64 / 1_000.0);
            }
            left -= count;
        }
        None
    }
}

fn slot(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() as usize - STEPS.ilog2() as usize;
    (doubling + 1) * STEPS + ((micros >> doubling) as usize - STEPS)
}

fn upper(slot: usize) -> u64 {
    if slot < STEPS {
        return slot as u64;
    }
    let doubling = slot / STEPS - 1;
    (((slot % STEPS + STEPS) as u64 + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_three_percent_of_its_slot() {
        for value in (0..100_000).chain([1_000_000, 60_000_000]) {
            let upper = upper(slot(value));
            assert!(upper >= value && upper as f64 <= value as f64 * 1.032 + 1.0, "{value} in a slot up to {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut latencies = Latencies::default();
        (1..=100).for_each(|ms| latencies.add(ms * 1_000));
        let median = latencies.quantile(0.5).expect("there are some");
        assert!((50.0..52.0).contains(&median), "{median}");
    }
}
