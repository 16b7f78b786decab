//! What MQTT's reason codes and the client library's errors mean to the reader.

use connector::{PublishError, SubscribeError};
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, PubAck, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

/// Why there is no connection, in one sentence.
pub(crate) fn of_connection(error: &ConnectionError, address: &str, client_id: &str) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code, address, client_id),
        ConnectionError::MqttState(StateError::ConnFail { reason }) => refused(*reason, address, client_id),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let said = reason_string.as_ref().map(|s| format!(" ({s})")).unwrap_or_default();
            match reason_code {
                DisconnectReasonCode::SessionTakenOver => format!(
                    "another client has taken over the client id {client_id}: give every gateway its own node name or client_id"
                ),
                code => format!("{address} ended the connection: {}{said}", words(&format!("{code:?}"))),
            }
        }
        // Most brokers send a reason first, but the client library does not understand its short form.
        ConnectionError::MqttState(StateError::ConnectionAborted) => format!(
            "{address} closed the connection; if it does so again and again, its log says why, such as another client under the client id {client_id}"
        ),
        ConnectionError::Io(e) => format!("{address} cannot be reached: {e}"),
        ConnectionError::MqttState(StateError::Io(e)) => format!("the connection to {address} broke: {e}"),
        ConnectionError::Tls(e) => format!("TLS with {address} failed: {e}"),
        ConnectionError::Timeout(_) => format!("{address} did not answer in time"),
        other => format!("the connection to {address} failed: {other}"),
    }
}

fn refused(code: ConnectReturnCode, address: &str, client_id: &str) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            format!("{address} refuses the login (not authorized): check user and password")
        }
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            format!("{address} refuses the client id {client_id}: set client_id")
        }
        ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
            format!("{address} does not speak MQTT 5")
        }
        code => format!("{address} refuses the connection: {}", words(&format!("{code:?}"))),
    }
}

/// What a PUBACK says about a record. `resent`: the record may have been taken when it was sent the first time.
pub(crate) fn of_puback(ack: &PubAck, topic: &str, resent: bool) -> Result<(), PublishError> {
    let said = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    let told = |what: &str| match said {
        Some(said) => format!("{what} ({said})"),
        None => what.to_owned(),
    };
    Err(match ack.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
        PubAckReason::NotAuthorized => {
            PublishError::Denied(told(&format!("the broker does not let this gateway publish to {topic}")))
        }
        PubAckReason::TopicNameInvalid => PublishError::TopicInvalid(told(topic)),
        PubAckReason::QuotaExceeded if resent => PublishError::OutcomeUnknown(told(
            "the broker refused a resend as over its quota, and may have taken the record when it was sent first",
        )),
        PubAckReason::QuotaExceeded => PublishError::Overloaded(told("the broker's quota is exceeded")),
        reason => {
            PublishError::Rejected(told(&format!("the broker refused the record: {}", words(&format!("{reason:?}")))))
        }
    })
}

/// What a SUBACK says about a filter.
pub(crate) fn of_suback(code: SubscribeReasonCode, filter: &str) -> Result<(), SubscribeError> {
    match code {
        SubscribeReasonCode::Success(_) => Ok(()),
        SubscribeReasonCode::TopicFilterInvalid => {
            Err(SubscribeError::FilterInvalid(format!("the broker does not take the filter {filter}")))
        }
        SubscribeReasonCode::NotAuthorized => {
            Err(SubscribeError::Denied(format!("the broker does not let this gateway subscribe to {filter}")))
        }
        code => Err(SubscribeError::Denied(format!(
            "the broker refuses the subscription to {filter}: {}",
            words(&format!("{code:?}"))
        ))),
    }
}

/// `SessionTakenOver` as `session taken over`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}
