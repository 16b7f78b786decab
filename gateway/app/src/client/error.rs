use std::time::Duration;

/// Why something could not be done. Each is one sentence for the one at the terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server's address cannot be used.
    #[error("{url}: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be reached, or does not speak Bayeux.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server answered `successful: false`.
    #[error("the server refused {what}: {error}")]
    Refused {
        /// The channel or the step that was refused.
        what: String,
        /// The server's `error` field.
        error: String,
    },
    /// The connection broke before the answer came.
    #[error("the connection was lost before the answer came ({0}): the message may have been taken or not")]
    Lost(String),
    /// The answer did not come in time.
    #[error("no answer on {what} within {}: the message may have been taken or not", seconds(*.after))]
    TimedOut {
        /// The channel.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The session has ended and takes nothing more.
    #[error("the session has ended")]
    Ended,
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
