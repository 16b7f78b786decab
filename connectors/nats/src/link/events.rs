//! What the client tells of itself and of the server.

use super::{Link, Refused};
use async_nats::{ClientError, Event, ServerError};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the server's words are logged.
const LOG_EVERY: Duration = Duration::from_secs(1);

impl Link {
    pub(super) fn on_event(&self, generation: u64, event: &Event) {
        match event {
            Event::Connected => self.on_connected(generation),
            Event::Disconnected => self.on_lost(generation, "the connection was lost"),
            Event::ClientError(ClientError::Other(reason)) => self.explain(generation, reason),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.explain(generation, "authorization violation");
            }
            Event::ServerError(ServerError::Other(text)) => self.on_server_error(generation, text),
            Event::SlowConsumer(_) => {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Event::LameDuckMode => tracing::info!(servers = self.0.servers, "the NATS server is about to stop"),
            _ => {}
        }
    }

    pub(super) fn on_connected(&self, generation: u64) {
        let mut missed = false;
        let changed = self.0.moment.send_if_modified(|m| {
            // The client is known to the link an instant after it is told to connect, so this is its first connection.
            let connects = m.client.as_ref().map_or(1, |c| c.statistics().connects.load(Ordering::Relaxed));
            if m.generation != generation || (m.connected && m.connects == connects) {
                return false;
            }
            missed = m.connected;
            m.connected = true;
            m.connects = connects;
            m.inbox_denied = false;
            m.epoch += 1;
            true
        });
        if changed && missed {
            // The end of the connection before was not told.
            self.0.inbox.abandon();
        }
    }

    pub(super) fn on_lost(&self, generation: u64, reason: &str) {
        let lost = self.0.moment.send_if_modified(|m| {
            if m.generation != generation {
                return false;
            }
            m.connected = false;
            m.reason = reason.to_owned();
            true
        });
        if lost {
            self.0.inbox.abandon();
        }
    }

    /// Says better why there is no connection.
    fn explain(&self, generation: u64, reason: &str) {
        self.0.moment.send_if_modified(|m| {
            let better = m.generation == generation && !m.connected && m.reason != reason;
            if better {
                m.reason = reason.to_owned();
            }
            better
        });
    }

    fn on_server_error(&self, generation: u64, text: &str) {
        let Some(refused) = refusal(text) else {
            self.log(text);
            return;
        };
        match &refused {
            Refused::Publish(subject) => self.0.inbox.deny(subject),
            Refused::Subscribe(subject) if *subject == self.0.inbox.wildcard() => {
                self.0.moment.send_if_modified(|m| {
                    let current = m.generation == generation;
                    m.inbox_denied |= current;
                    current
                });
            }
            Refused::Subscribe(_) => {}
        }
        self.log(text);
        let _ = self.0.refused.send(refused);
    }

    /// Logs what the server says, at most once a second: it says the same for every publish that it denies.
    fn log(&self, text: &str) {
        let mut logged = self.0.logged.lock();
        let now = Instant::now();
        if logged.0.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            logged.1 += 1;
            return;
        }
        let unlogged = std::mem::take(&mut logged.1);
        logged.0 = Some(now);
        drop(logged);
        tracing::warn!(servers = self.0.servers, unlogged, "NATS says: {text}");
    }
}

/// Reads `Permissions Violation for Publish to "subject"` and its like.
fn refusal(text: &str) -> Option<Refused> {
    let rest = text.strip_prefix("Permissions Violation for ")?;
    let subject = rest.split('"').nth(1)?.to_owned();
    if rest.starts_with("Publish") {
        Some(Refused::Publish(subject))
    } else {
        rest.starts_with("Subscription").then_some(Refused::Subscribe(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_the_servers_words() {
        assert_eq!(
            refusal("Permissions Violation for Publish to \"orders.eu\""),
            Some(Refused::Publish("orders.eu".into()))
        );
        assert_eq!(
            refusal("Permissions Violation for Subscription to \"a.>\" using queue \"q\""),
            Some(Refused::Subscribe("a.>".into()))
        );
        assert_eq!(refusal("Stale Connection"), None);
        assert_eq!(refusal("Permissions Violation"), None);
    }
}
