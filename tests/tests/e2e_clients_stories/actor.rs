//! A client of another make as a process that does what it is told (see `tests/clients/actor.mjs` for the language), and
//! what it has seen.

use gateway_tests::bayeux::PATIENCE;
use gateway_tests::lab::tests_dir;
use gateway_tests::node;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// npm `cometd` of that version in Node.
    Cometd(u8),
    /// npm `cometd` 9 in a page.
    Chromium,
    /// npm `faye` in Node.
    Faye,
    /// `aiocometd-ng`.
    Python,
    /// CometD's client for Java.
    Java,
}

impl Library {
    /// Whether it has the ack extension.
    pub fn acknowledges(self) -> bool {
        !matches!(self, Library::Faye | Library::Python)
    }

    /// Whether it takes an interval in an advice for milliseconds. aiocometd waits that many seconds.
    pub fn reads_intervals(self) -> bool {
        self != Library::Python
    }

    /// Whether letters of several bytes may arrive in pieces. `cometd-nodejs-client` 2.0.0 makes text of each piece by itself.
    pub fn joins_letters(self, transport: &str) -> bool {
        !matches!(self, Library::Cometd(_)) || transport == "websocket"
    }

    /// How many bytes of text a message may have that it publishes: the URL of callback-polling has 2000.
    pub fn longest(self, transport: &str) -> usize {
        if transport == "callback-polling" { 1100 } else { 6000 }
    }

    /// Whether it lets the application measure the clock.
    pub fn has_timesync(self) -> bool {
        self.acknowledges()
    }

    fn command(self) -> Command {
        let script = |path: &str| Command::new(tests_dir().join(path));
        let node = |script: &str| Command::from(node::command(script));
        let mut command = match self {
            Library::Cometd(_) | Library::Faye => node("actor.mjs"),
            Library::Chromium => node("browser.mjs"),
            Library::Python => script("clients/python/run"),
            Library::Java => script("peers/java-client/run"),
        };
        match self {
            Library::Cometd(version) => command.arg(format!("cometd-{version}")),
            Library::Faye => command.arg("faye"),
            Library::Chromium | Library::Python | Library::Java => &mut command,
        };
        command
    }
}

/// A message that an application received.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The subscription that it came by; a library with one inbox for all does not say.
    pub by: Option<String>,
    pub channel: String,
    pub data: Value,
}

/// All that an actor told.
#[derive(Debug, Default)]
pub struct Seen {
    /// Client ids, one for each successful handshake (and each reload of a page).
    pub sessions: Vec<String>,
    /// Successful connects.
    pub connects: usize,
    /// Channels whose subscription was confirmed.
    pub subscribed: Vec<String>,
    pub heard: Vec<Heard>,
    /// Errors of subscriptions whose position is gone.
    pub gone: Vec<String>,
    outcomes: Vec<Value>,
    ended: bool,
}

impl Seen {
    /// The data that a subscription brought, in order.
    pub fn by(&self, subscription: &str) -> Vec<Value> {
        let reaches = |heard: &Heard| match &heard.by {
            Some(by) => by == subscription,
            None => reaches(subscription, &heard.channel),
        };
        self.heard.iter().filter(|heard| reaches(heard)).map(|heard| heard.data.clone()).collect()
    }

    fn take(&mut self, line: Value) {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        match line["event"].as_str() {
            None => self.outcomes.push(line),
            Some("session") => self.sessions.push(text("clientId")),
            Some("connect") => self.connects += usize::from(line["successful"] == true),
            Some("subscribed") => self.subscribed.push(text("channel")),
            Some("gone") => self.gone.push(text("error")),
            Some("heard") => self.heard.push(Heard {
                by: line["by"].as_str().map(str::to_owned),
                channel: text("channel"),
                data: line["data"].clone(),
            }),
            Some(other) => panic!("an actor tells of {other}: {line}"),
        }
    }
}

/// Whether messages on `channel` reach `subscription`.
fn reaches(subscription: &str, channel: &str) -> bool {
    match subscription.strip_suffix('*').map(|rest| rest.strip_suffix('*').map_or((rest, false), |rest| (rest, true))) {
        None => subscription == channel,
        Some((prefix, deep)) => channel.strip_prefix(prefix).is_some_and(|rest| deep || !rest.contains('/')),
    }
}

/// A running actor. It ends with the test.
#[derive(Debug)]
pub struct Actor {
    /// Whose life it is, for messages.
    name: String,
    stdin: ChildStdin,
    seen: watch::Receiver<Seen>,
    asked: u64,
    _child: Child,
}

impl Actor {
    /// Starts it for this address and transport.
    pub fn start(story: &str, library: Library, port: u16, transport: &str, ack: bool) -> Actor {
        Actor::start_with(story, library, port, transport, ack.then_some("ack"))
    }

    /// Starts it with an extension: `ack`, `replay` or (Java) `emp`.
    pub fn start_with(story: &str, library: Library, port: u16, transport: &str, extension: Option<&str>) -> Actor {
        let name = format!("{library:?} over {transport}, {story}");
        let mut child = library
            .command()
            // A name: Python's client keeps no cookies for IP addresses.
            .args([format!("http://localhost:{port}/cometd").as_str(), transport])
            .args(extension)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the actor runs");
        let stdin = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (tell, seen) = watch::channel(Seen::default());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // The libraries print their own remarks as well.
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                    tell.send_modify(|seen| seen.take(value));
                }
            }
            tell.send_modify(|seen| seen.ended = true);
        });
        Actor { name, stdin, seen, asked: 0, _child: child }
    }

    /// Has it do something: what came of it. Panics when it fails.
    pub async fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let outcome = self.start_asking(command, arguments).await;
        self.outcome(outcome).await
    }

    /// Has it do something and does not wait: a ticket for [`Actor::outcome`].
    pub async fn start_asking(&mut self, command: &str, mut arguments: Value) -> u64 {
        self.asked += 1;
        arguments["id"] = json!(self.asked);
        arguments["do"] = json!(command);
        self.stdin.write_all(format!("{arguments}\n").as_bytes()).await.expect("the actor listens");
        self.asked
    }

    /// What came of it.
    pub async fn outcome(&self, ticket: u64) -> Value {
        let find = |seen: &Seen| seen.outcomes.iter().position(|outcome| outcome["id"] == ticket);
        let outcome = self.until(&format!("the outcome of command {ticket}"), |seen| find(seen).is_some()).await;
        let outcome = outcome.outcomes[find(&outcome).expect("found before")].clone();
        assert!(outcome.get("error").is_none(), "{}: command {ticket} failed: {}", self.name, outcome["error"]);
        outcome["ok"].clone()
    }

    /// Waits until it has seen enough.
    pub async fn until(&self, what: &str, mut enough: impl FnMut(&Seen) -> bool) -> watch::Ref<'_, Seen> {
        let mut watching = self.seen.clone();
        let wait = watching.wait_for(|seen| seen.ended || enough(seen));
        let in_time = tokio::time::timeout(PATIENCE, wait).await.map(|seen| seen.is_ok_and(|seen| !seen.ended));
        let seen = self.seen.borrow();
        let name = &self.name;
        assert_ne!(in_time, Ok(false), "{name}: ended before {what}; it saw {seen:#?}");
        assert!(in_time.is_ok(), "{name}: waited {PATIENCE:?} for {what}; it saw {seen:#?}");
        seen
    }

    /// Waits until a subscription brought so much: all of it.
    pub async fn hears(&self, subscription: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} messages by {subscription}");
        self.until(&what, |seen| seen.by(subscription).len() >= count).await.by(subscription)
    }

    /// What it has seen so far.
    pub fn seen(&self) -> watch::Ref<'_, Seen> {
        self.seen.borrow()
    }
}
