//! What librdkafka's word on a record means for its publisher.
//!
//! The rule: [`PublishError::Unavailable`] and [`PublishError::Overloaded`] are said only of a record that librdkafka
//! never had. Of one that it gave up on (a timeout, a lost connection), it can have been sent before, and the error code
//! does not tell: that is [`PublishError::OutcomeUnknown`].

use connector::PublishError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Of a record that librdkafka did not take: surely not stored.
pub(crate) fn not_taken(error: &KafkaError, topic: &str) -> PublishError {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => PublishError::Overloaded("too many records wait for Kafka".into()),
        Some(Code::Fatal) => PublishError::Unavailable("the Kafka producer is being made anew; try again".into()),
        Some(code) => refused(code, topic).unwrap_or_else(|| PublishError::Rejected(format!("Kafka: {code}"))),
        None => PublishError::Rejected(format!("Kafka: {error}")),
    }
}

/// Of a record that librdkafka took and reports as failed.
pub(crate) fn not_delivered(error: &KafkaError, topic: &str) -> PublishError {
    match error.rdkafka_error_code() {
        Some(code) => refused(code, topic)
            .unwrap_or_else(|| PublishError::OutcomeUnknown(format!("Kafka did not confirm the record: {code}"))),
        None => PublishError::OutcomeUnknown(format!("Kafka did not confirm the record: {error}")),
    }
}

/// Errors that say for certain that the record was refused.
fn refused(code: Code, topic: &str) -> Option<PublishError> {
    Some(match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => PublishError::TopicUnknown(topic.to_owned()),
        Code::UnknownPartition => PublishError::Rejected(format!("topic {topic} has no such partition")),
        Code::InvalidTopic => PublishError::TopicInvalid(format!("Kafka does not take {topic}")),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            PublishError::TooLarge(format!("the record is larger than topic {topic} or message.max.bytes allow"))
        }
        Code::TopicAuthorizationFailed => PublishError::Denied(format!("Kafka does not let us write to topic {topic}")),
        Code::ClusterAuthorizationFailed => {
            PublishError::Denied("Kafka does not let us write idempotently (IdempotentWrite on the cluster)".into())
        }
        Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation | Code::UnsupportedForMessageFormat => {
            PublishError::Rejected(format!("Kafka refused the record for topic {topic}: {code}"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(code: Code) -> PublishError {
        not_delivered(&KafkaError::MessageProduction(code), "t")
    }

    #[test]
    fn what_may_have_been_sent_is_never_called_not_stored() {
        for code in [
            Code::MessageTimedOut,
            Code::OperationTimedOut,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::PurgeInflight,
            Code::PurgeQueue,
            Code::NotEnoughReplicasAfterAppend,
            Code::OutOfOrderSequenceNumber,
            Code::QueueFull,
            Code::Fatal,
        ] {
            assert!(matches!(delivered(code), PublishError::OutcomeUnknown(_)), "{code:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_as_what_it_is() {
        assert_eq!(delivered(Code::UnknownTopicOrPartition), PublishError::TopicUnknown("t".into()));
        assert!(matches!(delivered(Code::MessageSizeTooLarge), PublishError::TooLarge(_)));
        assert!(matches!(delivered(Code::TopicAuthorizationFailed), PublishError::Denied(_)));
        let full = not_taken(&KafkaError::MessageProduction(Code::QueueFull), "t");
        assert!(matches!(full, PublishError::Overloaded(_)));
    }
}
