//! Clients read on from a position, out of the broker's own log: after a time away, a new handshake, or from the beginning;
//! what catches up joins what is live, with no gap and nothing twice.

use connector::Cursor;
use gateway_tests::bayeux::{self, Client, Message, Transport, Window, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::new_topic;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::time::Duration;

/// Where the log is.
struct Log {
    connector: String,
    topic: String,
    /// Positions are whole numbers.
    numbers: bool,
}

fn memory() -> Log {
    Log { connector: "{ memory: {} }".into(), topic: "orders".into(), numbers: true }
}

fn kafka(partitions: u32) -> Log {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "replay", partitions));
    let connector = format!("{{ kafka: {{ brokers: [\"{}\"] }} }}", kafka.url());
    Log { connector, topic, numbers: partitions == 1 }
}

fn jetstream() -> Log {
    let nats = Broker::shared(Kind::Nats);
    let subject = gateway_tests::kafka::unique("replay");
    aside(|| Nats::connect(&nats.url()).make_stream(&subject.to_uppercase(), &[&format!("{subject}.>")]));
    let connector = format!("{{ nats: {{ servers: [\"{}\"], jetstream: true }} }}", nats.url());
    Log { connector, topic: format!("{subject}.{{id}}"), numbers: true }
}

impl Log {
    fn gateway(&self, more: &str, bayeux: &str) -> Gateway {
        let Log { connector, topic, .. } = self;
        let (topic, key) = match topic.contains('{') {
            true => (topic.clone(), String::new()),
            // The channel travels in a header where the topic does not tell it.
            false if connector.contains("memory") => (format!("{topic}.{{id}}"), String::new()),
            false => (topic.clone(), "key: \"{id}\", ".into()),
        };
        Gateway::start(&format!(
            "
bayeux: {{ {bayeux} }}
connectors:
  log: {connector}
mappings:
  - {{ channel: \"/orders/{{id}}\", connector: log, topic: \"{topic}\", {key}replay: true{more} }}
"
        ))
    }
}

async fn from(client: &Client, channel: &str, position: &Value) -> Message {
    let replay = json!({ channel: position });
    answer(client.ask(json!({"channel": "/meta/subscribe", "subscription": channel, "ext": {"replay": replay}}))).await
}

async fn publish(client: &Client, numbers: std::ops::Range<usize>, channels: usize) {
    let mut window = Window::new(64);
    for n in numbers {
        window.add([client.publish(&format!("/orders/{}", n % channels), &n.to_string())]).await;
    }
    for reply in window.finish().await {
        assert!(reply.ok(), "{reply:?}");
    }
}

fn numbers(messages: &[Message]) -> Vec<usize> {
    messages.iter().map(|message| message.text().parse().expect("a number")).collect()
}

async fn story(log: &Log, transport: Transport) {
    let gateway = log.gateway("", "");
    let publisher = Client::websocket(&gateway.url()).await;
    publish(&publisher, 0..20, 1).await;

    // From the beginning, and on into what is new.
    let mut all = Client::connect(&gateway.url(), transport).await;
    assert!(from(&all, "/orders/0", &json!(-2)).await.ok());
    let old = all.take(20).await;
    assert_eq!(numbers(&old), (0..20).collect::<Vec<_>>());
    // Only what is new.
    let mut new = Client::connect(&gateway.url(), transport).await;
    assert!(from(&new, "/orders/0", &json!(-1)).await.ok());
    publish(&publisher, 20..30, 1).await;
    assert_eq!(numbers(&all.take(10).await), (20..30).collect::<Vec<_>>());
    assert_eq!(numbers(&new.take(10).await), (20..30).collect::<Vec<_>>());

    // On from a position, as a client has it after it was away.
    for n in [0, 12, 18] {
        let position = &old[n].ext["replay"];
        assert_eq!(position.is_number(), log.numbers, "{position}");
        let mut back = Client::connect(&gateway.url(), transport).await;
        let reply = from(&back, "/orders/*", position).await;
        assert!(reply.ok(), "{reply:?}");
        assert!(!reply.ext["replay"]["/orders/*"].is_null(), "the reply says where it begins: {reply:?}");
        assert_eq!(numbers(&back.take(29 - n).await), (n + 1..30).collect::<Vec<_>>(), "after {n}");
        assert_eq!(back.taken_now().len(), 0, "nothing came twice");
        assert_eq!(back.faults(), Vec::<String>::new());
    }
    for client in [&mut all, &mut new] {
        assert_eq!(client.taken_now().len(), 0, "nothing came twice");
    }

    // What is no position, or none any more, is told in the words that Salesforce's clients look for.
    for position in [json!("nonsense"), json!(9_000_000_000_000_000u64), json!({"position": true})] {
        let reply = from(&all, "/orders/1", &position).await;
        assert!(reply.error().starts_with("400::The replayId {"), "{position}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_on_from_positions_in_memory() {
    story(&memory(), Transport::WebSocket).await;
    story(&memory(), Transport::LongPolling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_on_from_positions_in_jetstream() {
    story(&jetstream(), Transport::WebSocket).await;
    story(&jetstream(), Transport::LongPolling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_on_from_positions_in_a_kafka_topic_of_one_partition() {
    story(&kafka(1), Transport::WebSocket).await;
    story(&kafka(1), Transport::LongPolling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_on_from_positions_in_a_kafka_topic_of_three_partitions() {
    story(&kafka(3), Transport::WebSocket).await;
}

/// Messages are stored without a pause while clients come, fall away in the middle, and come back with the position that they
/// had last.
async fn seam(log: &Log, count: usize) {
    const CHANNELS: usize = 4;
    let gateway = log.gateway("", "");
    let url = gateway.url();
    let publisher = Client::websocket(&url).await;
    publish(&publisher, 0..200, CHANNELS).await;
    let publishing = tokio::spawn(async move { publish(&publisher, 200..count, CHANNELS).await });
    let mut clients = Vec::new();
    for i in 0..8 {
        let url = url.clone();
        clients.push(tokio::spawn(async move {
            let transport = if i % 2 == 0 { Transport::WebSocket } else { Transport::LongPolling };
            let mut position = json!(-2);
            let mut seen = vec![Vec::new(); CHANNELS];
            let mut left = count;
            let mut stay = 37 + 61 * i;
            while left > 0 {
                let mut client = Client::connect(&url, transport).await;
                let reply = from(&client, "/orders/*", &position).await;
                assert!(reply.ok(), "{reply:?}");
                position = joined(&position, &reply.ext["replay"]["/orders/*"]);
                for message in client.take(stay.min(left)).await {
                    position = joined(&position, &message.ext["replay"]);
                    let n: usize = message.text().parse().expect("a number");
                    seen[n % CHANNELS].push(n);
                    left -= 1;
                }
                stay += 97;
                assert_eq!(client.faults(), Vec::<String>::new());
            }
            for (channel, seen) in seen.iter().enumerate() {
                let expected: Vec<usize> = (0..count).filter(|n| n % CHANNELS == channel).collect();
                assert_eq!(*seen, expected, "client {i}, channel {channel}");
            }
        }));
    }
    publishing.await.expect("publishing ends");
    for client in clients {
        client.await.expect("a client sees all");
    }
}

/// A position together with a later one: of tokens each log's farther place counts.
fn joined(before: &Value, later: &Value) -> Value {
    match (before, later) {
        (Value::String(before), Value::String(later)) => {
            let joined = Cursor::parse(&format!("{before}.{later}")).expect("two tokens are one");
            serde_json::from_str(&joined.position().to_json()).expect("JSON")
        }
        (before, Value::Null) => before.clone(),
        (_, later) => later.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_joins_live_in_memory() {
    seam(&memory(), 6_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_joins_live_in_jetstream() {
    seam(&jetstream(), 4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_joins_live_in_kafka() {
    seam(&kafka(3), 4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_slow_reads_on_at_its_own_speed_and_misses_nothing() {
    let log = memory();
    let gateway = log.gateway("", "queue: { max_messages: 50 }");
    let publisher = Client::websocket(&gateway.url()).await;
    let mut slow = Client::long_polling(&gateway.url()).await;
    slow.subscribe("/orders/*").await;
    // Far more than the queue takes, in far less time than a poll comes back in.
    publish(&publisher, 0..2_000, 3).await;
    let mut all = numbers(&slow.take(2_000).await);
    all.sort_unstable();
    assert_eq!(all, (0..2_000).collect::<Vec<_>>());
    assert_eq!(slow.faults(), Vec::<String>::new(), "its session lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_move_on_although_nothing_is_for_the_client() {
    let log = memory();
    let gateway = log.gateway("", "timeout: 500ms");
    let publisher = Client::websocket(&gateway.url()).await;
    publish(&publisher, 0..1, 1).await;
    let client = Client::long_polling(&gateway.url()).await;
    let reply = from(&client, "/orders/quiet", &json!(-1)).await;
    let begins = reply.ext["replay"]["/orders/quiet"].as_u64().unwrap_or_else(|| panic!("{reply:?}"));
    publish(&publisher, 0..10, 3).await;
    // The feed reads them in its own time; each connect's reply says how far it is.
    let mut now = begins;
    for _ in 0..200 {
        let connect = json!({"channel": "/meta/connect", "connectionType": "long-polling", "advice": {"timeout": 0}});
        let reply = answer(client.ask(connect)).await;
        let then = reply.ext["replay"]["/orders/quiet"].as_u64().unwrap_or_else(|| panic!("{reply:?}"));
        assert!(then >= now, "positions only move on");
        now = then;
        if now == begins + 10 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // the feed is in another process: there is no event
    }
    panic!("ten messages for others have gone by, and the position is {now} after {begins}");
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce_clients_find_positions_in_their_own_envelope() {
    let log = memory();
    let gateway = log.gateway(", envelope: salesforce", "");
    let publisher = Client::websocket(&gateway.url()).await;
    publish(&publisher, 0..3, 1).await;
    let mut client = Client::long_polling(&gateway.url()).await;
    // They send their whole map with each subscription.
    let replay = json!({"/other": 7, "/orders/0": -2});
    let subscribe = json!({"channel": "/meta/subscribe", "subscription": "/orders/0", "ext": {"replay": replay}});
    assert!(answer(client.ask(subscribe)).await.ok());
    let mut before = 0;
    for (n, message) in client.take(3).await.iter().enumerate() {
        let data = message.value();
        assert_eq!(data["payload"], n);
        let id = data["event"]["replayId"].as_u64().unwrap_or_else(|| panic!("{data}"));
        assert!(id > before, "{data}");
        before = id;
        assert!(data["event"]["createdDate"].as_str().is_some_and(|date| date.ends_with('Z')), "{data}");
    }
    let gone = from(&client, "/orders/1", &json!(55)).await;
    assert_eq!(
        gone.error(),
        "400::The replayId {55} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to \
         replay only new events."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_log_to_read_back_a_client_is_told() {
    let gateway = memory().gateway("", "");
    let client = Client::websocket(&gateway.url()).await;
    for position in [json!(-2), json!(5)] {
        let reply = from(&client, "/local", &position).await;
        assert_eq!(reply.error(), "400:/local:replay_unsupported", "{position}");
    }
    assert!(from(&client, "/local", &json!(-1)).await.ok(), "what is new is there everywhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_although_its_client_went_away_before_the_reply() {
    // The second subscription waits for a broker that is not there, and its client does not wait for it.
    let gateway = Gateway::start_when(
        Some(
            "
connectors:
  log: { memory: {} }
  away: { nats: { servers: [\"nats://127.0.0.1:9\"] }, required: false }
mappings:
  - { channel: \"/orders/{id}\", connector: log, topic: \"orders.{id}\", replay: true }
  - { channel: \"/away/{id}\", connector: away, topic: \"away.{id}\" }
",
        ),
        gateway_tests::gateway::Until::Live,
        &[],
    );
    let publisher = Client::websocket(&gateway.url()).await;
    publish(&publisher, 0..5, 1).await;
    let mut client = Client::long_polling(&gateway.url()).await;
    let batch = vec![
        json!({"channel": "/meta/subscribe", "subscription": "/orders/0", "ext": {"replay": {"/orders/0": -2}}}),
        json!({"channel": "/meta/subscribe", "subscription": "/away/0"}),
    ];
    client.ask_and_leave(batch, Duration::from_millis(300)).await;
    publish(&publisher, 5..8, 1).await;
    assert_eq!(numbers(&client.take(8).await), (0..8).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_past_a_mapping_by_publishing_to_a_pattern() {
    let gateway = memory().gateway("", "");
    let publisher = Client::websocket(&gateway.url()).await;
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/orders/*").await;
    client.subscribe("/**").await;
    for pattern in ["/orders/*", "/orders/**", "/**"] {
        let reply = answer(publisher.publish(pattern, "\"forged\"")).await;
        assert_eq!(reply.error(), format!("403:{pattern}:publish_denied"));
    }
    publish(&publisher, 7..8, 1).await;
    assert_eq!(numbers(&client.take(1).await), [7], "only what is in the log arrives");
}

/// A long-polling session that is asked for its messages only when told to.
struct Patient {
    http: reqwest::Client,
    url: String,
    cookie: String,
    id: String,
}

impl Patient {
    async fn handshake(url: &str) -> Patient {
        let (http, url) = (bayeux::http_client(), url.to_owned());
        let mut patient = Patient { http, url, cookie: String::new(), id: String::new() };
        let types = ["long-polling"];
        let hello = json!({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": types});
        patient.id = patient.post(hello).await.remove(0).client_id.expect("a client id");
        patient
    }

    async fn post(&mut self, mut message: Value) -> Vec<Message> {
        if !self.id.is_empty() {
            message["clientId"] = self.id.clone().into();
        }
        let request = self.http.post(&self.url).header("cookie", &self.cookie).body(json!([message]).to_string());
        let response = request.send().await.expect("an answer");
        if let Some(cookie) = response.headers().get("set-cookie") {
            self.cookie = cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned();
        }
        bayeux::messages(&response.text().await.expect("a body"))
    }

    async fn subscribe(&mut self, position: &Value) -> Message {
        let replay = json!({ "/orders/0": position });
        let subscribe = json!({"channel": "/meta/subscribe", "subscription": "/orders/0", "ext": {"replay": replay}});
        self.post(subscribe).await.pop().expect("a reply")
    }

    async fn connect(&mut self) -> Vec<Message> {
        let advice = json!({"timeout": 0});
        self.post(json!({"channel": "/meta/connect", "connectionType": "long-polling", "advice": advice})).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_sleeps_until_its_messages_are_gone_is_told_and_its_position_too() {
    let log = Log { connector: "{ memory: { max_messages: 300 } }".into(), ..memory() };
    let gateway = log.gateway("", "queue: { max_messages: 50 }, max_interval: 120s");
    let publisher = Client::websocket(&gateway.url()).await;
    let mut sleeper = Patient::handshake(&gateway.url()).await;
    assert!(sleeper.subscribe(&json!(-1)).await.ok());
    assert!(sleeper.connect().await.last().expect("a reply").ok());
    // More than its queue takes, more than the gateway keeps at hand, and more than the log keeps.
    publish(&publisher, 0..11_000, 1).await;

    let mut last = (0, Value::Null);
    let refusal = loop {
        let mut messages = sleeper.connect().await;
        let reply = messages.pop().expect("a reply");
        for message in &messages {
            let n = numbers(std::slice::from_ref(message))[0];
            assert_eq!(n, last.0, "what arrives is in order, without a gap");
            last = (n + 1, message.ext["replay"].clone());
        }
        if !reply.ok() {
            break reply;
        }
        assert!(last.0 < 300, "there cannot be more");
        tokio::time::sleep(Duration::from_millis(20)).await; // the gateway finds out in its own time
    };
    assert_eq!((refusal.error(), &refusal.advice["reconnect"]), ("402::session_unknown", &json!("handshake")));
    assert!(last.0 > 0, "what was queued arrived");

    let mut again = Patient::handshake(&gateway.url()).await;
    let gone = again.subscribe(&last.1).await;
    assert!(gone.error().starts_with("400::The replayId {"), "{gone:?}");
    // All that is kept is still there for it.
    assert!(again.subscribe(&json!(-2)).await.ok());
    let mut kept = Vec::new();
    while kept.len() < 300 {
        let mut messages = again.connect().await;
        let reply = messages.pop().expect("a reply");
        assert!(reply.ok(), "{reply:?} after {} messages", kept.len());
        kept.extend(numbers(&messages));
        tokio::time::sleep(Duration::from_millis(5)).await; // another process reads them
    }
    assert_eq!(kept, (10_700..11_000).collect::<Vec<_>>());
    let metrics = gateway.admin_get("/metrics").1;
    let told = |line: &str| line.contains("sessions_ended") && line.contains("reason=\"gap\"") && line.ends_with(" 1");
    assert!(metrics.lines().any(told), "{metrics}");
}
