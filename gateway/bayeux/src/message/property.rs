//! What holds for any bytes that a client may send as an envelope. Run over the corpus by the tests, and over anything
//! by the fuzz target `envelope`.

use crate::channel::{ChannelName, ChannelPattern};
use crate::delivery::{Delivery, DeliveryParts};
use crate::message::parse;
use crate::reply::{Refusal, Reply};
use bytes::Bytes;
use serde_json::value::RawValue;

/// Panics when it does not hold.
pub fn check(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    let Ok(messages) = parse(&body) else { return };
    for message in &messages {
        for raw in [&message.data, &message.ext, &message.advice, &message.subscription].into_iter().flatten() {
            // What was kept raw is one JSON value, a slice of the body.
            assert_eq!(serde_json::from_slice::<&RawValue>(raw).expect("JSON").get().as_bytes(), &raw[..]);
            let range = body.as_ptr_range();
            assert!(range.contains(&raw.as_ptr()) || raw.is_empty());
        }
        let _ = (message.client_advice(), message.subscriptions(), message.ext_field("a"), message.ext_string("a"));

        let mut out = Vec::new();
        Reply::to(message).write(&mut out);
        Reply::to(message).refuse(Refusal::new(crate::error::error(400, "x\u{1}:y", "text"))).write(&mut out);
        let replies = serde_json::Deserializer::from_slice(&out).into_iter::<&RawValue>();
        assert_eq!(replies.collect::<Result<Vec<_>, _>>().expect("a reply is JSON").len(), 2);

        let Some(channel) = &message.channel else { continue };
        let _ = ChannelPattern::parse(channel);
        let Ok(name) = ChannelName::parse(channel) else { continue };
        assert!(name.is_wild() || name.reaches(name.as_str()));
        let data = message.data.as_deref().unwrap_or_default();
        let parts = DeliveryParts { data, other: &message.other, ..Default::default() };
        let delivery = Delivery::new(channel.clone(), &parts);
        serde_json::from_slice::<&RawValue>(delivery.json()).expect("a delivery is JSON");
        assert!(delivery.json().windows(data.len().max(1)).any(|w| data.is_empty() || w == data), "data is verbatim");
    }
}
