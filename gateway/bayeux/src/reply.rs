//! What the server answers: one reply per message, and its advice.

use crate::message::{Message, MessageId};
use bytes::Bytes;
use bytestring::ByteString;

/// What a client should do after a failure or between connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// Connect again.
    Retry,
    /// Begin with a handshake.
    Handshake,
    /// Stay away.
    None,
}

impl Reconnect {
    fn as_str(self) -> &'static str {
        match self {
            Reconnect::Retry => "retry",
            Reconnect::Handshake => "handshake",
            Reconnect::None => "none",
        }
    }
}

/// Advice of the server. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What to do next.
    pub reconnect: Reconnect,
    /// How long to wait before it; `None` where there is nothing to wait for.
    pub interval: Option<u64>,
    /// How long the server holds a connect.
    pub timeout: Option<u64>,
    /// How long the session lives without a connect.
    pub max_interval: Option<u64>,
    /// Another session of this browser holds a connect.
    pub multiple_clients: bool,
}

impl Advice {
    /// That advice with that interval and nothing else.
    pub fn new(reconnect: Reconnect, interval: u64) -> Self {
        Advice { reconnect, interval: Some(interval), timeout: None, max_interval: None, multiple_clients: false }
    }

    /// Advice to stay away, and nothing else.
    pub fn none() -> Self {
        Advice {
            reconnect: Reconnect::None,
            interval: None,
            timeout: None,
            max_interval: None,
            multiple_clients: false,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"reconnect\":\"");
        out.extend_from_slice(self.reconnect.as_str().as_bytes());
        out.push(b'"');
        if let Some(interval) = self.interval {
            out.extend_from_slice(b",\"interval\":");
            number(interval, out);
        }
        if let Some(timeout) = self.timeout {
            out.extend_from_slice(b",\"timeout\":");
            number(timeout, out);
        }
        if let Some(max_interval) = self.max_interval {
            out.extend_from_slice(b",\"maxInterval\":");
            number(max_interval, out);
        }
        if self.multiple_clients {
            out.extend_from_slice(b",\"multiple-clients\":true");
        }
        out.push(b'}');
    }
}

/// Why a message is refused: the error string, and advice if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `code:args:text`.
    pub error: ByteString,
    /// What the client should do.
    pub advice: Option<Advice>,
    /// Fields of the reply's `ext`, raw JSON: a challenge, say.
    pub ext: Vec<(ByteString, Bytes)>,
}

impl Refusal {
    /// With that error string and no advice.
    pub fn new(error: impl Into<ByteString>) -> Self {
        Refusal { error: error.into(), advice: None, ext: Vec::new() }
    }
    /// With advice.
    pub fn with_advice(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }
    /// With a field of the reply's `ext`, raw JSON.
    pub fn with_ext(mut self, name: impl Into<ByteString>, raw: impl Into<Bytes>) -> Self {
        self.ext.push((name.into(), raw.into()));
        self
    }
}

/// The reply to one message, as data: extensions may still change it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The request's channel; absent when the request had none.
    pub channel: Option<ByteString>,
    /// The request's id.
    pub id: Option<ByteString>,
    /// The request's `subscription`, in the JSON type it was sent.
    pub subscription: Option<Bytes>,
    /// The error string when it failed; empty: it has none.
    pub error: Option<ByteString>,
    /// Advice.
    pub advice: Option<Advice>,
    /// Fields of `ext`, raw JSON.
    pub ext: Vec<(ByteString, Bytes)>,
    /// Further top-level fields, raw JSON (handshake: clientId, version, …).
    pub fields: Vec<(ByteString, Bytes)>,
    /// The client asked for the server's time: [`Reply::tell_time`] answers it when the reply leaves.
    pub timesync: Option<TimeSync>,
}

/// A question of the timesync extension (CometD's `TimeSyncExtension`), with the time it came at. Milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSync {
    /// `tc` as the client sent it, raw JSON.
    pub sent: Bytes,
    /// When it arrived.
    pub arrived: i64,
    /// How much the client's idea of our clock is off, if it has one.
    pub accuracy: Option<i64>,
}

/// A client whose idea is off by less than this is not told again (CometD `accuracyTarget`).
const ACCURACY_TARGET: i64 = 25;

impl TimeSync {
    /// Reads `ext.timesync`: `tc` (the client's time), `l` (lag) and `o` (offset), if the client knows them.
    pub fn read(raw: &[u8], arrived: i64) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Asked<'a> {
            #[serde(borrow)]
            tc: &'a serde_json::value::RawValue,
            l: Option<f64>,
            o: Option<f64>,
        }
        let asked: Asked<'_> = serde_json::from_slice(raw).ok()?;
        let sent: f64 = serde_json::from_str(asked.tc.get()).ok()?;
        let accuracy = asked.l.map(|lag| (sent + asked.o.unwrap_or(0.0) + lag) as i64 - arrived);
        if asked.l.is_some_and(|lag| lag != 0.0) && accuracy.is_some_and(|a| a.abs() < ACCURACY_TARGET) {
            return None;
        }
        Some(TimeSync { sent: Bytes::copy_from_slice(asked.tc.get().as_bytes()), arrived, accuracy })
    }
}

impl Reply {
    /// The successful reply to that message.
    pub fn to(message: &Message) -> Self {
        Reply {
            channel: message.channel.clone(),
            id: match &message.id {
                Some(MessageId::Valid(id) | MessageId::Invalid(id)) => Some(id.clone()),
                None => None,
            },
            subscription: message.subscription.clone(),
            error: None,
            advice: None,
            ext: Vec::new(),
            fields: Vec::new(),
            timesync: None,
        }
    }

    /// Makes it a failure.
    pub fn refuse(mut self, refusal: Refusal) -> Self {
        self.error = Some(refusal.error);
        self.advice = refusal.advice.or(self.advice);
        self.ext.extend(refusal.ext);
        self
    }

    /// Makes it a failure that says no more, for what CometD gives no error string.
    pub fn fail(&mut self) {
        self.error = Some(ByteString::new());
    }

    /// Adds a top-level field that is a JSON string.
    pub fn string_field(&mut self, name: &'static str, value: &str) {
        let mut raw = Vec::with_capacity(value.len() + 2);
        string(value, &mut raw);
        self.fields.push((ByteString::from_static(name), raw.into()));
    }

    /// Sets a top-level field, raw JSON.
    pub fn set_field(&mut self, name: &str, raw: Bytes) {
        set(&mut self.fields, name, raw);
    }

    /// Sets a field of `ext`, raw JSON.
    pub fn set_ext(&mut self, name: &str, raw: Bytes) {
        set(&mut self.ext, name, raw);
    }

    /// Answers a question about the time, if there was one. `now`: milliseconds since 1970.
    pub fn tell_time(&mut self, now: i64) {
        let Some(TimeSync { sent, arrived, accuracy }) = self.timesync.take() else { return };
        let mut answer = b"{\"tc\":".to_vec();
        answer.extend_from_slice(&sent);
        answer.extend_from_slice(format!(",\"ts\":{arrived},\"p\":{}", now - arrived).as_bytes());
        if let Some(accuracy) = accuracy {
            answer.extend_from_slice(format!(",\"a\":{accuracy}").as_bytes());
        }
        answer.push(b'}');
        self.ext.push((ByteString::from_static("timesync"), answer.into()));
    }

    /// Says which batch of acknowledged messages this reply closes, if there is one.
    pub fn close_batch(&mut self, batch: Option<u64>) {
        self.ext.extend(batch.map(|n| (ByteString::from_static("ack"), Bytes::from(n.to_string()))));
    }

    /// Says how far the client's subscriptions are, if anybody knows: raw JSON.
    pub fn tell_positions(&mut self, positions: Option<String>) {
        self.ext.extend(positions.map(|raw| (ByteString::from_static("replay"), Bytes::from(raw))));
    }

    /// A handshake's reply says how many messages follow it, and, where they are acknowledged, which batch they close
    /// (CometD `allowMessageDeliveryDuringHandshake`).
    pub fn announce(&mut self, messages: usize, batch: Option<u64>) {
        if messages > 0 {
            self.fields.push((ByteString::from_static("x-messages"), Bytes::from(messages.to_string())));
        }
        if let (Some(batch), Some((_, ack))) = (batch, self.ext.iter_mut().find(|(name, _)| name == "ack")) {
            *ack = Bytes::from(format!("{{\"enabled\":true,\"batch\":{batch}}}"));
        }
    }

    /// Tells the client how many messages its full queue had to drop, if any.
    pub fn tell_dropped(&mut self, count: u64) {
        if count > 0 {
            self.ext.push((ByteString::from_static("dropped"), Bytes::from(count.to_string())));
        }
    }

    /// Whether it says `successful: true`.
    pub fn successful(&self) -> bool {
        self.error.is_none()
    }

    /// Appends it as a JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(channel) = &self.channel {
            out.extend_from_slice(b"\"channel\":");
            string(channel, out);
            out.push(b',');
        }
        if let Some(id) = &self.id {
            out.extend_from_slice(b"\"id\":");
            string(id, out);
            out.push(b',');
        }
        if let Some(subscription) = &self.subscription {
            out.extend_from_slice(b"\"subscription\":");
            out.extend_from_slice(subscription);
            out.push(b',');
        }
        for (name, raw) in &self.fields {
            string(name, out);
            out.push(b':');
            out.extend_from_slice(raw);
            out.push(b',');
        }
        match &self.error {
            None => out.extend_from_slice(b"\"successful\":true"),
            Some(error) if error.is_empty() => out.extend_from_slice(b"\"successful\":false"),
            Some(error) => {
                out.extend_from_slice(b"\"successful\":false,\"error\":");
                string(error, out);
            }
        }
        if let Some(advice) = &self.advice {
            out.extend_from_slice(b",\"advice\":");
            advice.write(out);
        }
        object_field("ext", &self.ext, out);
        out.push(b'}');
    }
}

/// Sets a field among others, in its place if it was there.
pub(crate) fn set(fields: &mut Vec<(ByteString, Bytes)>, name: &str, raw: Bytes) {
    match fields.iter_mut().find(|(other, _)| *other == name) {
        Some((_, old)) => *old = raw,
        None => fields.push((name.into(), raw)),
    }
}

/// Appends `,"name":{…}` unless there are no fields.
pub(crate) fn object_field(name: &str, fields: &[(ByteString, Bytes)], out: &mut Vec<u8>) {
    if fields.is_empty() {
        return;
    }
    out.push(b',');
    string(name, out);
    out.push(b':');
    for (i, (name, raw)) in fields.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        string(name, out);
        out.push(b':');
        out.extend_from_slice(raw);
    }
    out.push(b'}');
}

/// Appends a JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

fn number(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(n.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse;

    fn written(reply: &Reply) -> serde_json::Value {
        let mut out = Vec::new();
        reply.write(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_reply_echoes_channel_id_and_subscription_in_its_type() {
        let body = Bytes::from_static(br#"{"channel":"/meta/subscribe","id":3,"subscription":["/a"]}"#);
        let message = parse(&body).unwrap().remove(0);
        assert_eq!(
            written(&Reply::to(&message)),
            serde_json::json!({"channel":"/meta/subscribe","id":"3","subscription":["/a"],"successful":true})
        );
    }

    #[test]
    fn the_time_is_told_unless_the_client_knows_it_well_enough() {
        let told = |raw: &str| {
            let mut reply = Reply::to(&Message::default());
            reply.timesync = TimeSync::read(raw.as_bytes(), 1_000);
            reply.tell_time(1_007);
            written(&reply)["ext"]["timesync"].clone()
        };
        assert_eq!(told(r#"{"tc":900,"l":0,"o":0}"#), serde_json::json!({"tc":900,"ts":1000,"p":7,"a":-100}));
        assert_eq!(told(r#"{"tc":900}"#), serde_json::json!({"tc":900,"ts":1000,"p":7}));
        assert_eq!(told(r#"{"tc":900,"l":10,"o":95}"#), serde_json::Value::Null, "5 ms off");
        assert_eq!(told(r#"{"tc":"x"}"#), serde_json::Value::Null);
    }

    #[test]
    fn a_refusal_carries_its_error_advice_and_ext() {
        let mut reply = Reply::to(&Message { channel: Some("/a\"b".into()), ..Message::default() })
            .refuse(Refusal::new(crate::error::SESSION_UNKNOWN).with_advice(Advice::new(Reconnect::Handshake, 0)));
        reply.ext.push(("position".into(), Bytes::from_static(b"7")));
        assert_eq!(
            written(&reply),
            serde_json::json!({"channel":"/a\"b","successful":false,"error":"402::session_unknown",
                "advice":{"reconnect":"handshake","interval":0},"ext":{"position":7}})
        );
    }
}
