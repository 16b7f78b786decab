//! The few calls of JetStream's API that are needed: JSON questions to `$JS.API.…`.

use crate::link::{AskError, Connected, Link};
use async_nats::connection::State;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the server keeps a consumer that no one asks: a subscriber that is held back may ask that seldom.
const KEEP_CONSUMER: Duration = Duration::from_secs(60);

const STREAM_NOT_FOUND: u32 = 10_059;
const NO_MESSAGE: u32 = 10_037;
const FILTER_NOT_SUBSET: u32 = 10_093;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ApiError {
    /// Not now: worth another try.
    #[error("{0}")]
    Later(String),
    /// The stream, or what was asked of it, is not there.
    #[error("there is no such stream")]
    Missing,
    /// This account may not ask that.
    #[error("{0}")]
    Denied(String),
    /// JetStream refused, for a reason of its own.
    #[error("{description} (JetStream error {code})")]
    Refused { code: u32, description: String },
}

/// JetStream's own words in an answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ErrorBody {
    /// Like an HTTP status.
    #[serde(default)]
    pub code: u32,
    #[serde(default)]
    pub err_code: u32,
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Failed {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    streams: Option<Vec<String>>,
}

/// A stream as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    /// When it was made: another value means another stream of the same name.
    pub created: String,
    pub config: StreamConfig,
    pub state: StreamState,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamConfig {
    #[serde(default)]
    pub retention: String,
    /// Absent for a stream that only mirrors or sources others.
    #[serde(default)]
    pub subjects: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct StreamState {
    #[serde(default)]
    pub first_seq: u64,
    #[serde(default)]
    pub last_seq: u64,
    /// When the newest message was stored, RFC 3339.
    #[serde(default)]
    pub last_ts: String,
}

impl StreamState {
    /// The time of the newest message in milliseconds since 1970 UTC; `None` where the stream is empty.
    pub(crate) fn last_at(&self) -> Option<i64> {
        let at = nanoseconds(&self.last_ts).filter(|_| (1..=self.last_seq).contains(&self.first_seq))?;
        i64::try_from(at / 1_000_000).ok()
    }
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    First,
    New,
    Sequence(u64),
    /// Nanoseconds since 1970 UTC, by the server's clock.
    Time(i128),
}

/// A consumer that was made.
#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    pub name: String,
    /// The sequence that it starts at.
    pub next: u64,
    /// How many messages waited for it then, as far as its server knew.
    pub pending: Option<u64>,
    /// When it was made, by the server's clock, in nanoseconds since 1970 UTC.
    pub created: Option<i128>,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    name: String,
    #[serde(default)]
    created: String,
    num_pending: Option<u64>,
    delivered: SequencePair,
}

#[derive(Deserialize)]
struct SequencePair {
    #[serde(default)]
    stream_seq: u64,
}

/// A message as the server keeps it.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub subject: String,
    pub seq: u64,
    /// Base64.
    #[serde(default)]
    pub hdrs: String,
    /// Base64.
    #[serde(default)]
    pub data: String,
    /// RFC 3339.
    #[serde(default)]
    pub time: String,
}

#[derive(Deserialize)]
struct StoredAnswer {
    message: Stored,
}

/// The API over a link.
#[derive(Clone)]
pub(crate) struct Api {
    pub link: Link,
    prefix: String,
}

impl Api {
    pub(crate) fn new(link: Link, domain: Option<&str>) -> Self {
        let prefix = domain.map_or_else(|| "$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"));
        Api { link, prefix }
    }

    async fn call<T: DeserializeOwned>(&self, what: &str, question: &impl Serialize) -> Result<T, ApiError> {
        let body = serde_json::to_vec(question).map_err(|e| ApiError::Later(e.to_string()))?;
        let answer = self.link.ask(format!("{}.{what}", self.prefix), body.into(), PATIENCE).await;
        let answer = answer.map_err(|error| match error {
            AskError::Denied(why) => ApiError::Denied(why),
            AskError::NoResponders => ApiError::Later("JetStream is not enabled there, or has no leader now".into()),
            AskError::Timeout => ApiError::Later(format!("JetStream did not answer to {what}")),
            AskError::Lost(why) | AskError::Invalid(why) => ApiError::Later(why),
        })?;
        read(&answer.payload)
    }

    /// Whether JetStream answers for this account.
    pub(crate) async fn account(&self) -> Result<(), ApiError> {
        self.call::<serde_json::Value>("INFO", &json!({})).await.map(|_| ())
    }

    /// The streams that hold subjects of this filter, in no order.
    pub(crate) async fn streams_of(&self, filter: &str) -> Result<Vec<String>, ApiError> {
        let mut names = Vec::new();
        loop {
            let page: Names = self.call("STREAM.NAMES", &json!({ "subject": filter, "offset": names.len() })).await?;
            let found = page.streams.unwrap_or_default();
            let end = found.is_empty();
            names.extend(found);
            if end || names.len() >= page.total {
                return Ok(names);
            }
        }
    }

    pub(crate) async fn stream(&self, stream: &str) -> Result<StreamInfo, ApiError> {
        self.call(&format!("STREAM.INFO.{stream}"), &json!({})).await
    }

    /// Makes a consumer for this reader alone, which the server forgets by itself.
    pub(crate) async fn make_consumer(&self, stream: &str, filter: &str, from: Origin) -> Result<Consumer, ApiError> {
        let mut config = json!({
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": filter,
            "inactive_threshold": KEEP_CONSUMER.as_nanos(),
            "num_replicas": 1,
            "mem_storage": true,
        });
        let (policy, start) = match from {
            Origin::First => ("all", None),
            Origin::New => ("new", None),
            Origin::Sequence(sequence) => ("by_start_sequence", Some(("opt_start_seq", json!(sequence.max(1))))),
            Origin::Time(time) => ("by_start_time", Some(("opt_start_time", json!(rfc3339(time)?)))),
        };
        config["deliver_policy"] = json!(policy);
        if let Some((key, value)) = start {
            config[key] = value;
        }
        let what = format!("CONSUMER.CREATE.{stream}");
        let mut made = self.call::<ConsumerInfo>(&what, &json!({ "stream_name": stream, "config": config })).await;
        if matches!(made, Err(ApiError::Refused { code: FILTER_NOT_SUBSET, .. })) {
            // The stream holds only some of the filter's subjects: take all of the stream, the reader filters.
            if let Some(config) = config.as_object_mut() {
                config.remove("filter_subject");
            }
            made = self.call(&what, &json!({ "stream_name": stream, "config": config })).await;
        }
        let made = made?;
        let (next, pending) = (made.delivered.stream_seq + 1, made.num_pending);
        Ok(Consumer { next, pending, created: nanoseconds(&made.created), name: made.name })
    }

    /// Forgets a consumer at once, without waiting for an answer: the server would forget it later anyway.
    pub(crate) fn forget_consumer(&self, connection: &Connected, stream: &str, consumer: &str) {
        let subject = format!("{}.CONSUMER.DELETE.{stream}.{consumer}", self.prefix);
        let client = connection.client.clone();
        let connected = client.connection_state() == State::Connected;
        if let (true, Ok(runtime)) = (connected, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                // The flush keeps the client alive until it is written, also when the connector closes.
                if client.publish(subject, Bytes::new()).await.is_ok() {
                    let _ = tokio::time::timeout(PATIENCE, client.flush()).await;
                }
            });
        }
    }

    /// Where a consumer is asked for messages.
    pub(crate) fn pull_subject(&self, stream: &str, consumer: &str) -> String {
        format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", self.prefix)
    }

    /// The first message from `sequence` on that fits the filter; `None` when there is none yet.
    pub(crate) async fn message(&self, stream: &str, sequence: u64, filter: &str) -> Result<Option<Stored>, ApiError> {
        self.stored(stream, &json!({ "seq": sequence, "next_by_subj": filter })).await
    }

    /// The message at `sequence`; `None` where none stands.
    pub(crate) async fn message_at(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, ApiError> {
        self.stored(stream, &json!({ "seq": sequence })).await
    }

    async fn stored(&self, stream: &str, question: &serde_json::Value) -> Result<Option<Stored>, ApiError> {
        match self.call::<StoredAnswer>(&format!("STREAM.MSG.GET.{stream}"), question).await {
            Ok(answer) => Ok(Some(answer.message)),
            Err(ApiError::Refused { code: NO_MESSAGE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server's clock minus ours, in nanoseconds, to within half a round trip. It is told by a consumer's birth.
    pub(crate) async fn clock_offset(&self, connection: &Connected, stream: &str) -> Result<i128, ApiError> {
        let before = unix_nanoseconds(SystemTime::now());
        let consumer = self.make_consumer(stream, ">", Origin::New).await?;
        let after = unix_nanoseconds(SystemTime::now());
        self.forget_consumer(connection, stream, &consumer.name);
        Ok(consumer.created.map_or(0, |created| created - i128::midpoint(before, after)))
    }
}

/// Reads an answer, or the error in its place.
fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ApiError> {
    if let Ok(Failed { error }) = serde_json::from_slice::<Failed>(answer) {
        return Err(match (error.err_code, error.code) {
            (STREAM_NOT_FOUND, _) => ApiError::Missing,
            (_, 503) => ApiError::Later(error.description),
            (code, _) => ApiError::Refused { code, description: error.description },
        });
    }
    serde_json::from_slice(answer).map_err(|e| ApiError::Later(format!("JetStream's answer is not understood: {e}")))
}

/// Nanoseconds since 1970 UTC, within what the server can express (1970 to 2262).
pub(crate) fn unix_nanoseconds(time: SystemTime) -> i128 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).into()
}

/// Nanoseconds since 1970 UTC of a time that the server wrote.
pub(crate) fn nanoseconds(text: &str) -> Option<i128> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp_nanos)
}

fn rfc3339(time: i128) -> Result<String, ApiError> {
    let invalid = |why: String| ApiError::Refused { code: 0, description: format!("not a time for a start: {why}") };
    let time = OffsetDateTime::from_unix_timestamp_nanos(time).map_err(|e| invalid(e.to_string()))?;
    time.format(&Rfc3339).map_err(|e| invalid(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_an_answer_is_told_by_its_kind() {
        let names = |text: &str| read::<Names>(text.as_bytes()).map(|n| n.streams.unwrap_or_default());
        assert_eq!(names(r#"{"type":"x","total":1,"streams":["A"]}"#), Ok(vec!["A".to_owned()]));
        assert_eq!(names(r#"{"type":"x","total":0,"streams":null}"#), Ok(vec![]));
        let error = |code, err_code| {
            names(&format!(r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"no"}}}}"#)).unwrap_err()
        };
        assert_eq!(error(404, 10_059), ApiError::Missing);
        assert_eq!(error(503, 10_008), ApiError::Later("no".into()));
        assert_eq!(error(400, 10_025), ApiError::Refused { code: 10_025, description: "no".into() });
        assert!(matches!(names("what?"), Err(ApiError::Later(_))));
    }

    #[test]
    fn times_go_both_ways() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let nanos = unix_nanoseconds(time);
        assert_eq!(rfc3339(nanos).unwrap(), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(nanoseconds("2023-11-14T22:13:20.123456789Z"), Some(nanos));
        assert_eq!(nanoseconds("2023-11-14T23:13:20.123456789+01:00"), Some(nanos));
        assert_eq!(unix_nanoseconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
        let far = unix_nanoseconds(UNIX_EPOCH + Duration::from_secs(1 << 40));
        assert_eq!(rfc3339(far).unwrap(), "2262-04-11T23:47:16.854775807Z");
    }
}
