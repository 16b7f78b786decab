//! A way to the server: texts in and out, over either transport.

use super::options::{Options, TransportKind};
use super::{long_polling, websocket};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Envelopes that wait to be written. Few, so that what comes meanwhile travels together in the next.
pub(super) const OUTGOING: usize = 2;
/// Envelopes that were read and not yet looked at. When they are that many, the server is read no further.
pub(super) const INCOMING: usize = 16;

/// An open way to the server. Its tasks end with it.
pub(super) struct Link {
    pub kind: TransportKind,
    /// Takes envelopes of requests.
    pub requests: mpsc::Sender<String>,
    /// Takes connects, which over HTTP travel beside the requests.
    pub connects: mpsc::Sender<String>,
    /// Gives envelopes of the server, and at last why the link broke.
    pub inbox: mpsc::Receiver<Result<String, String>>,
    /// Those that read and write.
    pub tasks: JoinSet<()>,
}

impl Link {
    /// Opens a way by the given transport.
    ///
    /// # Errors
    /// In words, why not.
    pub async fn open(kind: TransportKind, options: &Options, jar: &long_polling::Jar) -> Result<Self, String> {
        match kind {
            TransportKind::Websocket => websocket::open(options).await,
            TransportKind::LongPolling => long_polling::open(options, jar),
        }
    }

    /// Closes it in order: what was handed over is written first.
    pub async fn close(self) {
        let Self { requests, connects, inbox, mut tasks, .. } = self;
        drop((requests, connects, inbox));
        let ended = async { while tasks.join_next().await.is_some() {} };
        // A server that does not take the rest is not waited for: dropping the tasks ends them.
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }
}
