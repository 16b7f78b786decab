//! Whether the gateway is ready, and what it says about it.
//!
//! Not ready until each required connector was up once, and while draining. An outage later does not take the gateway
//! out of service, as its sessions stay and heal: it is told as `degraded`, unless `fail_ready_when_down` asks for more.

use crate::telemetry::{ConnectorEntry, feed_state};
use bayeux_bridge::Bridge;
use bayeux_bridge::feed::FeedState;
use connector::{Health, State};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// In one word; of several the gravest, which is the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Everything required works.
    Ready,
    /// It serves, but something does not work.
    Degraded,
    /// A required connector is away, and `fail_ready_when_down` is set.
    Down,
    /// A required connector was never up.
    Starting,
    /// On its way to its end.
    Draining,
}

impl Status {
    /// Whether new clients are welcome.
    pub(super) fn is_ready(self) -> bool {
        matches!(self, Status::Ready | Status::Degraded)
    }
}

/// A connector, as far as readiness goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) required: bool,
    pub(super) state: State,
    pub(super) was_up: bool,
}

impl Link {
    fn status(self, fail_ready_when_down: bool) -> Status {
        match self.state {
            _ if !self.required => Status::Ready,
            _ if !self.was_up => Status::Starting,
            State::Up => Status::Ready,
            State::Connecting | State::Down if fail_ready_when_down => Status::Down,
            State::Degraded | State::Connecting | State::Down => Status::Degraded,
        }
    }
}

/// The verdict. `failed_feeds`: whether some mapping's records cannot be read.
pub(super) fn judge(
    links: impl Iterator<Item = Link>,
    failed_feeds: bool,
    draining: bool,
    fail_ready_when_down: bool,
) -> Status {
    let links = links.map(|link| link.status(fail_ready_when_down)).max().unwrap_or(Status::Ready);
    let feeds = if failed_feeds { Status::Degraded } else { Status::Ready };
    let gateway = if draining { Status::Draining } else { Status::Ready };
    links.max(feeds).max(gateway)
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) status: Status,
    draining: bool,
    /// Everything that does not work, one sentence each.
    reasons: Vec<String>,
    connectors: Vec<ConnectorReport>,
    feeds: Vec<FeedReport>,
}

#[derive(Debug, Serialize)]
struct ConnectorReport {
    name: String,
    kind: String,
    required: bool,
    state: &'static str,
    reason: String,
    since: String,
}

#[derive(Debug, Serialize)]
struct FeedReport {
    /// Its place in the config, from 0.
    mapping: usize,
    channel: String,
    connector: String,
    state: &'static str,
    reason: String,
}

impl Report {
    /// As of now.
    pub(super) fn make(
        connectors: &[ConnectorEntry],
        bridge: &Bridge,
        draining: bool,
        fail_ready_when_down: bool,
    ) -> Self {
        let health: Vec<Health> = connectors.iter().map(|entry| entry.connector.health().borrow().clone()).collect();
        let feeds: Vec<FeedReport> = feeds(bridge);
        let links = connectors.iter().zip(&health).map(|(entry, health)| Link {
            required: entry.required,
            state: health.state,
            was_up: health.was_up,
        });
        let failed = |feed: &&FeedReport| !feed.reason.is_empty();
        let status = judge(links, feeds.iter().any(|feed| failed(&feed)), draining, fail_ready_when_down);
        let connectors: Vec<_> =
            connectors.iter().zip(health).map(|(entry, health)| connector(entry, health)).collect();
        let mut reasons = Vec::new();
        for connector in connectors.iter().filter(|c| c.state != State::Up.as_str()) {
            reasons.push(format!("connector {} is {}: {}", connector.name, connector.state, connector.reason));
        }
        for feed in feeds.iter().filter(failed) {
            reasons.push(format!("mapping {} ({}) cannot be read: {}", feed.mapping, feed.channel, feed.reason));
        }
        Report { status, draining, reasons, connectors, feeds }
    }
}

fn connector(entry: &ConnectorEntry, health: Health) -> ConnectorReport {
    ConnectorReport {
        name: entry.name.clone(),
        kind: entry.kind.clone(),
        required: entry.required,
        state: health.state.as_str(),
        reason: health.reason,
        since: OffsetDateTime::from(health.since).format(&Rfc3339).unwrap_or_default(),
    }
}

fn feeds(bridge: &Bridge) -> Vec<FeedReport> {
    let feeds = bridge.feeds().iter().zip(bridge.table().mappings());
    feeds
        .filter_map(|(feed, mapping)| {
            let state = feed.as_ref()?.state();
            Some(FeedReport {
                mapping: mapping.index(),
                channel: mapping.spec().channel.clone(),
                connector: mapping.spec().connector.clone(),
                state: feed_state(&state),
                reason: match state {
                    FeedState::Failed(reason) => reason,
                    FeedState::Closed | FeedState::Opening | FeedState::Live => String::new(),
                },
            })
        })
        .collect()
}
