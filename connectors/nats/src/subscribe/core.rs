//! Core NATS: what arrives while subscribed, at most once.
//!
//! The client subscribes again by itself after every reconnect. The server cannot be made to wait: it cuts a slow
//! client off. So messages are always taken at once, held back for a slow reader within a bound, and dropped and
//! counted beyond it.

use super::{Tell, Wanted, record};
use crate::config::Plan;
use crate::link::{Link, Refused};
use connector::{Event, Inbound, Ready, SubscribeError};
use futures_util::StreamExt as _;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Runs one subscription until the sink is closed.
pub(super) async fn run(link: Link, plan: Plan, wanted: Wanted, sink: mpsc::Sender<Event>, ready: Tell) {
    let mut ready = Some(ready);
    let mut held = Held { records: VecDeque::new(), size: 0, overflowing: false };
    loop {
        let mut refusals = link.refusals();
        let mut connection = link.connected().await;
        let Ok(mut messages) = connection.client.subscribe(wanted.subject.clone()).await else {
            // The client ended; the link makes another.
            link.lost(&connection).await;
            continue;
        };
        if ready.is_some() {
            // A second trip, because refusals are told by another task than answers are.
            while link.round_trip(&connection).await.is_err() || link.round_trip(&connection).await.is_err() {
                connection = link.connected().await;
            }
            let mut refused = std::iter::from_fn(|| refusals.try_recv().ok());
            let ours = Refused::Subscribe(wanted.subject.clone());
            let denied = refused.any(|r| r == ours);
            if let Some(ready) = ready.take() {
                let answer = if denied {
                    Err(SubscribeError::Denied(format!("this account may not subscribe to {}", wanted.subject)))
                } else {
                    Ok(Ready::default())
                };
                if ready.send(answer).is_err() || denied {
                    return;
                }
            }
        }
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                permit = sink.reserve(), if !held.records.is_empty() => {
                    let (Ok(permit), Some(record)) = (permit, held.pop()) else { return };
                    permit.send(Event::Record(record));
                    continue;
                }
            };
            let Some(message) = message else { break };
            let subject = message.subject.as_str();
            // A first token that a browser gave may name the inboxes; `$` it cannot give.
            let reserved = crate::topic::inbox(subject, &plan.inbox_prefix)
                || (wanted.open_at_first() && crate::topic::reserved(subject, &plan.inbox_prefix));
            if reserved || !wanted.matches(subject) {
                continue;
            }
            let record = record(message, None);
            if held.records.is_empty() {
                match sink.try_reserve() {
                    Ok(permit) => permit.send(Event::Record(record)),
                    Err(mpsc::error::TrySendError::Full(())) => held.push(record, &plan, &link, &wanted.subject),
                    Err(mpsc::error::TrySendError::Closed(())) => return,
                }
            } else {
                held.push(record, &plan, &link, &wanted.subject);
            }
        }
    }
}

/// What waits for a slow reader.
struct Held {
    records: VecDeque<Inbound>,
    size: usize,
    /// Records are being dropped; ends when the reader has caught up.
    overflowing: bool,
}

impl Held {
    fn push(&mut self, record: Inbound, plan: &Plan, link: &Link, subject: &str) {
        let size = size_of_record(&record);
        if self.records.len() < plan.max_buffered && self.size + size <= plan.max_buffered_size {
            self.size += size;
            self.records.push_back(record);
            return;
        }
        link.dropped().fetch_add(1, Ordering::Relaxed);
        if !self.overflowing {
            self.overflowing = true;
            let (held, bytes) = (self.records.len(), self.size);
            tracing::warn!(subject, held, bytes, "a reader is too slow for core NATS: dropping records");
        }
    }

    fn pop(&mut self) -> Option<Inbound> {
        let record = self.records.pop_front()?;
        self.size -= size_of_record(&record);
        if self.records.is_empty() && self.overflowing {
            self.overflowing = false;
            tracing::info!("the reader has caught up: core NATS records are no longer dropped");
        }
        Some(record)
    }
}

fn size_of_record(record: &Inbound) -> usize {
    let headers: usize = record.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    size_of::<Inbound>() + record.topic.len() + record.payload.as_ref().map_or(0, bytes::Bytes::len) + headers
}
