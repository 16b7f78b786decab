//! How far a reader has come in its stream, and where it goes on when the stream is not what it was.

use crate::api::{Origin, StreamInfo};
use crate::position;
use connector::{Log, Place};
use std::collections::VecDeque;

/// How many streams that are gone are remembered, the latest.
const REMEMBERED: usize = 256;

/// How far a stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// Which stream of that name is being read.
    pub created: String,
    /// Where to go on.
    pub from: Origin,
    /// Older messages are skipped (nanoseconds since 1970 UTC).
    pub not_before: Option<i128>,
    /// The last message: its sequence and time.
    pub last: Option<(u64, i64)>,
    /// Up to here nothing is left to be read. Ahead of `last` where the messages between are not for this reader.
    pub passed: Option<u64>,
    /// A message's sequence, and its time in milliseconds, when the stream itself told the two.
    pub newest: Option<(u64, i64)>,
    /// The place that was told last, be it a record's.
    pub told: Option<u64>,
}

impl Progress {
    /// Nothing was read yet.
    pub(super) fn new(created: String, from: Origin, not_before: Option<i128>) -> Self {
        Progress { created, from, not_before, last: None, passed: None, newest: None, told: None }
    }

    /// The beginning of a stream.
    pub(super) fn beginning(created: String) -> Self {
        Progress::new(created, Origin::First, None)
    }

    /// The server gives messages from that sequence on.
    pub(super) fn start(&mut self, next: u64) {
        self.from = Origin::Sequence(next);
        self.reach(next.saturating_sub(1));
    }

    /// Nothing is left to be read up to that sequence.
    pub(super) fn reach(&mut self, sequence: u64) {
        self.passed = Some(self.passed.map_or(sequence, |passed| passed.max(sequence)));
    }

    /// The place to tell, where more has passed than was told.
    pub(super) fn untold(&self, log: &Log) -> Option<Place> {
        let n = self.passed.filter(|passed| self.told.is_none_or(|told| told < *passed))?;
        let read = self.last.map(|(sequence, time)| (sequence, time / 1_000_000));
        let at = [read, self.newest].into_iter().flatten().find(|(sequence, _)| *sequence == n);
        Some(position::place(log, n, at.map(|(_, at)| at)))
    }

    /// Whether messages lie between.
    pub(super) fn jumps_to(&self, sequence: u64) -> bool {
        self.passed.is_some_and(|passed| sequence > passed + 1)
    }

    /// How many messages before `next` were removed from the stream before they were read; at most, since some may not
    /// have been for this reader. They are done with.
    pub(super) fn overtaken(&mut self, first_seq: u64, next: u64) -> u64 {
        let Some(passed) = self.passed else { return 0 };
        let missed = first_seq.min(next).saturating_sub(passed + 1);
        self.reach(passed + missed);
        missed
    }

    /// It was given out, or passed over.
    pub(super) fn knows(&self, sequence: u64) -> bool {
        self.last.is_some_and(|(last, _)| sequence <= last)
    }

    pub(super) fn too_old(&self, time: i64) -> bool {
        self.not_before.is_some_and(|start| i128::from(time) < start)
    }

    /// That message is done with.
    pub(super) fn pass(&mut self, sequence: u64, time: i64) {
        self.last = Some((sequence, time));
        self.from = Origin::Sequence(sequence + 1);
        self.reach(sequence);
    }

    /// Where to go on, given what the stream is now. Returns how many messages were removed unread; see
    /// [`Progress::overtaken`].
    ///
    /// A server that crashes may lose the end of a stream, and gives its sequences to other messages afterwards. Only
    /// the time tells those from the ones that were read. `replaced` says that it has given the last one already.
    pub(super) fn follow(&mut self, info: &StreamInfo, replaced: bool) -> u64 {
        if self.created != info.created {
            *self = Progress::beginning(info.created.clone());
        } else if let Some((sequence, time)) = self.last {
            if replaced || info.state.last_seq < sequence {
                let next = i128::from(time) + 1;
                self.from = Origin::Time(next);
                self.not_before = Some(self.not_before.map_or(next, |start| start.max(next)));
                (self.last, self.passed, self.newest, self.told) = (None, None, None, None);
            } else {
                self.from = Origin::Sequence(sequence + 1);
            }
        }
        self.overtaken(info.state.first_seq, u64::MAX)
    }
}

/// How far streams were read that are gone: one may be back, unchanged, when the server had only lost sight of it.
#[derive(Debug, Default)]
pub(super) struct Left(VecDeque<(String, Progress)>);

impl Left {
    pub(super) fn remember(&mut self, stream: String, progress: Progress) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((stream, progress));
    }

    /// Where to read a stream that appeared: where it was left if it is the same one, else from its beginning.
    pub(super) fn take(&mut self, stream: &str, created: String) -> Progress {
        let at = self.0.iter().position(|(name, _)| name == stream);
        match at.and_then(|at| self.0.remove(at)) {
            Some((_, progress)) if progress.created == created => progress,
            _ => Progress::beginning(created),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{StreamConfig, StreamState};

    fn stream(created: &str, first_seq: u64, last_seq: u64) -> StreamInfo {
        StreamInfo {
            created: created.into(),
            config: StreamConfig { retention: "limits".into(), subjects: None },
            state: StreamState { first_seq, last_seq, ..StreamState::default() },
        }
    }

    #[test]
    fn reading_goes_on_after_the_last_message() {
        let mut progress = Progress::beginning("A".into());
        progress.follow(&stream("A", 1, 200), false);
        assert_eq!(progress.from, Origin::First);
        progress.pass(100, 5_000);
        progress.follow(&stream("A", 1, 200), false);
        assert_eq!(progress.from, Origin::Sequence(101));
        assert!(progress.knows(100) && !progress.knows(101));
    }

    #[test]
    fn what_was_removed_before_it_was_read_is_counted_once() {
        let mut progress = Progress::beginning("A".into());
        assert_eq!(
            progress.follow(&stream("A", 50, 200), false),
            0,
            "what was there before the beginning is not missed"
        );
        progress.start(50);
        progress.pass(100, 5_000);
        assert_eq!(progress.follow(&stream("A", 101, 200), false), 0);
        assert_eq!(progress.follow(&stream("A", 111, 200), false), 10);
        assert_eq!(progress.follow(&stream("A", 111, 200), false), 0);
        progress.pass(111, 6_000);
        progress.reach(150); // the others up to there are not for this reader
        assert_eq!(progress.follow(&stream("A", 151, 200), false), 0);
        assert_eq!(progress.follow(&stream("A", 201, 200), false), 50, "all is gone");
    }

    #[test]
    fn a_jump_counts_as_far_as_the_stream_was_emptied() {
        let mut progress = Progress::beginning("A".into());
        progress.start(1);
        progress.pass(100, 5_000);
        assert!(!progress.jumps_to(101) && progress.jumps_to(102));
        assert_eq!(progress.overtaken(90, 120), 0, "the messages between are there, and not for this reader");
        assert_eq!(progress.overtaken(106, 120), 5);
        progress.pass(120, 6_000);
        assert_eq!(progress.overtaken(300, 125), 4, "what is beyond may be on its way");
    }

    #[test]
    fn after_a_stream_lost_its_end_the_sequences_that_it_gives_again_are_new() {
        let mut progress = Progress::beginning("A".into());
        progress.pass(100, 5_000);
        assert_eq!(progress.follow(&stream("A", 1, 90), false), 0);
        assert_eq!(progress.from, Origin::Time(5_001));
        assert!(!progress.knows(91) && !progress.too_old(5_001), "what is stored now is given out");
        assert!(progress.too_old(5_000), "what was read is not");
        progress.pass(91, 6_000);
        progress.follow(&stream("A", 1, 95), false);
        assert_eq!(progress.from, Origin::Sequence(92));
        progress.follow(&stream("A", 1, 95), true);
        assert_eq!(
            (progress.from, progress.last),
            (Origin::Time(6_001), None),
            "it was lost and given again meanwhile"
        );
    }

    #[test]
    fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
        let mut progress = Progress::beginning("A".into());
        progress.pass(100, 5_000);
        progress.not_before = Some(4_000);
        progress.follow(&stream("B", 1, 200), false);
        assert_eq!(progress, Progress::beginning("B".into()));
    }

    #[test]
    fn a_stream_that_is_back_unchanged_is_read_where_it_was_left_and_another_from_its_beginning() {
        let mut progress = Progress::beginning("A".into());
        progress.pass(100, 5_000);
        let mut left = Left::default();
        left.remember("ORDERS".into(), progress.clone());
        assert_eq!(left.take("BILLS", "A".into()), Progress::beginning("A".into()));
        assert_eq!(left.take("ORDERS", "A".into()), progress);
        left.remember("ORDERS".into(), progress);
        assert_eq!(left.take("ORDERS", "B".into()), Progress::beginning("B".into()));
        for n in 0..2 * REMEMBERED {
            left.remember(n.to_string(), Progress::beginning("A".into()));
        }
        assert_eq!(left.0.len(), REMEMBERED);
    }

    #[test]
    fn a_place_is_told_once_and_only_ahead_with_the_time_of_a_message_that_stands_there() {
        let log = position::log("S");
        let told = |progress: &mut Progress| {
            let place = progress.untold(&log)?;
            progress.told = Some(place.n);
            Some((place.n, place.at))
        };
        let mut progress = Progress::beginning("A".into());
        assert_eq!(told(&mut progress), None, "nothing is known yet");
        progress.start(1);
        assert_eq!(told(&mut progress), Some((0, None)));
        assert_eq!(told(&mut progress), None);
        progress.pass(3, 5_000_000_000);
        assert_eq!(told(&mut progress), Some((3, Some(5_000))));
        progress.reach(7);
        progress.newest = Some((7, 6_000));
        assert_eq!(told(&mut progress), Some((7, Some(6_000))));
        progress.reach(9);
        assert_eq!(told(&mut progress), Some((9, None)), "the time of another message says nothing");
        progress.follow(&stream("B", 1, 2), false);
        progress.start(1);
        assert_eq!(told(&mut progress), Some((0, None)), "it is another stream");
    }
}
