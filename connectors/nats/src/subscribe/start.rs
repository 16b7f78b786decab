//! Where a subscription begins in each of its streams.

use super::jetstream::{Reading, Setback, unreadable};
use super::progress::Progress;
use super::reader::Reader;
use crate::api::{Origin, StreamInfo, nanoseconds, unix_nanoseconds};
use crate::position;
use connector::{Cursor, Ready, Seen, Start};

impl Reading {
    /// Resolves the start in every stream that is there, and makes a consumer in each.
    pub(super) async fn begin(&mut self) -> Result<(Vec<Reader>, Ready), Setback> {
        let Ok(connection) = self.api.link.current() else {
            return Err(Setback::Later("NATS is not there".into()));
        };
        let streams = self.api.streams_of(&self.wanted.subject).await?;
        if let Start::After { cursor, .. } = &self.start {
            all_there(cursor, &streams)?;
        }
        let mut ready = Ready::default();
        let mut readers = Vec::with_capacity(streams.len());
        for stream in &streams {
            // One that went away this moment is not among them at the next try.
            let info = self.api.stream(stream).await?;
            if let Some(why) = unreadable(stream, &info) {
                return Err(Setback::Never(connector::SubscribeError::FilterInvalid(why)));
            }
            let seen = self.seen(stream);
            if let Some(seen) = seen {
                self.check(stream, seen, &info).await?;
            }
            let (from, not_before) = self.origin(stream, &info).await?;
            let subjects = info.config.subjects.iter().flatten();
            ready.sole =
                streams.len() == 1 && subjects.into_iter().any(|s| crate::topic::covers(s, &self.wanted.subject));
            let mut reader = self.reader(stream.clone(), Progress::new(info.created, from, not_before));
            let made = reader.make_consumer(&connection, &info.state).await?;
            let n = made.consumer.next - 1;
            let at = info.state.last_at().filter(|_| n == info.state.last_seq);
            ready.cursor.set(position::log(stream), seen.unwrap_or(Seen { n, at }));
            reader.first = Some(made);
            readers.push(reader);
        }
        Ok((readers, ready))
    }

    /// How far that stream was read before.
    fn seen(&self, stream: &str) -> Option<Seen> {
        match &self.start {
            Start::After { cursor, .. } => cursor.get(&position::log(stream)),
            _ => None,
        }
    }

    /// Checks that nothing is missed by reading on from there, and that it is the stream that was read.
    async fn check(&self, stream: &str, seen: Seen, info: &StreamInfo) -> Result<(), Setback> {
        let (first, last) = (info.state.first_seq, info.state.last_seq);
        position::check(seen.n, first, last).map_err(Setback::Never)?;
        let Some(at) = seen.at.filter(|_| (first.max(1)..=last).contains(&seen.n)) else { return Ok(()) };
        // A message that was removed from the midst of the stream proves nothing.
        let stored = self.api.message_at(stream, seen.n).await?;
        match stored.and_then(|stored| nanoseconds(&stored.time)) {
            Some(time) if time / 1_000_000 != i128::from(at) => Err(Setback::Never(position::gone(first, last))),
            _ => Ok(()),
        }
    }

    /// Where to begin, and which messages are too old whatever the server gives (nanoseconds since 1970 UTC).
    async fn origin(&mut self, stream: &str, info: &StreamInfo) -> Result<(Origin, Option<i128>), Setback> {
        let by_time = |time| {
            let time = unix_nanoseconds(time);
            (Origin::Time(time), Some(time))
        };
        Ok(match &self.start {
            Start::Live if self.connected => (Origin::Sequence(info.state.last_seq + 1), None),
            Start::Live => {
                let offset = match self.clock_offset {
                    Some(offset) => offset,
                    None => {
                        let connection = self.api.link.current().map_err(|lost| Setback::Later(lost.0))?;
                        *self.clock_offset.insert(self.api.clock_offset(&connection, stream).await?)
                    }
                };
                (Origin::Time(unix_nanoseconds(self.called) + offset), None)
            }
            Start::Earliest => (Origin::First, None),
            Start::At(time) => by_time(*time),
            Start::After { others, .. } => match (self.seen(stream), others) {
                (Some(seen), _) => (Origin::Sequence(seen.n.saturating_add(1)), None),
                (None, Some(time)) => by_time(*time),
                (None, None) => (Origin::First, None),
            },
        })
    }
}

/// Every log that a cursor names must be among the streams of the filter.
fn all_there(cursor: &Cursor, streams: &[String]) -> Result<(), Setback> {
    let there = |log: &connector::Log| log.partition == 0 && streams.iter().any(|stream| log.topic == stream.as_str());
    match cursor.iter().all(|(log, _)| there(log)) {
        true => Ok(()),
        false => Err(Setback::Never(position::gone(0, 0))),
    }
}
