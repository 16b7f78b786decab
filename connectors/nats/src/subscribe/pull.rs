//! Requests for messages, and what the server says about them.

use super::reader::End;
use crate::link::Connected;
use async_nats::Message;
use serde_json::json;
use std::time::Duration;

/// How many messages are asked for ahead of the sink.
const AHEAD: u32 = 256;
/// How large, together, the messages asked for may be, unless one alone may be larger.
const AHEAD_SIZE: usize = 4 << 20;
/// How long one request for messages stands.
const STANDS: Duration = Duration::from_secs(20);
/// How often the server says that a request still stands.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The sequence that a consumer has come to that has nothing to give now, as its heartbeat says; none while messages are
/// missing that it gave.
pub(super) fn caught_up(heartbeat: &Message, expected: u64) -> Option<u64> {
    let number = |name: &str| heartbeat.headers.as_ref()?.get(name)?.as_str().parse::<u64>().ok();
    number("Nats-Last-Stream").filter(|_| number("Nats-Last-Consumer") == Some(expected - 1))
}

/// Requests for messages.
pub(super) struct Pull {
    subject: String,
    inbox: String,
    /// How many messages are still to come for the requests that stand.
    pub open: u32,
    size: usize,
}

impl Pull {
    pub(super) fn new(subject: String, inbox: String) -> Self {
        Pull { subject, inbox, open: 0, size: 0 }
    }

    /// Asks for more as soon as half of it has come, so that the next ones are on their way meanwhile.
    pub(super) async fn ask(&mut self, connection: &Connected) -> Result<(), End> {
        if self.open > AHEAD / 2 {
            return Ok(());
        }
        self.size = self.size.max(AHEAD_SIZE).max(2 * connection.client.max_payload());
        let request = json!({
            "batch": AHEAD - self.open,
            "max_bytes": self.size,
            "expires": STANDS.as_nanos(),
            "idle_heartbeat": HEARTBEAT.as_nanos(),
        });
        let body = request.to_string().into();
        let asked = connection.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), body).await;
        self.open = AHEAD;
        asked.map_err(|_| End::Lost)
    }

    /// What the server says about a request.
    pub(super) fn on_status(&mut self, status: u16, message: &Message) -> Result<(), End> {
        let text = message.description.as_deref().unwrap_or_default();
        match status {
            100 => return Ok(()), // it still stands
            408 | 404 => {}       // it has ended, as it should
            409 if text.contains("MaxBytes") => {
                // Perhaps one message alone is larger than that.
                self.size = self.size.saturating_mul(2).min(256 << 20);
            }
            _ => return Err(End::Stale(format!("{status} {text}"))),
        }
        let left = message.headers.as_ref().and_then(|h| h.get("Nats-Pending-Messages"));
        let left = left.and_then(|n| n.as_str().parse::<u32>().ok()).unwrap_or(self.open);
        self.open = self.open.saturating_sub(left);
        Ok(())
    }
}
