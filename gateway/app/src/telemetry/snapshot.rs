//! What is looked up when metrics are asked for: one look at everything, so that one answer is of one moment.

use super::process::Process;
use bayeux_bridge::Bridge;
use bayeux_bridge::feed::FeedState;
use bayeux_server::Server;
use connector::{Connector, State};
use opentelemetry::KeyValue;
use std::sync::Arc;

/// A connector, as the config names it.
#[derive(Clone)]
pub struct ConnectorEntry {
    /// Its name.
    pub name: String,
    /// Its kind: `kafka`.
    pub kind: String,
    /// Whether the gateway is not ready before it was up once.
    pub required: bool,
    /// Itself.
    pub connector: Arc<dyn Connector>,
}

/// The word for a feed's state, in metrics and in `/readyz`.
pub fn feed_state(state: &FeedState) -> &'static str {
    match state {
        FeedState::Closed => "closed",
        FeedState::Opening => "opening",
        FeedState::Live => "live",
        FeedState::Failed(_) => "failed",
    }
}

/// What is looked at.
pub(super) struct Watched {
    pub(super) server: Server,
    pub(super) bridge: Arc<Bridge>,
    pub(super) connectors: Vec<ConnectorEntry>,
}

/// A connector at that moment.
pub(super) struct ConnectorLook {
    pub(super) labels: Vec<KeyValue>,
    pub(super) state: State,
    pub(super) dropped: u64,
}

/// A feed at that moment.
pub(super) struct FeedLook {
    pub(super) labels: Vec<KeyValue>,
    pub(super) state: &'static str,
    pub(super) subscriptions: u64,
}

/// Everything at one moment.
pub(super) struct Snapshot {
    pub(super) sessions: u64,
    pub(super) channels: u64,
    pub(super) connections: u64,
    pub(super) websockets: u64,
    pub(super) polls_held: u64,
    pub(super) queue_messages: u64,
    pub(super) queue_bytes: u64,
    pub(super) handshakes: u64,
    pub(super) ended: [(&'static str, u64); 4],
    pub(super) received: u64,
    pub(super) queued: u64,
    pub(super) dropped: u64,
    pub(super) malformed: u64,
    pub(super) connections_refused: u64,
    pub(super) publishes_in_flight: u64,
    pub(super) requests_in_flight: u64,
    pub(super) draining: u64,
    pub(super) connectors: Vec<ConnectorLook>,
    pub(super) feeds: Vec<FeedLook>,
    pub(super) process: Option<Process>,
}

impl Snapshot {
    /// Looks. Goes through all sessions for the depth of their queues.
    pub(super) fn take(watched: &Watched) -> Self {
        let Watched { server, bridge, connectors } = watched;
        let stats = server.stats();
        let (queue_messages, queue_bytes) = server.queue_depth();
        Snapshot {
            sessions: server.session_count() as u64,
            channels: server.channel_count() as u64,
            connections: stats.connections.get(),
            websockets: stats.websockets.get(),
            polls_held: stats.polls_held.get(),
            queue_messages,
            queue_bytes,
            handshakes: stats.handshakes.get(),
            ended: [
                ("expired", stats.sessions_expired.get()),
                ("overflowed", stats.sessions_overflowed.get()),
                ("gap", stats.sessions_with_gaps.get()),
                ("disconnected", stats.sessions_disconnected.get()),
            ],
            received: stats.messages_in.get(),
            queued: stats.messages_queued.get(),
            dropped: stats.messages_dropped.get(),
            malformed: stats.malformed.get(),
            connections_refused: stats.connections_refused.get(),
            publishes_in_flight: bridge.publishes_in_flight() as u64,
            requests_in_flight: bridge.services().in_flight() as u64,
            draining: u64::from(server.draining()),
            connectors: connectors.iter().map(connector).collect(),
            feeds: feeds(bridge),
            process: Process::look(),
        }
    }
}

fn connector(entry: &ConnectorEntry) -> ConnectorLook {
    ConnectorLook {
        labels: vec![
            KeyValue::new("connector", entry.name.clone()),
            KeyValue::new("kind", entry.kind.clone()),
            KeyValue::new("required", entry.required.to_string()),
        ],
        state: entry.connector.health().borrow().state,
        dropped: entry.connector.dropped(),
    }
}

fn feeds(bridge: &Bridge) -> Vec<FeedLook> {
    let feeds = bridge.feeds().iter().zip(bridge.table().mappings());
    feeds
        .filter_map(|(feed, mapping)| {
            let feed = feed.as_ref()?;
            Some(FeedLook {
                labels: vec![
                    KeyValue::new("mapping", mapping.spec().label().to_owned()),
                    KeyValue::new("connector", mapping.spec().connector.clone()),
                ],
                state: feed_state(&feed.state()),
                subscriptions: feed.holders() as u64,
            })
        })
        .collect()
}
