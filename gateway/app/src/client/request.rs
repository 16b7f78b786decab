//! Requests on their way: from whoever asks into the session, and from the session into the link.

use super::Error;
use super::handle::Reply;
use super::subscriptions::Subscription;
use std::collections::VecDeque;
use tokio::sync::{mpsc, oneshot};

/// Messages in one envelope, at most.
pub(super) const BATCH: usize = 64;

/// What ends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The server's plain reply, which has no data.
    Acknowledgement,
    /// A message with the request's id and data; a refusal as well.
    Answer,
    /// The reply to a subscribe.
    Subscription(Subscription),
    /// The reply to a disconnect.
    Farewell,
}

/// A message to send, and who waits for what comes back.
#[derive(Debug)]
pub(super) struct Request {
    /// Its fields but for id and client id, as JSON without the braces.
    pub rest: String,
    pub wanted: Wanted,
    /// Without one: a subscription that is renewed after a new handshake.
    pub reply: Option<oneshot::Sender<Result<Reply, Error>>>,
}

/// Waits until there is something to send and room to send it; `None` once nobody can send any more.
pub(super) async fn outgoing<'a>(
    requests: &'a mpsc::Sender<String>,
    commands: &mut mpsc::Receiver<Request>,
    waiting: &mut VecDeque<Request>,
) -> Option<mpsc::Permit<'a, String>> {
    let permit = room(requests).await;
    if waiting.is_empty() {
        waiting.push_back(commands.recv().await?);
        while let Some(request) = (waiting.len() < BATCH).then(|| commands.try_recv().ok()).flatten() {
            waiting.push_back(request);
        }
    }
    Some(permit)
}

/// Waits for room. If the link is broken there will be none, and its inbox says why.
pub(super) async fn room(sender: &mpsc::Sender<String>) -> mpsc::Permit<'_, String> {
    match sender.reserve().await {
        Ok(permit) => permit,
        Err(_) => std::future::pending().await,
    }
}
