//! What can go wrong, told so that the caller knows what to do.

use thiserror::Error;

/// Why a record was not confirmed. The variants decide what the publisher is told (design: `503` surely not stored,
/// `504` may be stored, `4xx` do not retry).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// Surely not stored: the broker is not there. Retry later.
    #[error("{0}")]
    Unavailable(String),
    /// Surely not stored: the connector's line is full. Retry later, slower.
    #[error("{0}")]
    Overloaded(String),
    /// May or may not be stored: the confirmation did not come in time.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// There is no such topic, and the gateway makes none.
    #[error("topic {0} does not exist")]
    TopicUnknown(String),
    /// The broker cannot have a topic of that name.
    #[error("topic name is not valid: {0}")]
    TopicInvalid(String),
    /// The record is larger than the broker takes.
    #[error("{0}")]
    TooLarge(String),
    /// The broker does not let this gateway write there.
    #[error("{0}")]
    Denied(String),
    /// The broker refused the record for good, for another reason.
    #[error("{0}")]
    Rejected(String),
}

impl PublishError {
    /// The same in one word: the text of the error string that a publisher is told, and of reasons in headers.
    pub fn word(&self) -> &'static str {
        match self {
            PublishError::Unavailable(_) => "broker_unavailable",
            PublishError::Overloaded(_) => "overloaded",
            PublishError::OutcomeUnknown(_) => "outcome_unknown",
            PublishError::TopicUnknown(_) => "topic_unknown",
            PublishError::TopicInvalid(_) => "topic_invalid",
            PublishError::TooLarge(_) => "record_too_large",
            PublishError::Denied(_) => "broker_denied",
            PublishError::Rejected(_) => "record_rejected",
        }
    }
}

/// Why a subscription cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubscribeError {
    /// The start needs a log, and this broker has none.
    #[error("this connector keeps no log to read back")]
    NoLog,
    /// The position is no longer, or not yet, in the log, or the log was made anew; what is there is named.
    #[error("position is not in the log (first {first:?}, last {last:?})")]
    PositionGone {
        /// The place of the oldest record that is kept ([`crate::Place::n`]).
        first: Option<u64>,
        /// The place of the newest.
        last: Option<u64>,
    },
    /// The position was not made by this connector.
    #[error("position is not valid: {0}")]
    PositionInvalid(String),
    /// The filter cannot be expressed to this broker.
    #[error("topic filter is not valid: {0}")]
    FilterInvalid(String),
    /// The broker does not let this gateway read there.
    #[error("{0}")]
    Denied(String),
    /// The connector was closed.
    #[error("the connector is closed")]
    Closed,
}

/// A mistake in a connector's or a handler's settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SettingsError {
    /// Keys and indexes from the settings' root to the culprit, such as `["brokers", "0"]`.
    pub path: Vec<String>,
    /// One sentence that says what to do.
    pub message: String,
}

impl SettingsError {
    /// A mistake at `path` (dots separate keys).
    pub fn at(path: &str, message: impl Into<String>) -> Self {
        SettingsError {
            path: path.split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect(),
            message: message.into(),
        }
    }
}

/// Why a connector could not be made at all. An absent broker is no reason: the connector starts and waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConnectError(pub String);
