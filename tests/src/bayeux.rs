//! A raw Bayeux client for load and for reading exact bytes: WebSocket or long-polling, replies matched by id,
//! deliveries with `data` byte for byte.
//!
//! It never repairs anything: what a CometD client would handle by itself (a refused connect, a closed socket) is
//! written down in [`Client::faults`], so that a test can say that there was none.

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};

/// How long a test waits for one event before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A plain WebSocket to a test server.
pub type Socket = WebSocketStream<TcpStream>;

/// How the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One WebSocket.
    WebSocket,
    /// HTTP POST, one held connect at a time.
    LongPolling,
}

/// A message as the gateway sent it.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// The channel; empty in the reply to a message that had none.
    #[serde(default)]
    pub channel: String,
    /// The id of the question, in a reply.
    #[serde(default)]
    pub id: Option<String>,
    /// Whether a question was accepted; absent in a delivery.
    #[serde(default)]
    pub successful: Option<bool>,
    /// The payload, byte for byte; absent in a plain reply.
    #[serde(default, deserialize_with = "some_raw")]
    pub data: Option<Box<RawValue>>,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
    /// The reply's or the record's extensions.
    #[serde(default)]
    pub ext: Value,
    /// Advice.
    #[serde(default)]
    pub advice: Value,
    /// In the handshake's reply.
    #[serde(default, rename = "clientId")]
    pub client_id: Option<String>,
}

fn some_raw<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some) // `null` is data too
}

impl Message {
    /// The payload's bytes as text; panics when there is none.
    pub fn text(&self) -> &str {
        self.data.as_ref().unwrap_or_else(|| panic!("no data in {self:?}")).get()
    }
    /// The payload as a value.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.text()).expect("JSON")
    }
    /// Whether a question was accepted.
    pub fn ok(&self) -> bool {
        self.successful == Some(true)
    }
    /// The error, or nothing.
    pub fn error(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }
}

/// What became of a question.
pub type Pending = oneshot::Receiver<Message>;

/// A session with its connect loop running.
#[derive(Debug)]
pub struct Client {
    inner: Arc<Inner>,
    deliveries: mpsc::UnboundedReceiver<Message>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    transport: Transport,
    url: String,
}

#[derive(Debug)]
struct Inner {
    client_id: String,
    next_id: AtomicU64,
    /// Questions without an answer so far, by message id.
    pending: Mutex<HashMap<String, Question>>,
    deliveries: mpsc::UnboundedSender<Message>,
    /// What went wrong, in order; a watch so that a test can wait for it.
    faults: watch::Sender<Vec<String>>,
    line: Line,
}

#[derive(Debug)]
struct Question {
    answer: oneshot::Sender<Message>,
    /// A service call: the plain acknowledgement, which has the same id and no data, is not its answer.
    wants_data: bool,
}

#[derive(Debug)]
enum Line {
    Socket(mpsc::UnboundedSender<String>),
    Http { http: reqwest::Client, url: String, cookie: String },
}

impl Client {
    /// Handshakes over a WebSocket.
    pub async fn websocket(url: &str) -> Client {
        Client::connect(url, Transport::WebSocket).await
    }

    /// Handshakes over long-polling.
    pub async fn long_polling(url: &str) -> Client {
        Client::connect(url, Transport::LongPolling).await
    }

    /// Handshakes and keeps a connect going. Panics when the gateway refuses.
    pub async fn connect(url: &str, transport: Transport) -> Client {
        let (deliveries, receiver) = mpsc::unbounded_channel();
        match transport {
            Transport::WebSocket => {
                let mut socket = dial(url, None).await;
                let reply = handshake_over(&mut socket).await;
                let (line, frames) = mpsc::unbounded_channel();
                let inner = Arc::new(Inner::new(reply, deliveries, Line::Socket(line)));
                let (sink, stream) = socket.split();
                let tasks = vec![
                    tokio::spawn(write_frames(sink, frames)),
                    tokio::spawn(read_frames(stream, inner.clone())),
                    tokio::spawn(connect_loop(inner.clone(), "websocket")),
                ];
                Client { inner, deliveries: receiver, tasks, transport, url: url.to_owned() }
            }
            Transport::LongPolling => {
                let http = http_client();
                let response = http.post(url).header("content-type", "application/json").body(handshake_body());
                let response = response.send().await.expect("an answer to the handshake");
                let cookie = response.headers().get("set-cookie").expect("a cookie at the handshake");
                let cookie = cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned();
                let text = response.text().await.expect("a body");
                let reply = messages(&text).into_iter().next().expect("a reply");
                assert!(reply.ok(), "handshake refused: {text}");
                let line = Line::Http { http, url: url.to_owned(), cookie };
                let inner = Arc::new(Inner::new(reply, deliveries, line));
                let tasks = vec![tokio::spawn(connect_loop(inner.clone(), "long-polling"))];
                Client { inner, deliveries: receiver, tasks, transport, url: url.to_owned() }
            }
        }
    }

    /// The session's client id.
    pub fn client_id(&self) -> &str {
        &self.inner.client_id
    }
    /// How it speaks.
    pub fn transport(&self) -> Transport {
        self.transport
    }
    /// Where it is connected.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What went wrong so far: refused connects, closed sockets, failed requests.
    pub fn faults(&self) -> Vec<String> {
        self.inner.faults.borrow().clone()
    }

    /// Waits until something went wrong.
    pub async fn first_fault(&self) -> String {
        let mut faults = self.inner.faults.subscribe();
        let seen = tokio::time::timeout(PATIENCE, faults.wait_for(|faults| !faults.is_empty())).await;
        seen.expect("a fault in time").expect("the client lives")[0].clone()
    }

    /// Sends one question; the answer comes by itself, so that many can be under way.
    pub fn ask(&self, message: Value) -> Pending {
        self.ask_batch(vec![message]).pop().expect("one answer")
    }

    /// Sends questions in one envelope.
    pub fn ask_batch(&self, batch: Vec<Value>) -> Vec<Pending> {
        let mut body = String::from("[");
        let mut answers = Vec::with_capacity(batch.len());
        for message in batch {
            let Value::Object(mut fields) = message else { panic!("a message is an object") };
            let (id, answer) = self.inner.question(false);
            fields.insert("id".to_owned(), id.into());
            fields.insert("clientId".to_owned(), self.inner.client_id.clone().into());
            push(&mut body, &Value::Object(fields).to_string());
            answers.push(answer);
        }
        self.inner.send(body + "]");
        answers
    }

    /// Sends questions in one HTTP request and goes away before it is answered.
    pub async fn ask_and_leave(&self, batch: Vec<Value>, patience: Duration) {
        let Line::Http { http, url, cookie } = &self.inner.line else { panic!("only a poller can leave one request") };
        let batch: Vec<Value> = batch
            .into_iter()
            .map(|mut message| {
                message["clientId"] = self.inner.client_id.clone().into();
                message
            })
            .collect();
        let request = http.post(url).header("cookie", cookie).body(Value::from(batch).to_string()).timeout(patience);
        assert!(request.send().await.is_err(), "the answer takes longer than its client waits");
    }

    /// Publishes `data` as these very bytes; the answer comes by itself.
    pub fn publish(&self, channel: &str, data: &str) -> Pending {
        self.publish_batch(&[(channel, data)]).pop().expect("one answer")
    }

    /// Publishes many in one envelope, each `data` as these very bytes.
    pub fn publish_batch(&self, batch: &[(&str, &str)]) -> Vec<Pending> {
        let mut body = String::from("[");
        let mut answers = Vec::with_capacity(batch.len());
        for (channel, data) in batch {
            let (id, answer) = self.inner.question(false);
            let channel = Value::from(*channel);
            let client = &self.inner.client_id;
            push(&mut body, &format!(r#"{{"channel":{channel},"id":"{id}","clientId":"{client}","data":{data}}}"#));
            answers.push(answer);
        }
        self.inner.send(body + "]");
        answers
    }

    /// Subscribes; panics when refused.
    pub async fn subscribe(&self, channel: &str) -> Message {
        let reply = self.try_subscribe(channel).await;
        assert!(reply.ok(), "subscribe {channel} refused: {reply:?}");
        reply
    }

    /// Subscribes; the reply as it is.
    pub async fn try_subscribe(&self, channel: &str) -> Message {
        answer(self.ask(json!({"channel": "/meta/subscribe", "subscription": channel}))).await
    }

    /// Calls a service: the answer with data, or the refusal.
    pub async fn call(&self, channel: &str, data: &str) -> Message {
        answer(self.start_call(channel, data)).await
    }

    /// Calls a service and does not wait.
    pub fn start_call(&self, channel: &str, data: &str) -> Pending {
        let (id, waiting) = self.inner.question(true);
        let client = &self.inner.client_id;
        let channel = Value::from(channel);
        self.inner.send(format!(r#"[{{"channel":{channel},"id":"{id}","clientId":"{client}","data":{data}}}]"#));
        waiting
    }

    /// The next delivery; panics when none comes.
    pub async fn next(&mut self) -> Message {
        match tokio::time::timeout(PATIENCE, self.deliveries.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the client is gone: {:?}", self.faults()),
            Err(_) => panic!("no delivery in {PATIENCE:?}, faults: {:?}", self.faults()),
        }
    }

    /// The next `count` deliveries.
    pub async fn take(&mut self, count: usize) -> Vec<Message> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            match tokio::time::timeout(PATIENCE, self.deliveries.recv()).await {
                Ok(Some(message)) => all.push(message),
                _ => panic!("{} of {count} deliveries in time, faults: {:?}", all.len(), self.faults()),
            }
        }
        all
    }

    /// What was delivered and not yet taken.
    pub fn taken_now(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.deliveries.try_recv().ok()).collect()
    }

    /// Deliveries until none came for `quiet`: for tests that say that nothing more comes.
    pub async fn until_quiet(&mut self, quiet: Duration) -> Vec<Message> {
        let mut all = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(quiet, self.deliveries.recv()).await {
            all.push(message);
        }
        all
    }

    /// Ends the session.
    pub async fn disconnect(self) {
        let reply = answer(self.ask(json!({"channel": "/meta/disconnect"}))).await;
        assert!(reply.ok(), "disconnect refused: {reply:?}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The answer to a question; panics when none comes.
pub async fn answer(pending: Pending) -> Message {
    answer_within(pending, PATIENCE).await.expect("an answer in time")
}

/// The answer to a question, or `None` when none came by then or the line broke.
pub async fn answer_within(pending: Pending, limit: Duration) -> Option<Message> {
    tokio::time::timeout(limit, pending).await.ok()?.ok()
}

impl Inner {
    fn new(reply: Message, deliveries: mpsc::UnboundedSender<Message>, line: Line) -> Inner {
        Inner {
            client_id: reply.client_id.expect("a client id"),
            next_id: AtomicU64::new(1),
            pending: Mutex::default(),
            deliveries,
            faults: watch::Sender::new(Vec::new()),
            line,
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, Question>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn question(&self, wants_data: bool) -> (String, Pending) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let (answer, receiver) = oneshot::channel();
        self.pending().insert(id.clone(), Question { answer, wants_data });
        (id, receiver)
    }

    fn fault(&self, what: String) {
        self.faults.send_modify(|faults| faults.push(what));
    }

    /// Sends an envelope without waiting.
    fn send(self: &Arc<Self>, body: String) {
        match &self.line {
            Line::Socket(line) => {
                let _ = line.send(body); // a closed socket is a fault already
            }
            Line::Http { .. } => {
                let inner = self.clone();
                tokio::spawn(async move { inner.post(body).await });
            }
        }
    }

    async fn post(&self, body: String) {
        let Line::Http { http, url, cookie } = &self.line else { return };
        let request = http.post(url).header("content-type", "application/json").header("cookie", cookie).body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => match response.text().await {
                Ok(text) => self.read(&text),
                Err(error) => self.fault(format!("response broke off: {error}")),
            },
            Ok(response) => self.fault(format!("HTTP {}", response.status())),
            Err(error) => self.fault(format!("request failed: {error}")),
        }
    }

    /// Sorts what came: replies to their questions, the rest to the deliveries.
    fn read(&self, text: &str) {
        for message in messages(text) {
            let asked = message.id.as_ref().and_then(|id| {
                let mut pending = self.pending();
                let only_acknowledged = message.data.is_none() && message.ok();
                if pending.get(id)?.wants_data && only_acknowledged { None } else { pending.remove(id) }
            });
            if let Some(asked) = asked {
                let _ = asked.answer.send(message); // the test may not care
            } else if message.data.is_some() {
                let _ = self.deliveries.send(message);
            } else if !message.ok() {
                self.fault(format!("unasked: {message:?}"));
            }
        }
    }
}

async fn connect_loop(inner: Arc<Inner>, transport: &'static str) {
    let mut first = true;
    loop {
        let (id, pending) = inner.question(false);
        let advice = if first { r#","advice":{"timeout":0}"# } else { "" };
        first = false;
        let client = &inner.client_id;
        let body = format!(
            r#"[{{"channel":"/meta/connect","id":"{id}","clientId":"{client}","connectionType":"{transport}"{advice}}}]"#
        );
        inner.send(body);
        match answer_within(pending, Duration::from_secs(60)).await {
            Some(reply) if reply.ok() => {
                let interval = reply.advice["interval"].as_u64().unwrap_or(0);
                if interval > 0 {
                    tokio::time::sleep(Duration::from_millis(interval)).await; // the protocol's own pause
                }
            }
            Some(reply) => return inner.fault(format!("connect refused: {reply:?}")),
            None => return inner.fault("connect unanswered".to_owned()),
        }
    }
}

async fn write_frames(
    mut sink: futures_util::stream::SplitSink<Socket, Frame>,
    mut frames: mpsc::UnboundedReceiver<String>,
) {
    let mut many = Vec::new();
    while frames.recv_many(&mut many, 256).await > 0 {
        for text in many.drain(..) {
            if sink.feed(Frame::text(text)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn read_frames(mut stream: futures_util::stream::SplitStream<Socket>, inner: Arc<Inner>) {
    loop {
        match stream.next().await {
            Some(Ok(Frame::Text(text))) => inner.read(text.as_str()),
            Some(Ok(Frame::Close(frame))) => {
                let (code, reason) = frame.map(|f| (u16::from(f.code), f.reason.to_string())).unwrap_or_default();
                return inner.fault(format!("closed {code} {reason}"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return inner.fault(format!("socket broke: {error}")),
            None => return inner.fault("socket ended".to_owned()),
        }
    }
}

/// Opens a WebSocket, with a small receive buffer if asked (bytes), so that a reader who stops is noticed soon.
pub async fn dial(url: &str, receive_buffer: Option<u32>) -> Socket {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let authority = address.split('/').next().unwrap_or_default();
    let target = authority.parse().expect("an address with a port");
    let tcp = tokio::net::TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = receive_buffer {
        tcp.set_recv_buffer_size(bytes).expect("a smaller buffer");
    }
    let tcp = tcp.connect(target).await.expect("the gateway accepts");
    tcp.set_nodelay(true).expect("no delay");
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let request = format!("ws://{address}");
    match tokio_tungstenite::client_async_with_config(request, tcp, Some(config)).await {
        Ok((socket, _)) => socket,
        Err(WsError::Http(response)) => panic!("no WebSocket: {}", response.status()),
        Err(error) => panic!("no WebSocket: {error}"),
    }
}

/// Handshakes over an open WebSocket: the reply.
pub async fn handshake_over(socket: &mut Socket) -> Message {
    socket.send(Frame::text(handshake_body())).await.expect("an open socket");
    let reply = next_messages(socket).await.into_iter().next().expect("a reply");
    assert!(reply.ok(), "handshake refused: {reply:?}");
    reply
}

/// The messages of the next text frame.
pub async fn next_messages(socket: &mut Socket) -> Vec<Message> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time") {
            Some(Ok(Frame::Text(text))) => return messages(text.as_str()),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
            other => panic!("no text frame: {other:?}"),
        }
    }
}

/// A handshake's body.
pub fn handshake_body() -> String {
    json!([{"channel": "/meta/handshake", "id": "h1", "version": "1.0", "minimumVersion": "1.0",
            "supportedConnectionTypes": ["websocket", "long-polling", "callback-polling"]}])
    .to_string()
}

/// An HTTP client for plain requests to a test server.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // the second time it is there already
    reqwest::Client::builder().tcp_nodelay(true).build().expect("an HTTP client")
}

/// Splits an envelope into its messages.
pub fn messages(text: &str) -> Vec<Message> {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("not an array of messages ({e}): {text}"))
}

fn push(body: &mut String, message: &str) {
    if body.len() > 1 {
        body.push(',');
    }
    body.push_str(message);
}

/// Keeps at most `limit` questions under way: waits for the oldest when there are more.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    waiting: std::collections::VecDeque<Pending>,
    answers: Vec<Message>,
}

impl Window {
    /// An empty window.
    pub fn new(limit: usize) -> Window {
        Window { limit, waiting: std::collections::VecDeque::new(), answers: Vec::new() }
    }
    /// Adds questions.
    pub async fn add(&mut self, pending: impl IntoIterator<Item = Pending>) {
        self.waiting.extend(pending);
        while self.waiting.len() > self.limit {
            self.settle().await;
        }
    }
    async fn settle(&mut self) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.answers.push(answer(oldest).await);
        }
    }
    /// All answers, in the order of the questions.
    pub async fn finish(mut self) -> Vec<Message> {
        while !self.waiting.is_empty() {
            self.settle().await;
        }
        self.answers
    }
}

/// When something was, and how long ago: for the accounts of fault tests.
pub fn millis(from: Instant, to: Instant) -> u128 {
    to.saturating_duration_since(from).as_millis()
}
