//! What librdkafka's clients tell besides records.

use super::{FAILED_CONNECTION, Link};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
    /// Where the end is that was come to last; below zero: not told.
    end: AtomicI64,
}

impl Listening {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Listening { link, end: AtomicI64::new(-1) }
    }

    /// Where the end is that the last poll has come to: the offset from which the consumer fetches next, beyond
    /// transaction markers, aborted records and what compaction took.
    pub(crate) fn end(&self) -> Option<i64> {
        let end = self.end.swap(-1, Ordering::Relaxed);
        (end >= 0).then_some(end)
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(&self.link, level, facility, text);
    }
    /// Called by the poll that returns the same error, on its thread.
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            self.end.store(end_in(reason).unwrap_or(-1), Ordering::Relaxed);
        } else {
            self.link.complain(&error, reason, false);
        }
    }
}
impl ConsumerContext for Listening {}

/// The library for Rust drops the offset; librdkafka says it in words as well: "Fetch from broker 1 reached end of
/// partition at offset 7 (HighwaterMark 7)".
fn end_in(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once("end of partition at offset ")?;
    rest.split(' ').next()?.parse().ok()
}
