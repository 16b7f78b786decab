//! Whether the broker is there, and since when.

use std::time::SystemTime;
use tokio::sync::watch;

/// The state of the link to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet reached since the start.
    Connecting,
    /// Reached and working.
    Up,
    /// Reached, but some of it does not work.
    Degraded,
    /// Was reached once, and is not any more.
    Down,
}

impl State {
    /// The word used in `/readyz` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Up => "up",
            State::Degraded => "degraded",
            State::Down => "down",
        }
    }
}

/// State with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The state now.
    pub state: State,
    /// Why, in one sentence; empty when up.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
    /// It was up at least once.
    pub was_up: bool,
}

/// Where a connector writes its health; readers [`HealthCell::subscribe`].
#[derive(Debug)]
pub struct HealthCell(watch::Sender<Health>);

impl Default for HealthCell {
    fn default() -> Self {
        HealthCell(watch::Sender::new(Health {
            state: State::Connecting,
            reason: "not reached yet".into(),
            since: SystemTime::now(),
            was_up: false,
        }))
    }
}

impl HealthCell {
    /// A reader of it.
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    /// The broker answers.
    pub fn up(&self) {
        self.set(State::Up, String::new());
    }

    /// The broker does not answer. Before it ever did, this stays [`State::Connecting`], with the reason.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(State::Down, reason.into());
    }

    /// Some of it does not work.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(State::Degraded, reason.into());
    }

    fn set(&self, state: State, reason: String) {
        self.0.send_if_modified(|health| {
            let state = if state == State::Down && !health.was_up { State::Connecting } else { state };
            if health.state == state && health.reason == reason {
                return false;
            }
            if health.state != state {
                health.since = SystemTime::now();
            }
            health.was_up |= state == State::Up;
            health.state = state;
            health.reason = reason;
            true
        });
    }
}
