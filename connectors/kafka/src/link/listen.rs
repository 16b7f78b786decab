//! What librdkafka's clients tell besides records.

use super::{FAILED_CONNECTION, Link};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
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
pub(crate) struct Listening(pub(crate) Arc<Link>);

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(&self.0, level, facility, text);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.complain(&error, reason, false);
    }
}
impl ConsumerContext for Listening {}
