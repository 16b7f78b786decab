//! The load of the outage tests and its account: many sessions that publish steadily while the broker is away, and what
//! became of every single message.

use crate::bayeux::{Client, answer_within, millis};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How many sessions publish.
pub const SESSIONS: usize = 20;
/// How much they publish together, per second.
pub const RATE: usize = 600;
/// By then after the broker's return, publishes are acknowledged again.
pub const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// How long the broker is away: 10 s, or 60 s with `BAYEUX_LONG=1`.
pub fn outage() -> Duration {
    Duration::from_secs(if std::env::var_os("BAYEUX_LONG").is_some() { 60 } else { 10 })
}

/// What a publish was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `successful: true`.
    Acknowledged,
    /// `503`: surely not stored.
    Refused,
    /// `504`: may be stored.
    Unknown,
    /// Any other error.
    Other(String),
    /// No answer at all.
    Unanswered,
}

/// One publish and what became of it.
#[derive(Debug)]
pub struct Publish {
    /// The payload, unlike any other.
    pub payload: String,
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered.
    pub answered: Instant,
    /// What it was told.
    pub outcome: Outcome,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    sessions: Vec<JoinHandle<Vec<Publish>>>,
}

impl Load {
    /// Starts [`SESSIONS`] sessions; session `s` publishes on `{prefix}session{s}`.
    pub async fn start(url: &str, prefix: &str) -> Load {
        let (stop, stopped) = watch::channel(false);
        let mut sessions = Vec::new();
        for s in 0..SESSIONS {
            let client = Client::websocket(url).await;
            sessions.push(tokio::spawn(session(client, format!("{prefix}session{s}"), s, stopped.clone())));
        }
        Load { stop, sessions }
    }

    /// Stops publishing, waits for the last answers; all publishes.
    pub async fn finish(self) -> Vec<Publish> {
        let _ = self.stop.send(true);
        let mut all = Vec::new();
        for session in self.sessions {
            all.extend(session.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())));
        }
        all
    }
}

async fn session(client: Client, channel: String, s: usize, mut stopped: watch::Receiver<bool>) -> Vec<Publish> {
    let period = Duration::from_secs(1) * u32::try_from(SESSIONS).expect("small") / u32::try_from(RATE).expect("small");
    let mut ticks = tokio::time::interval(period);
    let mut answers = JoinSet::new();
    for n in 0.. {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let payload = format!(r#"{{"s":{s},"n":{n}}}"#);
        let sent = Instant::now();
        let pending = client.publish(&channel, &payload);
        answers.spawn(async move {
            let reply = answer_within(pending, Duration::from_secs(30)).await;
            let outcome = match reply {
                None => Outcome::Unanswered,
                Some(reply) if reply.ok() => Outcome::Acknowledged,
                Some(reply) if reply.error().starts_with("503:") => Outcome::Refused,
                Some(reply) if reply.error().starts_with("504:") => Outcome::Unknown,
                Some(reply) => Outcome::Other(reply.error().to_owned()),
            };
            Publish { payload, sent, answered: Instant::now(), outcome }
        });
    }
    let publishes = answers.join_all().await;
    assert_eq!(client.faults(), Vec::<String>::new(), "session {s} lives through the outage");
    publishes
}

/// When the broker went and when it was back.
#[derive(Debug, Clone, Copy)]
pub struct Away {
    /// Just before it was killed or paused.
    pub from: Instant,
    /// Just after it answered its own protocol again.
    pub to: Instant,
}

/// The account of a load.
#[derive(Debug)]
pub struct Account {
    /// How many were sent.
    pub published: usize,
    /// `successful: true`.
    pub acknowledged: usize,
    /// Found at the broker, each counted once.
    pub stored: usize,
    /// `503`.
    pub refused: usize,
    /// `504`.
    pub unknown: usize,
    /// Acknowledged and not stored.
    pub lost: Vec<String>,
    /// Stored more than once.
    pub doubled: Vec<String>,
    /// Refused as surely not stored, and stored.
    pub refused_but_stored: Vec<String>,
    /// Any other error, and unanswered ones.
    pub strange: Vec<String>,
    /// Sent well before the outage or after the time for healing, and not acknowledged.
    pub failed_outside: usize,
    /// Sent well before the outage or after the time for healing.
    pub outside: usize,
    /// From the broker's return to the first acknowledgement.
    pub healed: Option<Duration>,
}

/// Compares what the publishers were told with how often the broker (or a witness of it) holds each payload.
pub fn account(publishes: &[Publish], stored: &HashMap<&str, usize>, away: Away) -> Account {
    let times = |publish: &Publish| stored.get(publish.payload.as_str()).copied().unwrap_or(0);
    let of = |outcome: Outcome| publishes.iter().filter(move |p| p.outcome == outcome);
    let payloads = |list: Vec<&Publish>| list.iter().map(|p| p.payload.clone()).collect::<Vec<_>>();
    // A publish sent less than a second before may be under way when the broker goes.
    let outside: Vec<&Publish> = publishes
        .iter()
        .filter(|p| p.sent + Duration::from_secs(1) < away.from || p.sent > away.to + HEALED_WITHIN)
        .collect();
    Account {
        published: publishes.len(),
        acknowledged: of(Outcome::Acknowledged).count(),
        stored: publishes.iter().filter(|p| times(p) > 0).count(),
        refused: of(Outcome::Refused).count(),
        unknown: of(Outcome::Unknown).count(),
        lost: payloads(of(Outcome::Acknowledged).filter(|p| times(p) == 0).collect()),
        doubled: payloads(publishes.iter().filter(|p| times(p) > 1).collect()),
        refused_but_stored: payloads(of(Outcome::Refused).filter(|p| times(p) > 0).collect()),
        strange: publishes
            .iter()
            .filter_map(|p| match &p.outcome {
                Outcome::Other(error) => Some(error.clone()),
                Outcome::Unanswered => Some("no answer".to_owned()),
                _ => None,
            })
            .collect(),
        failed_outside: outside.iter().filter(|p| p.outcome != Outcome::Acknowledged).count(),
        outside: outside.len(),
        healed: of(Outcome::Acknowledged)
            .filter(|p| p.answered >= away.to)
            .map(|p| p.answered.saturating_duration_since(away.to))
            .min(),
    }
}

impl Account {
    /// Prints it as one line.
    pub fn print(&self, what: &str, away: Away) {
        println!(
            "{what}: away {} ms, published {}, acknowledged {}, stored {}, refused (503) {}, outcome unknown (504) {}, \
             lost {}, doubled {}, healed after {} ms",
            millis(away.from, away.to),
            self.published,
            self.acknowledged,
            self.stored,
            self.refused,
            self.unknown,
            self.lost.len(),
            self.doubled.len(),
            self.healed.map_or_else(|| "?".to_owned(), |d| d.as_millis().to_string()),
        );
    }

    /// What is promised for every broker.
    pub fn assert_promises(&self, first_tick: Instant, last_tick: Instant) {
        let seconds = last_tick.saturating_duration_since(first_tick).as_secs_f64();
        let rate = self.published as f64 / seconds;
        assert!(rate >= 500.0, "the load was only {rate:.0} publishes a second");
        assert_eq!(self.strange, Vec::<String>::new(), "each publish is acknowledged, 503 or 504");
        assert_eq!(self.lost, Vec::<String>::new(), "acknowledged and not stored");
        assert!(
            self.failed_outside * 100 <= self.outside,
            "{} of {} failed outside the outage",
            self.failed_outside,
            self.outside
        );
        let healed = self.healed.expect("publishes are acknowledged again");
        assert!(healed <= HEALED_WITHIN, "healed after {} ms", healed.as_millis());
        assert!(self.refused + self.unknown > 0, "the outage was felt");
    }
}
