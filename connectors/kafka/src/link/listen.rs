//! What librdkafka's clients tell besides records.

use super::{FAILED_CONNECTION, Link};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::Arc;

/// Puts librdkafka's log and errors where ours are.
pub(crate) fn log(link: &Link, level: RDKafkaLogLevel, facility: &str, text: &str) {
    // A lost or refused connection is said once by the health, not by every attempt; and each client is given the other
    // kind's properties as well, which is what CONFWARN is about.
    // Of a connection that was closed by the other side only the log says what may be the cause.
    if facility == "FAIL"
        && let Some((_, reason)) = text.split_once("]: ")
        && !reason.contains("_DESTROY")
    {
        link.note(FAILED_CONNECTION, reason);
    }
    let routine = ["FAIL", "ERROR", "CONFWARN", "TERMINATE", "REQTMOUT", "GETPID", "MAXPOLL"].contains(&facility);
    let connector = &link.name;
    match level {
        _ if routine => tracing::debug!(target: "librdkafka", %connector, facility, "{text}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", %connector, facility, "{text}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", %connector, facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", %connector, facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", %connector, facility, "{text}"),
    }
}

/// The producer's errors.
pub(crate) fn producer_error(link: &Link, error: &KafkaError, reason: &str) {
    link.complain(error, reason, true);
}

/// What a consumer tells besides records.
pub(crate) struct Listening {
    pub(crate) link: Arc<Link>,
    end: Mutex<Option<End>>,
}

/// The end of a partition that a consumer has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// From where it fetches next: beyond transaction markers, aborted records and what compaction took, up to the last
    /// stable offset.
    pub(crate) next: i64,
    /// The high watermark: what is before it, and not before `next`, waits for a transaction.
    pub(crate) high: i64,
}

impl Listening {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Listening { link, end: Mutex::default() }
    }

    /// The end that the last poll has told of.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.lock().take()
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(&self.link, level, facility, text);
    }
    /// Called by the poll that returns the same error, on its thread.
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            *self.end.lock() = end_in(reason);
        } else {
            self.link.complain(&error, reason, false);
        }
    }
}
impl ConsumerContext for Listening {}

/// The library for Rust drops the offset; librdkafka says it in words as well: "Fetch from broker 1 reached end of
/// partition at offset 7 (HighwaterMark 9)".
fn end_in(reason: &str) -> Option<End> {
    let (_, rest) = reason.split_once("end of partition at offset ")?;
    let (next, high) = rest.split_once(" (HighwaterMark ")?;
    Some(End { next: next.parse().ok()?, high: high.strip_suffix(')')?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{End, end_in};

    #[test]
    fn the_end_is_read_from_what_librdkafka_says() {
        let text = "Fetch from broker 1 reached end of partition at offset 7 (HighwaterMark 9)";
        assert_eq!(end_in(text), Some(End { next: 7, high: 9 }));
        for other in ["", "Broker: No more messages", "end of partition at offset 7", "at offset x (HighwaterMark 9)"] {
            assert_eq!(end_in(other), None, "{other}");
        }
    }
}
