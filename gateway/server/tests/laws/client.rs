//! What the client has asked and got, and what it may get.

use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// What arrives, and on which connection.
pub enum Event {
    /// A frame of a WebSocket.
    Frame(usize, Vec<Value>),
    /// A WebSocket is closed by the server.
    Closed(usize),
    /// The response to a request.
    Response(usize, u16, Value),
}

struct Asked {
    connection: usize,
    connect: bool,
    /// It has to be answered soon.
    soon: bool,
    /// A newer connect on the same socket may have ended it in silence.
    silent: bool,
    publishes: Option<(String, u64)>,
}

/// With acknowledgement, messages count together with the reply that closes their batch, if it is that of the latest
/// connect: what else arrives comes again.
pub struct Client {
    id: String,
    acknowledges: bool,
    ids: u64,
    asked: HashMap<String, Asked>,
    gone: BTreeSet<usize>,
    current: Option<String>,
    /// The number of the last batch.
    seen: u64,
    got: Vec<(String, u64)>,
    open: HashMap<usize, Vec<(String, u64)>>,
    last: HashMap<(usize, String), u64>,
    /// Messages that must come, and those of unknown fate, which may.
    expected: BTreeSet<(String, u64)>,
    possible: BTreeSet<(String, u64)>,
    published: HashMap<String, u64>,
}

impl Client {
    pub fn new(id: String, acknowledges: bool) -> Self {
        Client {
            id,
            acknowledges,
            ids: 0,
            asked: HashMap::new(),
            gone: BTreeSet::new(),
            current: None,
            seen: 0,
            got: Vec::new(),
            open: HashMap::new(),
            last: HashMap::new(),
            expected: BTreeSet::new(),
            possible: BTreeSet::new(),
            published: HashMap::new(),
        }
    }

    /// Another session publishes this.
    pub fn expect(&mut self, channel: &str, n: u64) {
        self.expected.insert((channel.to_owned(), n));
    }

    pub fn request(&mut self, connection: usize, channel: &str, mut message: Value) -> Value {
        self.ids += 1;
        let id = self.ids.to_string();
        (message["channel"], message["clientId"], message["id"]) = (json!(channel), json!(self.id), json!(id));
        let asked = Asked { connection, connect: false, soon: true, silent: false, publishes: None };
        self.asked.insert(id, asked);
        message
    }

    /// A message of its own, which comes back to it.
    pub fn publish(&mut self, connection: usize, channel: &str) -> Value {
        let n = self.published.entry(channel.to_owned()).or_default();
        *n += 1;
        let n = *n;
        self.possible.insert((channel.to_owned(), n));
        let message = self.request(connection, channel, json!({"data": n}));
        let asked = self.asked.get_mut(message["id"].as_str().unwrap()).unwrap();
        asked.publishes = Some((channel.to_owned(), n));
        message
    }

    pub fn connect(&mut self, connection: usize, poll: bool, timeout: Option<u64>) -> Value {
        for asked in self.asked.values_mut().filter(|asked| asked.connect) {
            asked.silent |= asked.connection == connection;
        }
        let mut message = json!({"connectionType": if poll { "long-polling" } else { "websocket" }});
        if let Some(timeout) = timeout {
            message["advice"] = json!({"timeout": timeout});
        }
        if self.acknowledges {
            message["ext"] = json!({"ack": self.seen});
        }
        let message = self.request(connection, "/meta/connect", message);
        let id = message["id"].as_str().unwrap().to_owned();
        let asked = self.asked.get_mut(&id).unwrap();
        (asked.connect, asked.soon) = (true, timeout.is_some());
        self.current = Some(id);
        message
    }

    pub fn take(&mut self, event: Event) {
        match event {
            Event::Frame(connection, messages) if !self.gone.contains(&connection) => {
                messages.into_iter().for_each(|message| self.message(connection, &message));
            }
            Event::Response(connection, 200, Value::Array(messages)) if !self.gone.contains(&connection) => {
                messages.iter().for_each(|message| self.message(connection, message));
                assert!(!self.waits_for(connection), "a request without a reply in {messages:?}");
            }
            Event::Response(connection, status, body) if !self.gone.contains(&connection) => {
                assert_eq!(status, 500, "{body}");
                assert!(
                    self.asked.values().any(|a| a.connection == connection && a.connect),
                    "only a connect may be superseded"
                );
                self.gone(connection);
            }
            Event::Closed(connection) => self.gone(connection),
            Event::Frame(..) | Event::Response(..) => {}
        }
    }

    fn message(&mut self, connection: usize, message: &Value) {
        let channel = message["channel"].as_str().unwrap();
        if let Some(n) = message["data"].as_u64() {
            let message = (channel.to_owned(), n);
            assert!(
                self.expected.contains(&message) || self.possible.contains(&message),
                "nobody published {message:?}"
            );
            if self.acknowledges {
                self.open.entry(connection).or_default().push(message);
                return;
            }
            let last = self.last.entry((connection, channel.to_owned())).or_default();
            assert!(n > *last, "{channel}: {n} after {last} on one connection");
            *last = n;
            self.got(message);
            return;
        }
        assert_eq!(message["successful"], true, "{message}");
        let id = message["id"].as_str().unwrap();
        let asked = self.asked.remove(id).unwrap_or_else(|| panic!("answered twice, or not asked: {message}"));
        assert_eq!(asked.connection, connection, "answered on another connection: {message}");
        self.expected.extend(asked.publishes);
        if let Some(batch) = message["ext"]["ack"].as_u64().filter(|_| asked.connect) {
            let messages = self.open.remove(&connection).unwrap_or_default();
            if self.current.as_deref() == Some(id) {
                assert!(batch > self.seen, "batch {batch} after {}", self.seen);
                self.seen = batch;
                messages.into_iter().for_each(|message| self.got(message));
            }
        }
    }

    fn got(&mut self, (channel, n): (String, u64)) {
        let same = self.got.iter().filter(|(c, _)| *c == channel).map(|(_, n)| *n);
        if self.acknowledges {
            let last = same.max().unwrap_or_default();
            assert!(n > last, "{channel}: {n} after {last} in the acknowledged stream");
        } else {
            assert!(same.into_iter().all(|other| other != n), "{channel}: {n} twice");
        }
        self.got.push((channel, n));
    }

    /// A connection is gone, with the requests on it.
    pub fn gone(&mut self, connection: usize) {
        self.gone.insert(connection);
        self.open.remove(&connection);
        self.asked.retain(|_, asked| asked.connection != connection);
    }

    pub fn idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Its latest connect waits for an answer.
    pub fn connecting(&self) -> bool {
        self.current.as_ref().is_some_and(|id| self.asked.contains_key(id))
    }

    pub fn waits_for(&self, connection: usize) -> bool {
        self.asked.values().any(|asked| asked.connection == connection)
    }

    /// A request whose answer must come without anything else happening. `all`: no message is lost, so that the latest
    /// connect must be answered, or bring what is missing, too.
    pub fn must_be_answered(&self, all: bool) -> Option<String> {
        let owed = all && self.connecting() && self.missing().is_some();
        let latest = owed.then(|| format!("connect {:?}, while messages wait", self.current));
        latest.or_else(|| self.find(|asked| asked.soon && !asked.silent))
    }

    /// A request without an answer, but for connects that a newer one on their WebSocket has ended in silence.
    pub fn unanswered(&self) -> Option<String> {
        self.find(|asked| !asked.silent)
    }

    fn find(&self, which: impl Fn(&Asked) -> bool) -> Option<String> {
        let (id, asked) = self.asked.iter().find(|(_, asked)| which(asked))?;
        Some(format!("{} {id} on connection {}", if asked.connect { "connect" } else { "request" }, asked.connection))
    }

    /// One of the messages that have not come.
    pub fn missing(&self) -> Option<&(String, u64)> {
        let got: BTreeSet<_> = self.got.iter().collect();
        self.expected.iter().find(|message| !got.contains(message))
    }
}
