//! The stories that every client lives through, each behind a proxy that splits and delays all that it carries.

pub mod actor;

use actor::{Actor, Library, Seen};
use gateway_tests::bayeux::{Client, answer, dial};
use gateway_tests::gateway::Gateway;
use gateway_tests::proxy::{Proxy, Temper};
use serde_json::{Value, json};
use std::time::Duration;

/// Connects are held for two seconds, so that a story sees some end. A session waits long enough for a client that notices
/// a lost reply late, as callback-polling does.
const CONFIG: &str = "
bayeux: { timeout: 2s, max_interval: 30s }
services:
  - { channel: /service/echo, builtin: echo }
";

/// A gateway, a proxy before it, a client behind the proxy, and another that speaks to the gateway directly.
struct Scene {
    gateway: Gateway,
    proxy: Proxy,
    actor: Actor,
}

impl Scene {
    async fn set(story: &str, library: Library, transport: &str, ack: bool) -> Scene {
        let gateway = Gateway::start(CONFIG);
        let proxy = Proxy::start(gateway.port(), Temper::fickle()).await;
        let mut actor = Actor::start(story, library, proxy.port(), transport, ack);
        let used = actor.ask("handshake", json!({})).await;
        assert_eq!(used["transport"], transport, "no other transport is used");
        Scene { gateway, proxy, actor }
    }

    async fn peer(&self) -> Client {
        Client::websocket(&self.gateway.url()).await
    }

    /// The gateway again, in order or by force.
    async fn restart(mut self, orderly: bool) -> Scene {
        let again = move || {
            if orderly {
                assert_eq!(self.gateway.stop(), Some(0));
            } else {
                self.gateway.kill();
            }
            self.gateway.start_again();
            self
        };
        tokio::task::spawn_blocking(again).await.expect("a restart")
    }
}

async fn say(peer: &Client, channel: &str, data: Value) {
    let reply = answer(peer.publish(channel, &data.to_string())).await;
    assert!(reply.ok(), "{reply:?}");
}

/// All stories at once: most of each is waiting.
pub async fn all(library: Library, transport: &str) {
    println!("{library:?} over {transport}");
    tokio::join!(
        everyday(library, transport),
        comes_back(library, transport),
        keeps_its_word(library, transport),
        lives_on(library, transport),
    );
}

/// What an application does all day.
async fn everyday(library: Library, transport: &str) {
    let Scene { gateway, proxy, mut actor } = Scene::set("everyday", library, transport, false).await;
    let mut peer = Client::websocket(&gateway.url()).await;
    peer.subscribe("/room/**").await;
    for channel in ["/room/blue", "/room/*", "/room/**"] {
        actor.ask("subscribe", json!({"channel": channel})).await;
    }

    // Its own message and those of another, of a kilobyte and more, in letters of one to four bytes.
    let letters =
        if library.joins_letters(transport) { "grüße ☃ 🐢 \u{2028} \"quoted\" \\" } else { "\"greetings\" \\" };
    let own = json!({"n": 0, "text": letters, "list": [1, null, {}, 1.5, true, ""]});
    let long = json!({"n": 1, "text": letters.repeat(60)});
    let deep = json!({"n": 2});
    actor.ask("publish", json!({"channel": "/room/blue", "data": own})).await;
    assert_eq!(peer.next().await.value(), own, "data arrives as it was sent");
    actor.hears("/room/**", 1).await;
    say(&peer, "/room/red", long.clone()).await;
    say(&peer, "/room/blue/corner", deep.clone()).await;
    assert_eq!(actor.hears("/room/**", 3).await, [own.clone(), long.clone(), deep]);
    assert_eq!(actor.hears("/room/*", 2).await, [own.clone(), long.clone()], "one level");
    assert_eq!(actor.hears("/room/blue", 1).await, [own], "only its own");
    let long = json!("x".repeat(library.longest(transport)));
    actor.ask("publish", json!({"channel": "/room/green", "data": long})).await;
    peer.take(2).await; // its own two
    assert_eq!(peer.next().await.value(), long, "a long message arrives as it was sent");
    actor.hears("/room/**", 4).await;

    // After unsubscribing it hears nothing by that, and the rest as before.
    actor.ask("unsubscribe", json!({"channel": "/room/**"})).await;
    say(&peer, "/room/blue/corner", json!("unheard")).await;
    say(&peer, "/room/red", json!("heard")).await;
    assert_eq!(actor.hears("/room/*", 4).await[3], "heard");
    assert!(actor.seen().heard.iter().all(|heard| heard.data != "unheard"), "{:?}", actor.seen());

    peer.subscribe("/batch").await;
    actor.ask("subscribe", json!({"channel": "/batch"})).await;
    actor.ask("batch", json!({"channel": "/batch", "count": 12})).await;
    let batch: Vec<Value> = (0..12).map(|n| json!({"n": n})).collect();
    assert_eq!(actor.hears("/batch", 12).await, batch, "a batch arrives in order");
    peer.take(2).await; // in the corner and in red
    let peers: Vec<Value> = peer.take(12).await.iter().map(|message| message.value()).collect();
    assert_eq!(peers, batch);

    let question = json!({"question": letters, "number": 42});
    assert_eq!(actor.ask("call", json!({"target": "echo", "data": question})).await, question);

    // Nothing happens for a while: connects end by their timeout, and the next one follows.
    let connects = actor.seen().connects;
    actor.until("two connects that ended by their timeout", |seen| seen.connects >= connects + 2).await;
    assert_eq!(actor.seen().sessions.len(), 1);
    if library.has_timesync() {
        let clock = actor.ask("clock", json!({})).await;
        assert!(clock["offset"].as_f64().unwrap().abs() < 5_000.0, "both clocks are the same: {clock}");
    }

    let client_id = actor.seen().sessions[0].clone();
    actor.ask("disconnect", json!({})).await;
    assert_eq!(error_of_a_connect(&gateway, &client_id).await, "402::session_unknown", "the session is gone");
    let counts = proxy.counts();
    assert!(counts.pieces > 100 && counts.held > 0, "the connection was a bad one: {counts:?}");
    peer.disconnect().await;
}

/// What the gateway says to a connect of that session over another connection.
async fn error_of_a_connect(gateway: &Gateway, client_id: &str) -> String {
    use futures_util::SinkExt as _;
    let mut socket = dial(&gateway.url(), None).await;
    let connect =
        json!([{"id": "1", "channel": "/meta/connect", "clientId": client_id, "connectionType": "websocket"}]);
    socket.send(connect.to_string().into()).await.unwrap();
    gateway_tests::bayeux::next_messages(&mut socket).await[0].error().to_owned()
}

/// Its connection is cut, or it can make none for a while: it comes back by itself, in the same session.
async fn comes_back(library: Library, transport: &str) {
    let mut scene = Scene::set("comes back", library, transport, false).await;
    let peer = scene.peer().await;
    scene.actor.ask("subscribe", json!({"channel": "/news"})).await;
    say(&peer, "/news", json!(0)).await;
    scene.actor.hears("/news", 1).await;

    for n in 1..=3 {
        let connects = scene.actor.seen().connects;
        let before = scene.proxy.counts();
        if n == 3 {
            scene.proxy.refuse().await;
        }
        scene.proxy.cut();
        scene.proxy.until(|counts| counts.cuts > before.cuts).await;
        if n == 3 {
            tokio::time::sleep(Duration::from_millis(500)).await; // that long nobody gets in
            scene.proxy.accept().await;
        }
        scene.proxy.until(|counts| counts.connections > before.connections).await;
        scene.actor.until("its return", |seen| seen.connects > connects).await;
        say(&peer, "/news", json!(n)).await;
        assert_eq!(scene.actor.hears("/news", n + 1).await, (0..=n).collect::<Vec<_>>());
    }
    assert_eq!(scene.actor.seen().sessions.len(), 1, "the session survived");
    scene.actor.ask("disconnect", json!({})).await;
    assert_eq!(scene.actor.seen().by("/news"), [0, 1, 2, 3], "nothing came twice");
    peer.disconnect().await;
}

/// With the ack extension nothing is lost, although its connections are cut again and again in the middle of whatever they
/// carry. Nothing comes twice either where messages and the reply that numbers them arrive together or not at all: over
/// HTTP. On a WebSocket each is a frame of its own, as in CometD; what a cut parts from its number comes again.
async fn keeps_its_word(library: Library, transport: &str) {
    if !library.acknowledges() {
        return;
    }
    // Bytes: some connections carry a group and more, some not even their own begin.
    let (mut groups, mut cuts, bytes) = match std::env::var_os("BAYEUX_LONG") {
        Some(_) => (200, 100, 200..=8000),
        None => (12, 10, 200..=2500),
    };
    if transport == "callback-polling" {
        (groups, cuts) = (groups / 3, cuts / 3); // each may cost a few seconds
    }
    let mut scene = Scene::set("keeps its word", library, transport, true).await;
    let peer = scene.peer().await;
    scene.actor.ask("subscribe", json!({"channel": "/numbers"})).await;
    scene.proxy.cut_after(bytes, cuts);
    let numbers = Numbers { once: transport != "websocket", group: 25, groups };
    for group in 0..groups {
        for n in numbers.of(group) {
            say(&peer, "/numbers", json!(n)).await;
        }
        let all_so_far = |seen: &Seen| numbers.last(group) == seen.by("/numbers").last().and_then(Value::as_u64);
        scene.actor.until(&format!("all numbers of the {group}th group"), all_so_far).await;
    }
    scene.proxy.relent();
    assert_eq!(scene.actor.seen().sessions.len(), 1, "the session survived");
    let counts = scene.proxy.counts();
    assert!(counts.cuts >= u64::from(cuts / 2), "connections were cut: {counts:?}");
    scene.actor.ask("disconnect", json!({})).await;
    numbers.check(&scene.actor.seen().by("/numbers"));
    peer.disconnect().await;
}

/// A page with the reload extension is left and comes again, a few times: the session goes on, and with the ack extension
/// nothing is lost of what is published before, meanwhile and afterwards.
pub async fn page_comes_again(transport: &str) {
    let mut scene = Scene::set("page comes again", Library::Chromium, transport, true).await;
    let peer = scene.peer().await;
    scene.actor.ask("subscribe", json!({"channel": "/news"})).await;
    let mut next = 0;
    for round in 1..=3 {
        for part in 0..3 {
            for _ in 0..5 {
                say(&peer, "/news", json!(next)).await;
                next += 1;
            }
            match part {
                0 => _ = scene.actor.ask("leave", json!({})).await,
                1 => {
                    scene.actor.ask("return", json!({})).await;
                    let used = scene.actor.ask("handshake", json!({"channels": ["/news"]})).await;
                    assert_eq!(used["transport"], transport);
                }
                _ => {
                    let all_so_far = |seen: &Seen| seen.by("/news").last() == Some(&json!(next - 1));
                    scene.actor.until("all so far", all_so_far).await;
                }
            }
        }
        let sessions = scene.actor.seen().sessions.clone();
        assert_eq!(sessions, vec![sessions[0].clone(); round + 1], "the page has its session again");
    }
    // What the page before had heard and not yet acknowledged, this one hears again.
    let numbers = Numbers { once: false, group: next as u64, groups: 1 };
    numbers.check(&scene.actor.seen().by("/news"));
    scene.actor.ask("disconnect", json!({})).await;
    peer.disconnect().await;
}

/// Consecutive numbers, in groups.
struct Numbers {
    once: bool,
    group: u64,
    groups: u64,
}

impl Numbers {
    fn of(&self, group: u64) -> std::ops::Range<u64> {
        group * self.group..(group + 1) * self.group
    }

    fn last(&self, group: u64) -> Option<u64> {
        self.of(group).last()
    }

    /// All came, in order: each once, or again from a number on that came before.
    fn check(&self, heard: &[Value]) {
        let heard: Vec<u64> = heard.iter().map(|value| value.as_u64().expect("a number")).collect();
        let mut next = 0;
        for (at, &n) in heard.iter().enumerate() {
            let around = &heard[at.saturating_sub(3)..heard.len().min(at + 4)];
            assert!(n == next || !self.once && n < next, "{n} instead of {next}, among {around:?}");
            next = n + 1;
        }
        assert_eq!(self.last(self.groups - 1), heard.last().copied(), "all of them");
    }
}

/// The gateway restarts, in order and by force: the client handshakes again and subscribes again.
async fn lives_on(library: Library, transport: &str) {
    let mut scene = Scene::set("lives on", library, transport, false).await;
    scene.actor.ask("subscribe", json!({"channel": "/survivor"})).await;
    for (n, orderly) in [(1, library.reads_intervals()), (2, false)] {
        scene = scene.restart(orderly).await;
        scene.actor.until("another session", |seen| seen.sessions.len() > n).await;
        scene.actor.until("its subscription", |seen| seen.subscribed.len() > n).await;
        let peer = scene.peer().await;
        say(&peer, "/survivor", json!(n)).await;
        assert_eq!(scene.actor.hears("/survivor", n).await, (1..=n).collect::<Vec<_>>());
        peer.disconnect().await;
    }
    let sessions = scene.actor.seen().sessions.clone();
    assert!(sessions[0] != sessions[1] && sessions[1] != sessions[2], "{sessions:?}");
    scene.actor.ask("disconnect", json!({})).await;
}
