//! JetStream: a subscription reads every stream that holds its subjects, each by a reader of its own.
//!
//! The streams that are there when the subscription begins are read from its start, and it is ready once each has a
//! consumer; those that appear later are read from their beginning. Streams are looked for when the server tells that
//! one was made or changed, after every reconnect, and now and then.

use super::look::Lag;
use super::progress::{Left, Progress};
use super::reader::Reader;
use super::{Tell, Wanted};
use crate::api::{Api, ApiError, StreamInfo};
use crate::link::Link;
use crate::position;
use connector::{Event, Start, SubscribeError};
use futures_util::StreamExt as _;
use rand::Rng as _;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How often in a row a subscription may fail to begin until that is said.
const TELL_AFTER: u32 = 3;

/// What a subscription reads.
pub(super) struct Reading {
    pub api: Api,
    pub wanted: Wanted,
    pub sink: mpsc::Sender<Event>,
    pub start: Start,
    /// When `subscribe` was called, and whether NATS was there.
    pub called: SystemTime,
    pub connected: bool,
    /// The server's clock minus ours, once it is known: asking takes a consumer, which may be one too many.
    pub clock_offset: Option<i128>,
}

/// A subscription that cannot begin now, or ever.
pub(super) enum Setback {
    Later(String),
    Never(SubscribeError),
}

impl From<ApiError> for Setback {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Denied(why) => Setback::Never(SubscribeError::Denied(why)),
            other => Setback::Later(other.to_string()),
        }
    }
}

/// Runs one subscription for good.
pub(super) async fn run(mut reading: Reading, mut changes: watch::Receiver<u64>, look_every: Duration, ready: Tell) {
    let mut readers = JoinSet::new();
    let mut known = HashSet::new();
    let mut left = Left::default();
    let mut trouble = reading.api.link.trouble();
    let mut setbacks = 0u32;
    let begins = loop {
        changes.borrow_and_update();
        match reading.begin().await {
            Ok((first, begins)) => {
                for reader in first {
                    known.insert(reader.stream.clone());
                    readers.spawn(reader.run());
                }
                break begins;
            }
            Err(Setback::Never(error)) => {
                let _ = ready.send(Err(error));
                return;
            }
            Err(Setback::Later(why)) => {
                tracing::debug!(subject = reading.wanted.subject, "the subscription cannot begin yet: {why}");
                setbacks = if reading.api.link.current().is_ok() { setbacks.saturating_add(1) } else { 0 };
                if setbacks >= TELL_AFTER {
                    trouble.tell(format!("the subscription to {} cannot begin: {why}", reading.wanted.subject));
                }
                // From here on "live" can only mean the time of the call.
                reading.connected = false;
                reading.retry().await;
            }
        }
    };
    drop(trouble);
    if ready.send(Ok(begins)).is_err() {
        return;
    }
    loop {
        tokio::select! {
            Some(gone) = readers.join_next(), if !readers.is_empty() => {
                if let Ok((stream, progress)) = gone {
                    known.remove(&stream);
                    left.remember(stream, progress);
                }
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(look_every) => {}
        }
        changes.borrow_and_update();
        let mut new = Vec::new();
        if let Err(why) = reading.appeared(&mut known, &mut left, &mut new).await {
            tracing::debug!(subject = reading.wanted.subject, "streams are not known: {why}");
        }
        for reader in new {
            tracing::info!(subject = reading.wanted.subject, stream = reader.stream, "a stream appeared");
            readers.spawn(reader.run());
        }
    }
}

impl Reading {
    /// Readers for the streams that are not `known` yet: from their beginning, or from where they were `left`.
    async fn appeared(
        &self,
        known: &mut HashSet<String>,
        left: &mut Left,
        readers: &mut Vec<Reader>,
    ) -> Result<(), ApiError> {
        for stream in self.api.streams_of(&self.wanted.subject).await? {
            if known.contains(&stream) {
                continue;
            }
            let info = match self.api.stream(&stream).await {
                Err(ApiError::Missing) => continue,
                info => info?,
            };
            known.insert(stream.clone());
            if let Some(why) = unreadable(&stream, &info) {
                tracing::error!(subject = self.wanted.subject, "{why}");
                continue;
            }
            let progress = left.take(&stream, info.created);
            readers.push(self.reader(stream, progress));
        }
        Ok(())
    }

    pub(super) fn reader(&self, stream: String, progress: Progress) -> Reader {
        Reader {
            log: position::log(&stream),
            api: self.api.clone(),
            stream,
            progress,
            wanted: self.wanted.clone(),
            sink: self.sink.clone(),
            trouble: self.api.link.trouble(),
            barren: 0,
            failures: 0,
            first: None,
            lag: Lag::default(),
        }
    }

    async fn retry(&self) {
        let link = &self.api.link;
        let mut changes = link.changes();
        if link.current().is_ok() {
            let pause = Duration::from_millis(rand::rng().random_range(250..750));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.changed() => {}
            }
        }
        link.connected().await;
    }
}

/// Why a stream must not be, or cannot be, read by consumers that come and go: only one that keeps its messages by its
/// limits gives each reader all of them.
pub(super) fn unreadable(stream: &str, info: &StreamInfo) -> Option<String> {
    match info.config.retention.as_str() {
        "workqueue" => Some(format!(
            "the stream {stream} is a work queue: reading it here would take its messages away from its workers"
        )),
        "interest" => Some(format!(
            "the stream {stream} keeps messages only while a consumer wants them (retention `interest`): those that \
             come while a reader is away would be lost; read a stream with retention `limits`, such as one that \
             sources {stream}"
        )),
        _ => None,
    }
}

/// Counts in `changes` whenever streams may have appeared: on the server's notices and after every reconnect.
pub(super) async fn watch_streams(link: &Link, changes: &watch::Sender<u64>) {
    loop {
        let mut connection = link.connected().await;
        changes.send_modify(|n| *n += 1);
        let notices = connection.client.subscribe("$JS.EVENT.ADVISORY.STREAM.*.>").await;
        let Ok(mut notices) = notices else {
            link.lost(&connection).await;
            continue;
        };
        loop {
            tokio::select! {
                notice = notices.next() => match notice {
                    Some(_) => changes.send_modify(|n| *n += 1),
                    None => break,
                },
                () = link.lost(&connection) => {
                    connection = link.connected().await;
                    changes.send_modify(|n| *n += 1);
                }
            }
        }
    }
}
