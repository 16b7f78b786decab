//! When a reader looks at the stream besides reading it: each look is a question to the server.

use super::progress::Progress;
use std::time::{Duration, Instant};

/// How often a reader looks, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether the stream may be emptied faster than it is read.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// The sink was full since the last look.
    pub full: bool,
    /// When it was looked whether something is missed, and nothing was.
    pub looked: Option<Instant>,
    /// That something is missed was logged.
    pub told: bool,
}

impl Lag {
    /// Whether a look is due. Each is a question to the server.
    pub(super) fn suspicious(&self) -> bool {
        self.full && self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }
}

/// What is known of the stream's end, by one consumer.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// It was reached, and looked at.
    pub seen: bool,
    pub looked: Option<Instant>,
}

impl Tail {
    /// Whether a look is due. Messages that came and were not for this reader are told of at the same pace.
    pub(super) fn due(&self, progress: &Progress) -> bool {
        (!self.seen || progress.told < progress.passed) && self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }
}
