//! The ten thousand messages that every broker's test sends: odd on purpose, so that anything that reads and writes
//! them again, rather than passing bytes on, is found out.

use crate::bayeux::{Client, Message, Transport, Window};
use std::collections::HashMap;

/// Messages to publish: key and payload, in the order of publishing.
#[derive(Debug)]
pub struct Batch(pub Vec<(String, String)>);

impl Batch {
    /// `count` messages over `keys` keys.
    pub fn new(count: usize, keys: usize) -> Batch {
        Batch((0..count).map(|n| (format!("key{}", n % keys), payload(n))).collect())
    }

    /// The payloads of each key, in order.
    pub fn by_key(&self) -> HashMap<&str, Vec<&str>> {
        let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
        for (key, payload) in &self.0 {
            keys.entry(key).or_default().push(payload);
        }
        keys
    }

    /// Publishes all on `{prefix}{key}`: pipelined over a WebSocket, in batches of 100 over long-polling. The replies
    /// in order; panics when one says no.
    pub async fn publish(&self, client: &Client, prefix: &str) -> Vec<Message> {
        let channels: Vec<String> = self.0.iter().map(|(key, _)| format!("{prefix}{key}")).collect();
        let messages: Vec<(&str, &str)> =
            channels.iter().zip(&self.0).map(|(channel, (_, payload))| (channel.as_str(), payload.as_str())).collect();
        let replies = match client.transport() {
            Transport::WebSocket => {
                let mut window = Window::new(1000);
                for (channel, data) in messages {
                    window.add([client.publish(channel, data)]).await;
                }
                window.finish().await
            }
            Transport::LongPolling => {
                let mut window = Window::new(0); // a request may overtake another, so one at a time
                for batch in messages.chunks(100) {
                    window.add(client.publish_batch(batch)).await;
                }
                window.finish().await
            }
        };
        for (reply, (key, payload)) in replies.iter().zip(&self.0) {
            assert!(reply.ok(), "publishing {payload} with key {key} was refused: {reply:?}");
        }
        replies
    }

    /// Whether deliveries on `{prefix}{key}` are exactly these messages, once each, in order per key, byte for byte.
    pub fn assert_delivered(&self, deliveries: &[Message], prefix: &str) {
        let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
        for message in deliveries {
            let key =
                message.channel.strip_prefix(prefix).unwrap_or_else(|| panic!("delivered on {}", message.channel));
            seen.entry(key).or_default().push(message.text());
        }
        assert_same(&self.by_key(), &seen);
    }
}

/// The `n`th payload: spaces, key order, numbers that no float holds, escapes and raw UTF-8.
pub fn payload(n: usize) -> String {
    format!(
        r#"{{ "n":{n},"z":1.10000000000000000001, "a":[1e400,-0,2.0,12345678901234567890123],"text":"gr\u00fc\u00dfe ☃ \"{n}\" \\" }}"#
    )
}

/// Which message a payload is.
pub fn number(payload: &str) -> usize {
    let digits = payload.strip_prefix(r#"{ "n":"#).unwrap_or_else(|| panic!("not one of ours: {payload}"));
    digits.split(',').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("not one of ours: {payload}"))
}

/// Compares per key, and names the first difference rather than printing ten thousand lines.
pub fn assert_same(expected: &HashMap<&str, Vec<&str>>, seen: &HashMap<&str, Vec<&str>>) {
    for (key, expected) in expected {
        let seen = seen.get(key).map(Vec::as_slice).unwrap_or_default();
        if let Some(at) = expected.iter().zip(seen).position(|(e, s)| e != s) {
            panic!("{key}: the {at}th is {} and should be {}", seen[at], expected[at]);
        }
        assert_eq!(expected.len(), seen.len(), "{key}: how many came");
    }
    let strange: Vec<_> = seen.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(strange.is_empty(), "keys that nobody used: {strange:?}");
}

/// Runs what blocks (a broker's script) without holding up the clients of this test.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
