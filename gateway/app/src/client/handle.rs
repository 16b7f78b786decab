use super::request::{Request, Wanted};
use super::session::Session;
use super::subscriptions::Subscription;
use super::{Error, Options, wire};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Requests that wait to be sent. When they are that many, the next one's sender waits.
const COMMANDS: usize = 256;
/// Events not received yet. When they are that many, the server is read no further.
const EVENTS: usize = 1024;

/// What happens in a session besides replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message on a subscribed channel, or one that the server sent to this session alone.
    Message {
        /// Its channel.
        channel: String,
        /// The whole message as JSON on one line.
        json: String,
    },
    /// The connection is lost, for this reason. The client is trying to come back.
    Lost(String),
    /// The connection is there again.
    Back,
    /// After the server had forgotten the session, it refused a subscription that it had taken before.
    Unsubscribed(Error),
    /// The server refuses for good. Nothing comes after it.
    Ended(Error),
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The whole message as JSON on one line.
    pub json: String,
    /// The reason, if it was a refusal (`successful: false`).
    pub error: Option<String>,
    /// The `data` of an answer as JSON on one line. A refusal may have some, too.
    pub data: Option<String>,
}

/// A request under way.
#[derive(Debug)]
pub struct Pending {
    channel: String,
    reply: oneshot::Receiver<Result<Reply, Error>>,
    deadline: Instant,
    patience: Duration,
}

impl Pending {
    /// Waits for the server's reply.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Lost`]: the outcome is not known. [`Error::Ended`].
    pub async fn reply(self) -> Result<Reply, Error> {
        match timeout_at(self.deadline, self.reply).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(Error::Ended),
            Err(_) => Err(Error::TimedOut { what: self.channel, after: self.patience }),
        }
    }
}

/// A session with a Bayeux server. It keeps itself alive, comes back after a lost connection, and renews its subscriptions
/// when the server has forgotten it. Dropping it ends it without a farewell: see [`Client::disconnect`].
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Request>,
    session: JoinHandle<()>,
    patience: Duration,
}

impl Client {
    /// Reaches the server and makes the handshake. The receiver gives the session's events; whoever subscribes has to
    /// receive them, whoever does not may drop it.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`].
    pub async fn open(options: Options) -> Result<(Self, mpsc::Receiver<Event>), Error> {
        // Does nothing if the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let patience = options.timeout;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (sender, events) = mpsc::channel(EVENTS);
        let (session, link) = Session::open(options, queue, sender).await?;
        let session = tokio::spawn(session.run(link));
        Ok((Self { commands, session, patience }, events))
    }

    /// Sends a message. Messages are sent in the order of these calls; each one's reply is waited for by [`Pending::reply`].
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub async fn publish(&self, channel: &str, data: &RawValue) -> Result<Pending, Error> {
        self.send(channel, fields(channel, data), Wanted::Acknowledgement).await
    }

    /// Asks a service and waits for its answer. A failure that the service answers is a [`Reply`] with an `error`.
    ///
    /// # Errors
    /// Those of [`Pending::reply`].
    pub async fn call(&self, channel: &str, data: &RawValue) -> Result<Reply, Error> {
        self.send(channel, fields(channel, data), Wanted::Answer).await?.reply().await
    }

    /// Subscribes to channels or patterns; `from` is the position to read on from, as JSON.
    ///
    /// # Errors
    /// [`Error::Refused`] for the first that the server does not take; those of [`Pending::reply`].
    pub async fn subscribe(&self, channels: &[String], from: Option<&str>) -> Result<(), Error> {
        let mut replies = Vec::with_capacity(channels.len());
        for channel in channels {
            let subscription = Subscription::new(channel, from);
            replies.push(self.send(channel, subscription.fields(), Wanted::Subscription(subscription)).await?);
        }
        for (channel, reply) in channels.iter().zip(replies) {
            if let Some(error) = reply.reply().await?.error {
                return Err(Error::Refused { what: format!("to subscribe to {channel}"), error });
            }
        }
        Ok(())
    }

    /// Ends the session and says so to the server, which has a moment to answer.
    pub async fn disconnect(self) {
        let farewell = async {
            let rest = r#""channel":"/meta/disconnect""#.to_owned();
            if let Ok(reply) = self.send("/meta/disconnect", rest, Wanted::Farewell).await {
                let _ = reply.reply().await;
            }
        };
        let _ = timeout(Duration::from_secs(2), farewell).await;
        drop(self.commands);
        let abort = self.session.abort_handle();
        if timeout(Duration::from_secs(2), self.session).await.is_err() {
            abort.abort();
        }
    }

    async fn send(&self, channel: &str, rest: String, wanted: Wanted) -> Result<Pending, Error> {
        let (sender, reply) = oneshot::channel();
        let deadline = Instant::now() + self.patience;
        let request = Request { rest, wanted, reply: Some(sender) };
        let timed_out = || Error::TimedOut { what: channel.to_owned(), after: self.patience };
        timeout_at(deadline, self.commands.send(request)).await.map_err(|_| timed_out())?.map_err(|_| Error::Ended)?;
        Ok(Pending { channel: channel.to_owned(), reply, deadline, patience: self.patience })
    }
}

fn fields(channel: &str, data: &RawValue) -> String {
    format!(r#""channel":{},"data":{}"#, wire::quoted(channel), data.get())
}
