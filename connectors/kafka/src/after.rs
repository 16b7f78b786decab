//! Beginning after places: whether they are in their logs.

use crate::again::not_allowed;
use crate::desk::Spot;
use crate::follow::ASK_AGAIN;
use crate::part::Check;
use crate::reader::Env;
use crate::resolve::{Bounds, Key};
use connector::{Cursor, Log, Seen, SubscribeError};
use rdkafka::error::RDKafkaErrorCode as Code;

/// Where to read on after these places, with the records that must still be there. Waits until all leaders have told
/// what they hold.
///
/// # Errors
/// When a place is not in its log, or the log may not be read.
pub(crate) async fn spots(env: &Env, cursor: &Cursor) -> Result<Vec<Spot>, SubscribeError> {
    let mut spots = Vec::with_capacity(cursor.len());
    let mut keys: Vec<Key> = cursor.iter().map(|(log, _)| (log.topic.clone(), log.partition)).collect();
    while !keys.is_empty() {
        let mut later = Vec::new();
        for (key, held) in env.resolver.held(keys).await {
            let log = Log { topic: key.0.clone(), partition: key.1 };
            let seen = cursor.get(&log).unwrap_or(Seen { n: 0, at: None });
            match held {
                Ok(bounds) => spots.push(spot(key, seen, bounds)?),
                Err(Code::TopicAuthorizationFailed) => return Err(SubscribeError::Denied(not_allowed(&key.0))),
                Err(_) => later.push(key),
            }
        }
        keys = later;
        if !keys.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
    Ok(spots)
}

/// Where to read on after one place.
fn spot(key: Key, seen: Seen, bounds: Bounds) -> Result<Spot, SubscribeError> {
    let from = i64::try_from(seen.n).map_err(|_| bounds.gone())?;
    if from < bounds.low {
        return Err(bounds.gone());
    }
    let check = |timestamp| Some(Check { offset: from - 1, timestamp, begin: Some(bounds) });
    let check = match seen.at {
        // Behind what can be read now, as a transaction is open, or behind the log's end: the broker tells which when it is
        // read.
        at if from > bounds.high => check(at.unwrap_or(0)),
        // The record before the oldest is not there to be compared.
        Some(at) if from > bounds.low => check(at),
        _ => None,
    };
    Ok(Spot { key, from, check })
}
