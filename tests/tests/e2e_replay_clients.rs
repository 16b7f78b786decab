//! Clients that keep positions: npm `cometd` with the gateway's replay extension, in Node and in a page, and one that does as
//! Salesforce's clients do. Each goes on where it was, whatever happened in between.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

#[allow(dead_code)] // other stories use the rest of it
#[path = "e2e_clients_stories/actor.rs"]
mod actor;

use actor::{Actor, Library, Seen};
use gateway_tests::bayeux::{Client, Window};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::new_topic;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::node;
use gateway_tests::proxy::{Proxy, Temper};
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;

/// Numbers go round these channels: `/orders/0`, …
const CHANNELS: usize = 3;
/// How long a session outlives its connection, where that matters.
const SOON: Duration = Duration::from_millis(1_500);

fn memory() -> String {
    config("{ memory: {} }", "topic: \"orders.{id}\"")
}

/// Of one partition positions are numbers, of more they are tokens.
fn kafka(partitions: u32) -> String {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "replay", partitions));
    config(&format!("{{ kafka: {{ brokers: [\"{}\"] }} }}", kafka.url()), &format!("topic: {topic}, key: \"{{id}}\""))
}

fn config(connector: &str, target: &str) -> String {
    format!(
        "
bayeux: {{ timeout: 2s, max_interval: 10s }}
connectors: {{ log: {connector} }}
mappings: [{{ channel: \"/orders/{{id}}\", connector: log, {target}, replay: true }}]
"
    )
}

/// A gateway, a proxy before it, and a client behind the proxy that subscribes to all channels.
struct Scene {
    gateway: Gateway,
    proxy: Proxy,
    actor: Actor,
}

impl Scene {
    async fn set(story: &str, config: &str, library: Library, transport: &str) -> Scene {
        let gateway = aside(|| Gateway::start(config));
        let proxy = Proxy::start(gateway.port(), Temper::fickle()).await;
        let (extension, channels) = match library {
            Library::Java => ("emp", &["/orders/0", "/orders/1", "/orders/2"][..]),
            _ => ("replay", &["/orders/*"][..]),
        };
        let mut actor = Actor::start_with(story, library, proxy.port(), transport, Some(extension));
        actor.ask("handshake", json!({})).await;
        for channel in channels {
            actor.ask("subscribe", json!({"channel": channel})).await;
        }
        Scene { gateway, proxy, actor }
    }

    async fn publish(&self, numbers: Range<usize>) {
        publish(&self.gateway.url(), numbers, 8).await;
    }

    /// The client cannot reach the gateway, until [`Scene::let_in`].
    async fn keep_out(&self) {
        self.proxy.refuse().await;
        self.proxy.cut();
    }

    /// It comes back, in a session of its own.
    async fn let_in(&self) {
        let sessions = self.actor.seen().sessions.len();
        self.proxy.accept().await;
        self.actor.until("a new session", |seen| seen.sessions.len() > sessions).await;
    }

    fn restart(&mut self) {
        aside(|| {
            self.gateway.kill();
            self.gateway.start_again();
        });
    }

    /// It hears all numbers below `count`: of each channel in order, each once.
    async fn hears_all_once(&self, count: usize) {
        let seen = self.actor.until(&format!("{count} numbers"), |seen| heard(seen).len() >= count).await;
        for channel in 0..CHANNELS {
            let expected: Vec<_> = (0..count).filter(|n| n % CHANNELS == channel).collect();
            let own: Vec<_> = heard(&seen).into_iter().filter(|n| n % CHANNELS == channel).collect();
            assert_eq!(own, expected, "channel {channel}");
        }
    }
}

/// Publishes numbers, so many at a time.
async fn publish(url: &str, numbers: Range<usize>, at_a_time: usize) {
    let peer = Client::websocket(url).await;
    let mut window = Window::new(at_a_time);
    for n in numbers {
        window.add([peer.publish(&format!("/orders/{}", n % CHANNELS), &n.to_string())]).await;
    }
    for reply in window.finish().await {
        assert!(reply.ok(), "{reply:?}");
    }
    peer.disconnect().await;
}

fn heard(seen: &Seen) -> Vec<usize> {
    let number = |data: &Value| data.get("payload").unwrap_or(data).as_u64().expect("a number");
    seen.heard.iter().map(|heard| number(&heard.data) as usize).collect()
}

async fn goes_on(config: &str, library: Library, transport: &str, survives: bool) {
    let config = config.replace("max_interval: 10s", &format!("max_interval: {}ms", SOON.as_millis()));
    let mut scene = Scene::set("goes on", &config, library, transport).await;
    scene.publish(0..30).await;
    scene.hears_all_once(30).await;

    // Its connections are cut in the middle of whatever they carry: the session lives on. Salesforce's clients, which
    // acknowledge nothing, may miss something then.
    if library != Library::Java {
        scene.proxy.cut_after(200..=2_500, 4);
    }
    scene.publish(30..200).await;
    scene.hears_all_once(200).await;
    scene.proxy.relent();

    // It is away for so long that its session is gone.
    scene.keep_out().await;
    scene.publish(200..260).await;
    tokio::time::sleep(SOON + Duration::from_millis(500)).await; // so long nobody gets in
    scene.let_in().await;
    scene.hears_all_once(260).await;

    if survives {
        // The gateway dies, and its successor has new messages before the client is back.
        scene.keep_out().await;
        scene.restart();
        scene.publish(260..300).await;
        scene.let_in().await;
        scene.publish(300..310).await;
        scene.hears_all_once(310).await;
    }
    assert_eq!(scene.actor.seen().gone, Vec::<String>::new());
    scene.actor.ask("disconnect", json!({})).await;
}

#[test]
fn the_extension_takes_each_message_for_what_it_is() {
    assert_eq!(node::run("replay.mjs", &[]), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_miss_nothing_and_see_nothing_twice_where_positions_are_numbers() {
    let config = memory();
    tokio::join!(
        goes_on(&config, Library::Cometd(9), "websocket", false),
        goes_on(&config, Library::Cometd(7), "long-polling", false),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_miss_nothing_and_see_nothing_twice_in_kafka_even_when_the_gateway_dies() {
    let (one, two) = (kafka(3), kafka(3));
    tokio::join!(
        goes_on(&one, Library::Cometd(8), "websocket", true),
        goes_on(&two, Library::Cometd(9), "long-polling", true),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce_style_clients_go_on_from_the_integers_that_they_keep() {
    let wrapped = || kafka(1).replace("replay: true", "replay: true, envelope: salesforce");
    let (one, two) = (wrapped(), wrapped());
    tokio::join!(goes_on(&one, Library::Java, "long-polling", true), goes_on(&two, Library::Java, "websocket", true),);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_position_is_gone_is_told_and_begins_anew() {
    // A log in memory is gone with its gateway.
    let mut scene = Scene::set("position gone", &memory(), Library::Cometd(9), "websocket").await;
    scene.publish(0..30).await;
    scene.hears_all_once(30).await;
    scene.keep_out().await;
    scene.restart();
    scene.let_in().await;
    let gone = scene.actor.until("that its position is gone", |seen| !seen.gone.is_empty()).await.gone.clone();
    assert!(gone[0].starts_with("400::The replayId {"), "{gone:?}");
    scene.actor.until("another subscription", |seen| seen.subscribed.len() == 2).await;
    scene.publish(30..40).await;
    scene.hears_all_once(40).await;
    assert_eq!(scene.actor.seen().gone.len(), 1);
}

/// A page is loaded again in the middle of a stream: without its session, and with it by CometD's reload extension.
async fn page(config: &str, transport: &str) {
    let mut scene = Scene::set("reloaded page", config, Library::Chromium, transport).await;
    scene.publish(0..10).await;
    scene.hears_all_once(10).await;
    for (from, with_session) in [(10, false), (160, true), (310, false)] {
        let url = scene.gateway.url();
        let stream = tokio::spawn(async move { publish(&url, from..from + 150, 4).await });
        scene.actor.until("the stream", |seen| heard(seen).len() > from + 40).await;
        for command in if with_session { &["leave", "return"][..] } else { &["reload"] } {
            scene.actor.ask(command, json!({})).await;
        }
        scene.actor.ask("handshake", json!({"channels": ["/orders/*"]})).await;
        stream.await.unwrap();
        scene.hears_all_once(from + 150).await;
        let sessions = scene.actor.seen().sessions.clone();
        let [.., before, now] = &sessions[..] else { panic!("{sessions:?}") };
        assert_eq!(before == now, with_session);
    }
    scene.actor.ask("disconnect", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_loaded_again_goes_on_exactly_where_it_was() {
    let (one, two) = (memory(), kafka(3));
    tokio::join!(page(&one, "websocket"), page(&two, "long-polling"));
}
