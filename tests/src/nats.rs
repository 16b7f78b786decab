//! NATS and its JetStream spoken as plain text over a socket, so that no client library stands between the test and
//! the server: what a stream holds is what the server itself says.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A message as the server sent it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The subject.
    pub subject: String,
    /// The reply subject, if any.
    pub reply: Option<String>,
    /// The header block, empty if there is none.
    pub headers: String,
    /// The payload, as text.
    pub payload: String,
}

impl Stored {
    /// The stream sequence that JetStream put into the reply subject.
    pub fn sequence(&self) -> u64 {
        let reply = self.reply.as_deref().expect("a message from a stream");
        // $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
        reply.split('.').nth(5).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no sequence in {reply}"))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Nats {
    stream: BufReader<TcpStream>,
    next: u32,
    /// Messages that came while something else was waited for.
    early: VecDeque<Stored>,
}

enum Event {
    Pong,
    Message(Stored),
}

impl Nats {
    /// Connects to `nats://host:port`.
    pub fn connect(url: &str) -> Nats {
        let address = url.strip_prefix("nats://").expect("a NATS URL");
        let stream = TcpStream::connect(address).expect("NATS accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        stream.set_nodelay(true).expect("no delay");
        let mut nats = Nats { stream: BufReader::new(stream), next: 0, early: VecDeque::new() };
        nats.write("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        nats.flush();
        nats
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("NATS takes it");
    }

    /// Waits until the server has seen all that was sent.
    pub fn flush(&mut self) {
        self.write("PING\r\n");
        loop {
            match self.read() {
                Event::Pong => return,
                Event::Message(message) => self.early.push_back(message),
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("NATS answers");
        assert!(!line.is_empty(), "NATS closed the connection");
        line.trim_end().to_owned()
    }

    /// Subscribes; the server has taken it when this returns.
    pub fn subscribe(&mut self, subject: &str) {
        self.next += 1;
        let id = self.next;
        self.write(&format!("SUB {subject} {id}\r\n"));
        self.flush();
    }

    /// Publishes.
    pub fn publish(&mut self, subject: &str, payload: &str) {
        self.write(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
    }

    /// Publishes with headers, each `Name: value`.
    pub fn publish_with(&mut self, subject: &str, headers: &[&str], payload: &str) {
        let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
        let total = block.len() + payload.len();
        self.write(&format!("HPUB {subject} {} {total}\r\n{block}{payload}\r\n", block.len()));
    }

    /// The next message.
    #[allow(clippy::should_implement_trait)] // it never ends: it waits or panics
    pub fn next(&mut self) -> Stored {
        loop {
            if let Some(message) = self.early.pop_front() {
                return message;
            }
            if let Event::Message(message) = self.read() {
                return message;
            }
        }
    }

    fn read(&mut self) -> Event {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            let (with_headers, fixed) = match words[0] {
                "MSG" => (false, 4),
                "HMSG" => (true, 5),
                "PONG" => return Event::Pong,
                "PING" => {
                    self.write("PONG\r\n");
                    continue;
                }
                "INFO" | "+OK" => continue,
                _ => panic!("NATS said {line}"),
            };
            let reply = (words.len() > fixed).then(|| words[3].to_owned());
            let size = |i: usize| words[words.len() - i].parse::<usize>().expect("a size");
            let total = size(1);
            let mut body = vec![0; total + 2];
            self.stream.read_exact(&mut body).expect("a payload");
            body.truncate(total);
            let text = String::from_utf8(body).expect("text");
            let (headers, payload) = text.split_at(if with_headers { size(2) } else { 0 });
            return Event::Message(Stored {
                subject: words[1].to_owned(),
                reply,
                headers: headers.to_owned(),
                payload: payload.to_owned(),
            });
        }
    }

    /// The next `count` messages.
    pub fn take(&mut self, count: usize) -> Vec<Stored> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Asks JetStream; panics when it refuses.
    pub fn jetstream(&mut self, api: &str, body: &Value) -> Value {
        let inbox = crate::kafka::unique("_INBOX.test");
        self.subscribe(&inbox);
        let body = body.to_string();
        self.write(&format!("PUB $JS.API.{api} {inbox} {}\r\n{body}\r\n", body.len()));
        let reply: Value = serde_json::from_str(&self.next().payload).expect("JSON");
        assert!(reply.get("error").is_none(), "JetStream refused {api}: {reply}");
        reply
    }

    /// Makes a stream of these subjects.
    pub fn make_stream(&mut self, name: &str, subjects: &[&str]) {
        let settings = json!({"name": name, "subjects": subjects, "storage": "file", "retention": "limits",
                              "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "num_replicas": 1});
        self.jetstream(&format!("STREAM.CREATE.{name}"), &settings);
    }

    /// How many messages a stream holds.
    pub fn stream_len(&mut self, name: &str) -> usize {
        let info = self.jetstream(&format!("STREAM.INFO.{name}"), &json!({}));
        info["state"]["messages"].as_u64().expect("a count").try_into().expect("it fits")
    }

    /// All that a stream holds, in its order.
    pub fn stream_dump(&mut self, name: &str) -> Vec<Stored> {
        let count = self.stream_len(name);
        let inbox = crate::kafka::unique("_INBOX.dump");
        self.subscribe(&inbox);
        let consumer = json!({"stream_name": name, "config": {"deliver_subject": inbox, "deliver_policy": "all",
                              "ack_policy": "none", "replay_policy": "instant", "inactive_threshold": 5_000_000_000_u64}});
        self.jetstream_aside(&format!("CONSUMER.CREATE.{name}"), &consumer);
        self.take(count)
    }

    /// Asks on a connection of its own, so that the answer does not stand among this one's messages.
    fn jetstream_aside(&self, api: &str, body: &Value) {
        let address = self.stream.get_ref().peer_addr().expect("an address");
        Nats::connect(&format!("nats://{address}")).jetstream(api, body);
    }
}
