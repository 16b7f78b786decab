//! From what a client asks for to a place in every log, and whether that may be read.

use super::{Asked, Replay};
use connector::{Cursor, Event, Seen, Start, SubscribeError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Mutex, Semaphore, mpsc};

/// How long the broker may take to find a position.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions to the broker at the same time.
const AT_ONCE: usize = 8;
/// How long the beginning of what may be asked for counts as known.
const FRESH: Duration = Duration::from_secs(5);

/// Why a position cannot be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoStart {
    /// It is gone, or was never there.
    Invalid,
    /// The broker is not there to say.
    Unavailable,
}

/// Asks the broker, and remembers.
#[derive(Debug)]
pub(crate) struct Resolver {
    asking: Semaphore,
    beginning: Mutex<Option<(Instant, Cursor)>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Resolver { asking: Semaphore::new(AT_ONCE), beginning: Mutex::default() }
    }
}

impl Replay {
    /// The place in every log behind which a client is to read.
    ///
    /// # Errors
    /// [`NoStart`]: a position that is gone is told, never jumped over.
    pub(crate) async fn resolve(&self, asked: &Asked) -> Result<Cursor, NoStart> {
        let live = self.cursor().ok_or(NoStart::Unavailable)?;
        let (cursor, others) = match asked {
            Asked::New => return Ok(live),
            Asked::All => return self.beginning(&live).await,
            Asked::At(time) => {
                let mut cursor = self.ask(Start::At(*time)).await?;
                raise(&mut cursor, &self.beginning(&live).await?);
                return Ok(cursor);
            }
            Asked::After(n, at) => (self.number(&live, Seen { n: *n, at: *at })?, None),
            Asked::Cursor(cursor) => {
                // Logs that it does not name: the position is one record's own, or they are newer than it. In both cases
                // nothing older than the oldest record that it names is missing.
                let at = cursor.iter().filter_map(|(_, seen)| u64::try_from(seen.at?).ok()).min();
                (cursor.clone(), at.map(|at| SystemTime::UNIX_EPOCH + Duration::from_millis(at)))
            }
        };
        let complete = live.iter().all(|(log, _)| cursor.get(log).is_some());
        if complete && self.ring_joins(&cursor) {
            return Ok(cursor);
        }
        let cursor = self.ask(Start::After { cursor, others }).await?;
        let beginning = self.beginning(&live).await?;
        let within = beginning.iter().all(|(log, first)| cursor.get(log).is_some_and(|seen| seen.n >= first.n));
        if within { Ok(cursor) } else { Err(NoStart::Invalid) }
    }

    /// A number is a position where there is one log, or one that counts.
    fn number(&self, live: &Cursor, seen: Seen) -> Result<Cursor, NoStart> {
        let mut cursor = live.clone();
        let mut logs = live.iter().map(|(log, _)| log);
        let log = match self.partition {
            Some(partition) => logs.find(|log| log.partition == partition),
            None if self.is_sole() => logs.next().filter(|_| live.len() == 1),
            None => None,
        };
        cursor.set(log.ok_or(NoStart::Invalid)?.clone(), seen);
        Ok(cursor)
    }

    /// The place before the oldest records that may be asked for.
    async fn beginning(&self, live: &Cursor) -> Result<Cursor, NoStart> {
        let mut known = self.resolver.beginning.lock().await;
        let mut beginning = match &*known {
            Some((at, cursor)) if at.elapsed() < FRESH => cursor.clone(),
            _ => {
                let start = match self.bounds.max_age {
                    Some(age) => Start::At(SystemTime::now() - age),
                    None => Start::Earliest,
                };
                let cursor = self.ask(start).await?;
                *known = Some((Instant::now(), cursor.clone()));
                cursor
            }
        };
        drop(known);
        let newest = self.bounds.max_records;
        let most: Cursor =
            live.iter().map(|(log, seen)| (log.clone(), Seen { n: seen.n.saturating_sub(newest), at: None })).collect();
        raise(&mut beginning, &most);
        Ok(beginning)
    }

    /// The log has all that is behind this cursor. Where the broker does not say, it has.
    pub(super) async fn is_there(&self, cursor: Cursor) -> bool {
        self.ask(Start::After { cursor, others: None }).await != Err(NoStart::Invalid)
    }

    /// Where that start is, as the broker says.
    async fn ask(&self, start: Start) -> Result<Cursor, NoStart> {
        let _permit = self.resolver.asking.acquire().await.map_err(|_| NoStart::Unavailable)?;
        let (sink, _records) = mpsc::channel::<Event>(1);
        let refused = |error: SubscribeError| match error {
            SubscribeError::PositionGone { .. } | SubscribeError::PositionInvalid(_) | SubscribeError::NoLog => {
                NoStart::Invalid
            }
            _ => NoStart::Unavailable,
        };
        let mut subscription = self.connector.subscribe(self.filter.clone(), start, sink).map_err(refused)?;
        match tokio::time::timeout(PATIENCE, subscription.ready()).await {
            Ok(ready) => Ok(ready.map_err(refused)?.cursor),
            Err(_) => Err(NoStart::Unavailable),
        }
    }
}

/// No log earlier than `least` says.
fn raise(cursor: &mut Cursor, least: &Cursor) {
    for (log, first) in least.iter() {
        if cursor.get(log).is_none_or(|seen| seen.n < first.n) {
            cursor.set(log.clone(), first);
        }
    }
}
