//! The commands against a Bayeux server in the same process, over real sockets, by either transport.

use super::commands::{Failure, run_call, run_publish, run_subscribe};
use super::{CallArgs, Error, PublishArgs, SubscribeArgs};
use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::message::{Message, MessageId};
use bayeux::reply::Refusal;
use bayeux::session::{Carrier, EndReason};
use bayeux_server::hooks::{
    Attempt, Begin, Eventually, Handshake, Listener, Policy, Publish, PublishFlow, SubscribeFlow,
};
use bayeux_server::{Identity, LiveSession, Server, ServerSettings, http, listener};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BOTH: [&str; 2] = ["websocket", "long-polling"];

/// What the server allows and answers: `/closed/**` takes no subscriber, and three services.
struct House {
    subscribed: UnboundedSender<String>,
}

impl Policy for House {
    fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
        let stranger = handshake.headers.contains_key("authorization");
        let answer = if stranger { Err(Refusal::new("403::handshake_denied")) } else { Ok(Identity::default()) };
        answer.into()
    }
    fn subscribe<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        open(attempt).into()
    }
    fn publish<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        open(attempt).into()
    }
}

fn open(attempt: &Attempt<'_>) -> Result<(), Refusal> {
    match attempt.channel.as_str().starts_with("/closed/") {
        true => Err(attempt.denied_for("denied_by_rule")),
        false => Ok(()),
    }
}

impl Listener for House {
    fn publish(&self, _: &Publish) -> PublishFlow {
        PublishFlow::Broadcast
    }
    fn service(&self, publish: &Publish) -> Result<(), Refusal> {
        let (successful, data) = match publish.channel.as_str() {
            "/service/echo" => (true, publish.message.data.clone().unwrap_or_default()),
            "/service/broken" => (false, "{\n  \"reason\": \"out of order\"\n}".into()),
            "/service/refused" => return Err(Refusal::new("404:/service/refused:service_unknown")),
            _ => return Ok(()),
        };
        let id = match &publish.message.id {
            Some(MessageId::Valid(id)) => Some(&**id),
            _ => None,
        };
        let parts = DeliveryParts { id, successful: Some(successful), data: &data, ..DeliveryParts::default() };
        publish.session.deliver(Arc::new(Delivery::new(publish.channel.as_str().into(), &parts)));
        Ok(())
    }
    fn subscribe(&self, _: &Arc<LiveSession>, _: &ChannelName, _: &Message) -> SubscribeFlow {
        SubscribeFlow::Accept(Begin::Now)
    }
    fn subscribed(&self, _: &Arc<LiveSession>, channel: &ChannelName) {
        let _ = self.subscribed.send(channel.as_str().to_owned());
    }
    fn unsubscribed(&self, _: &LiveSession, _: &ChannelName) {}
}

/// A server in this process.
struct Running {
    server: Server,
    port: u16,
    subscribed: UnboundedReceiver<String>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    fn start(port: u16, settings: ServerSettings) -> Self {
        let (sender, subscribed) = mpsc::unbounded_channel();
        let house = Arc::new(House { subscribed: sender });
        let server = Server::new(settings, Arc::clone(&house) as Arc<dyn Policy>, house);
        let socket = listener::bind(([127, 0, 0, 1], port).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (stats, stop) = (Arc::clone(server.stats()), CancellationToken::new());
        let listening = listener::Listening { tls: None, max_connections: 100, stats, stop: stop.clone() };
        let serving = tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
        Self { server, port, subscribed, stop, serving }
    }

    fn new() -> Self {
        Self::start(0, ServerSettings::default())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until that many subscriptions were made.
    async fn subscriptions(&mut self, count: usize) {
        for _ in 0..count {
            soon(self.subscribed.recv()).await.unwrap();
        }
    }

    /// Ends it in order, and another one begins in its place, which knows nothing of its sessions.
    async fn restart(self) -> Self {
        self.server.drain();
        self.stop.cancel();
        soon(self.serving).await.unwrap();
        Self::start(self.port, ServerSettings::default())
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("this happens in time")
}

/// Arguments as they are typed.
fn args<A: clap::Args>(words: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

/// An output whose lines can be waited for.
struct Output {
    part: Vec<u8>,
    lines: UnboundedSender<Value>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        for line in std::mem::take(&mut self.part).split_inclusive(|byte| *byte == b'\n') {
            let _ = self.lines.send(serde_json::from_slice(line).expect("each line is JSON"));
        }
        Ok(())
    }
}

fn output() -> (Output, UnboundedReceiver<Value>) {
    let (lines, printed) = mpsc::unbounded_channel();
    (Output { part: Vec::new(), lines }, printed)
}

fn subscriber(words: &[&str]) -> (JoinHandle<Result<(), Failure>>, UnboundedReceiver<Value>) {
    let (output, printed) = output();
    let args: SubscribeArgs = args(words);
    (tokio::spawn(async move { run_subscribe(&args, output).await }), printed)
}

/// Runs `publish` with these lines on standard input. Gives what it printed.
async fn publish(words: &[&str], input: Vec<String>) -> (Result<(), Failure>, Vec<Value>) {
    let (sender, lines) = mpsc::channel(8);
    tokio::spawn(async move {
        for line in input {
            let _ = sender.send(Ok(line)).await;
        }
    });
    let (output, mut printed) = output();
    let args: PublishArgs = args(words);
    let outcome = soon(run_publish(&args, || lines, output)).await;
    (outcome, std::iter::from_fn(|| printed.try_recv().ok()).collect())
}

async fn call(words: &[&str]) -> (Result<(), Failure>, String) {
    let mut printed = Vec::new();
    let outcome = soon(run_call(&args::<CallArgs>(words), &mut printed)).await;
    (outcome, String::from_utf8(printed).unwrap())
}

#[tokio::test]
async fn a_thousand_lines_arrive_in_order_and_each_has_its_reply() {
    for transport in BOTH {
        let mut running = Running::new();
        let url = running.url();
        let words = [&url, "/seq/*", "/other", "--count", "1000", "--transport", transport];
        let (subscriber, mut printed) = subscriber(&words);
        running.subscriptions(2).await;

        let lines = (0..1000).map(|number| number.to_string()).collect();
        let (outcome, replies) = publish(&[&url, "/seq/a", "--in-flight", "64", "--transport", transport], lines).await;
        outcome.unwrap();
        assert_eq!(replies.len(), 1000);
        assert!(replies.iter().all(|reply| reply["successful"] == true && reply["channel"] == "/seq/a"));
        soon(subscriber).await.unwrap().unwrap();
        for number in 0..1000 {
            assert_eq!(printed.recv().await.unwrap(), json!({ "channel": "/seq/a", "data": number }));
        }
        assert_eq!(printed.recv().await, None);
        assert_eq!(running.server.session_count(), 0, "both said farewell");
    }
}

#[tokio::test]
async fn an_answer_is_printed_as_the_service_gave_it() {
    let running = Running::new();
    for transport in BOTH {
        let question = r#"{"z":1.00,"a":[12345678901234567890123]}"#;
        let (outcome, printed) = call(&[&running.url(), "/service/echo", question, "--transport", transport]).await;
        outcome.unwrap();
        assert_eq!(printed, format!("{question}\n"), "by {transport}");
        let (outcome, printed) = call(&[&running.url(), "/service/echo", "null", "--transport", transport]).await;
        outcome.unwrap();
        assert_eq!(printed, "null\n", "an answer of null is an answer");
    }
}

#[tokio::test]
async fn a_failed_answer_is_printed_on_one_line_and_is_a_failure() {
    let running = Running::new();
    for transport in BOTH {
        let (outcome, printed) = call(&[&running.url(), "/service/broken", "1", "--transport", transport]).await;
        assert!(matches!(outcome, Err(Failure::Answer(_))), "{outcome:?}");
        assert_eq!(printed.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json!({ "reason": "out of order" }));
        let (outcome, printed) = call(&[&running.url(), "/service/refused", "1", "--transport", transport]).await;
        let said = outcome.unwrap_err().to_string();
        assert_eq!(said, "the server refused /service/refused: 404:/service/refused:service_unknown");
        assert_eq!(printed, "");
    }
}

#[tokio::test]
async fn an_acknowledgement_is_no_answer() {
    let running = Running::new();
    let (outcome, printed) = call(&[&running.url(), "/service/silent", "1", "--timeout", "300ms"]).await;
    let said = outcome.unwrap_err().to_string();
    assert_eq!(said, "no answer on /service/silent within 0.3 s: the message may have been taken or not");
    assert_eq!(printed, "");
}

#[tokio::test]
async fn refusals_are_printed_like_all_replies_and_counted() {
    let running = Running::new();
    for transport in BOTH {
        let (outcome, replies) =
            publish(&[&running.url(), "/closed/x", "1", "--transport", transport], Vec::new()).await;
        assert_eq!(outcome.unwrap_err().to_string(), "the message was not taken: 403:denied_by_rule:publish_denied");
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0]["successful"], false);

        let words = [&running.url(), "/closed/x", "--transport", transport];
        let (outcome, replies) = publish(&words, vec!["1".to_owned(), "2".to_owned()]).await;
        let said = outcome.unwrap_err().to_string();
        assert_eq!(said, "2 of 2 messages were not taken; the first: 403:denied_by_rule:publish_denied");
        assert_eq!(replies.len(), 2);
    }
}

#[tokio::test]
async fn a_line_that_is_no_json_is_named_and_what_came_before_is_still_answered() {
    let running = Running::new();
    let lines = ["1", "two", "3"].map(str::to_owned).to_vec();
    let (outcome, replies) = publish(&[&running.url(), "/a"], lines).await;
    assert!(outcome.unwrap_err().to_string().starts_with("line 2 is no JSON"));
    assert_eq!(replies.len(), 1);
}

#[tokio::test]
async fn a_refused_subscription_ends_the_command() {
    let running = Running::new();
    for transport in BOTH {
        let (subscriber, _) = subscriber(&[&running.url(), "/open", "/closed/x", "--transport", transport]);
        let said = soon(subscriber).await.unwrap().unwrap_err().to_string();
        assert_eq!(said, "the server refused to subscribe to /closed/x: 403:denied_by_rule:subscribe_denied");
    }
}

#[tokio::test]
async fn a_refused_handshake_says_so_and_is_not_tried_another_way() {
    let running = Running::new();
    let (outcome, _) = call(&[&running.url(), "/service/echo", "1", "--header", "Authorization: Bearer nobody"]).await;
    assert_eq!(outcome.unwrap_err().to_string(), "the server refused the handshake: 403::handshake_denied");
}

#[tokio::test]
async fn a_session_that_the_server_has_ended_is_made_anew_with_its_subscriptions() {
    for transport in BOTH {
        let mut running = Running::new();
        let url = running.url();
        let words = [&url, "/a", "/b/**", "--count", "2", "--transport", transport];
        let (subscriber, mut printed) = subscriber(&words);
        running.subscriptions(2).await;
        for session in running.server.sessions() {
            running.server.end_session(&session, EndReason::Expired);
        }
        running.subscriptions(2).await;
        for channel in ["/a", "/b/c"] {
            publish(&[&url, channel, "1"], Vec::new()).await.0.unwrap();
            assert_eq!(soon(printed.recv()).await.unwrap()["channel"], channel, "by {transport}");
        }
        soon(subscriber).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_subscriber_outlives_a_restart_of_the_server() {
    for transport in BOTH {
        let mut running = Running::new();
        let url = running.url();
        let (subscriber, mut printed) = subscriber(&[&url, "/a", "--count", "2", "--transport", transport]);
        running.subscriptions(1).await;
        publish(&[&url, "/a", "1"], Vec::new()).await.0.unwrap();
        assert_eq!(soon(printed.recv()).await.unwrap()["data"], 1);

        let mut running = running.restart().await;
        running.subscriptions(1).await;
        publish(&[&url, "/a", "2"], Vec::new()).await.0.unwrap();
        assert_eq!(soon(printed.recv()).await.unwrap()["data"], 2, "by {transport}");
        soon(subscriber).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn long_polling_is_taken_where_no_websocket_opens_unless_one_is_asked_for() {
    let settings = ServerSettings { transports: vec![Carrier::LongPolling], ..ServerSettings::default() };
    let running = Running::start(0, settings);
    publish(&[&running.url(), "/a", "1"], Vec::new()).await.0.unwrap();
    let words = [&running.url(), "/a", "1", "--transport", "websocket"];
    let said = publish(&words, Vec::new()).await.0.unwrap_err().to_string();
    assert!(said.starts_with("cannot reach http://127.0.0.1:"), "{said}");
    assert!(said.contains("to the WebSocket"), "{said}");
}

#[tokio::test]
async fn a_message_over_the_servers_limit_is_told_and_the_next_ones_are_taken() {
    let running = Running::new();
    let long = format!("{:?}", "x".repeat(100_000));
    for transport in BOTH {
        let lines = vec![long.clone(), "2".to_owned()];
        let words = [&running.url(), "/a", "--in-flight", "1", "--transport", transport];
        let (outcome, replies) = publish(&words, lines).await;
        assert!(outcome.unwrap_err().to_string().starts_with("1 of 2 messages were not taken"));
        assert_eq!(
            (&replies[0]["successful"], &replies[1]["successful"]),
            (&json!(false), &json!(true)),
            "{transport}"
        );
    }
}

#[tokio::test]
async fn where_nothing_listens_one_sentence_says_so() {
    let free = listener::bind(([127, 0, 0, 1], 0).into()).unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    for transport in BOTH {
        let words = [&url, "/service/echo", "1", "--transport", transport];
        let failure = call(&words).await.0.unwrap_err();
        assert!(matches!(failure, Failure::Client(Error::Unreachable { .. })), "{failure:?}");
        assert!(failure.to_string().starts_with(&format!("cannot reach {url}/cometd: ")), "{failure}");
        assert_eq!(failure.to_string().lines().count(), 1);
    }
}
