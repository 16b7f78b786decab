//! The server's own part: its channels, its listeners, its local sessions, and who gets what it publishes.
#![allow(clippy::unwrap_used)]

mod kit;

use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux::message::Message;
use bayeux::queue::{Overflow, QueueLimits};
use bayeux::session::{EndReason, Options, SessionOptions};
use bayeux_server::hooks::{ChannelListener, Flow, Grant, ServerListener, SessionListener};
use bayeux_server::{ChannelSetup, LiveSession, PublishError, Server, ServerChannel, ServerSettings};
use kit::Running;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Writes down what it is told.
#[derive(Clone)]
struct Diary(UnboundedSender<String>);

impl Diary {
    fn new() -> (Self, UnboundedReceiver<String>) {
        let (sender, receiver) = unbounded_channel();
        (Diary(sender), receiver)
    }
    fn note(&self, text: impl Into<String>) {
        let _ = self.0.send(text.into());
    }
}

impl ServerListener for Diary {
    fn configure_channel(&self, channel: &ChannelName, setup: &mut ChannelSetup) {
        if channel.as_str().starts_with("/kept/") {
            setup.persistent(true).attribute("made", String::from("by the listener"));
        }
    }
    fn channel_added(&self, channel: &ServerChannel) {
        self.note(format!("channel {}", channel.name()));
    }
    fn channel_removed(&self, channel: &ChannelName) {
        self.note(format!("no channel {channel}"));
    }
    fn session_added(&self, session: &Arc<LiveSession>, handshake: &Message) {
        self.note(format!("session {}", handshake.ext_string("name").unwrap_or_default()));
        session.add_listener(self.clone());
    }
    fn session_removed(&self, _: &LiveSession, reason: EndReason) {
        self.note(format!("no session: {reason:?}"));
    }
    fn subscribed(&self, _: &Arc<LiveSession>, channel: &ChannelName, message: Option<&Message>) {
        self.note(format!("subscribed {channel} by {}", if message.is_some() { "client" } else { "server" }));
    }
    fn unsubscribed(&self, _: &LiveSession, channel: &ChannelName) {
        self.note(format!("unsubscribed {channel}"));
    }
}

impl ChannelListener for Diary {
    fn subscribed(&self, _: &Arc<LiveSession>, channel: &ChannelName) {
        self.note(format!("{channel} has a subscriber"));
    }
    fn unsubscribed(&self, _: &LiveSession, channel: &ChannelName) {
        self.note(format!("{channel} has one less"));
    }
}

impl SessionListener for Diary {
    fn added(&self, _: &Arc<LiveSession>, _: &Message) {
        self.note("mine: added");
    }
    fn removed(&self, _: &LiveSession, reason: EndReason) {
        self.note(format!("mine: removed, {reason:?}"));
    }
    fn message(&self, _: Option<&Arc<LiveSession>>, _: &LiveSession, delivery: &Delivery) -> Flow {
        match delivery.message().data_as::<String>().as_deref() {
            Some("not for you") => Flow::Veto,
            _ => Flow::Pass,
        }
    }
    fn queued(&self, _: Option<&Arc<LiveSession>>, _: &LiveSession, delivery: &Delivery) {
        self.note(format!("mine: queued {}", delivery.channel()));
    }
}

#[tokio::test]
async fn listeners_are_told_of_sessions_channels_and_subscriptions() {
    let (diary, mut notes) = Diary::new();
    let server = Server::builder(ServerSettings::default()).listener(diary.clone()).build();
    let running = Running::start(&server);
    let mut client = running.client_with(json!({"name": "ann"})).await.unwrap();
    client.subscribe("/kept/a").await;
    let kept = server.channel("/kept/a").unwrap();
    assert_eq!(kept.attribute::<String>("made").unwrap().as_str(), "by the listener");
    assert!(kept.is_persistent());
    kept.add_listener(diary.clone());
    assert_eq!(kept.publish("hello").await, Ok(1));
    assert_eq!(kept.publish("not for you").await, Ok(0));
    assert_eq!(client.heard().await["data"], "hello");
    client.unsubscribe("/kept/a").await;
    client.subscribe("/kept/a").await;
    client.ask(json!({"channel":"/meta/disconnect"})).await;
    for expected in [
        "session ann",
        "mine: added",
        "channel /kept/a",
        "subscribed /kept/a by client",
        "mine: queued /kept/a",
        "/kept/a has one less",
        "unsubscribed /kept/a",
        "/kept/a has a subscriber",
        "subscribed /kept/a by client",
        "no session: Disconnected",
        "/kept/a has one less",
        "unsubscribed /kept/a",
        "mine: removed, Disconnected",
    ] {
        assert_eq!(notes.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_channel_is_set_up_before_anybody_can_use_it_and_stays_if_it_has_a_reason_to() {
    let (diary, mut notes) = Diary::new();
    let server = Server::builder(ServerSettings::default()).listener(diary).build();
    let init = |setup: &mut ChannelSetup| {
        setup.attribute("topic", 7_u32).authorizer(Grant::all());
    };
    let (channel, made) = server.create_channel("/made", init).unwrap();
    assert!(made && channel.exists());
    let (_, again) = server.create_channel("/made", |_| panic!("it is there")).unwrap();
    assert!(!again);
    assert_eq!(channel.attribute::<u32>("topic").as_deref(), Some(&7));
    assert_eq!(channel.attribute::<String>("topic"), None);
    assert_eq!(channel.attribute_names(), ["topic"]);
    assert!(channel.remove_attribute("topic") && !channel.remove_attribute("topic"));
    server.channel("/passing").unwrap().set_attribute("a", 1);
    // The one without a reason to stay goes after some seconds, the other is still there then.
    for expected in ["channel /made", "channel /passing", "no channel /passing"] {
        assert_eq!(notes.recv().await.unwrap(), expected);
    }
    let names: Vec<_> = server.channels_now().iter().map(|channel| channel.name().to_string()).collect();
    assert_eq!(names, ["/made"]);
}

#[tokio::test]
async fn a_channel_is_there_for_a_while_after_it_was_used() {
    let (diary, mut notes) = Diary::new();
    let server = Server::builder(ServerSettings::default()).listener(diary).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    let error = |reply: serde_json::Value| reply["error"].as_str().unwrap_or("none").to_owned();
    assert_eq!(error(client.unsubscribe("/x").await), "400::channel_missing");
    client.publish("/x", json!(1)).await;
    assert_eq!(error(client.unsubscribe("/x").await), "none");
    assert_eq!(error(client.unsubscribe("/service/x").await), "400::channel_missing");
    client.publish("/service/x", json!(1)).await;
    assert_eq!(error(client.unsubscribe("/service/x").await), "none");
    for name in ["/x", "/service/x"] {
        while !notes.recv().await.unwrap().ends_with(&format!("no channel {name}")) {}
        assert_eq!(error(client.unsubscribe(name).await), "400::channel_missing");
    }
}

#[tokio::test]
async fn the_server_publishes_delivers_and_subscribes_sessions_itself() {
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    let room = server.channel("/room").unwrap();
    let session = server.session(&client.id.as_str().into()).unwrap();
    assert_eq!(room.subscribe(&session).await, Ok(true));
    assert_eq!(room.subscribe(&session).await, Ok(false));
    assert_eq!(room.subscribers().len(), 1);
    assert_eq!(room.publish(json!({"from": "server"})).await, Ok(1));
    assert_eq!(client.heard().await, json!({"channel":"/room","data":{"from":"server"}}));
    session.deliver(Arc::new(Delivery::of(&Message::new("/only/you", "psst"))));
    assert_eq!(client.heard().await, json!({"channel":"/only/you","data":"psst"}));
    assert!(room.unsubscribe(&session) && !room.unsubscribe(&session));
    assert_eq!(room.publish(1).await, Ok(0));
    for nowhere in ["/room/*", "/meta/connect"] {
        assert_eq!(server.channel(nowhere).unwrap().publish(1).await, Err(PublishError::Channel));
    }
    room.on_message(|_, _, _| Flow::Veto);
    assert_eq!(room.publish(1).await, Err(PublishError::Vetoed));
}

#[tokio::test]
async fn a_publisher_hears_itself_unless_server_channel_or_session_say_no() {
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    let session = server.session(&client.id.as_str().into()).unwrap();
    client.subscribe("/a").await;
    client.publish("/a", json!(1)).await;
    assert_eq!(client.heard().await["data"], 1);

    let channel = server.channel("/a").unwrap();
    channel.set_broadcast_to_publisher(false);
    client.publish("/a", json!(2)).await;
    client.heard_nothing().await;
    client.subscribe("/**").await; // a pattern that does not mind
    client.publish("/a", json!(3)).await;
    assert_eq!(client.heard().await["data"], 3);

    session.set_broadcast_to_publisher(false);
    client.publish("/b", json!(4)).await;
    client.heard_nothing().await;

    let server = Server::builder(ServerSettings { broadcast_to_publisher: false, ..Default::default() }).build();
    let running = Running::start(&server);
    let (mut one, mut other) = (running.client().await, running.client().await);
    for client in [&mut one, &mut other] {
        client.subscribe("/a").await;
    }
    one.publish("/a", json!(5)).await;
    assert_eq!(other.heard().await["data"], 5);
    one.heard_nothing().await;
    server.session(&one.id.as_str().into()).unwrap().set_broadcast_to_publisher(true);
    one.publish("/a", json!(6)).await;
    assert_eq!(one.heard().await["data"], 6);
}

#[tokio::test]
async fn a_local_session_talks_with_remote_ones_and_is_never_swept() {
    let options = Options { max_interval: std::time::Duration::from_millis(1), ..Options::default() };
    let settings = ServerSettings { session: SessionOptions::same(options), ..ServerSettings::default() };
    let server = Server::builder(settings).build();
    let bot = server.local_session("bot").await.unwrap();
    assert!(bot.session().is_local() && bot.session().tag().starts_with("bot_"));
    bot.subscribe("/chat/*").await.unwrap();
    assert_eq!(
        bot.subscribe("/meta/connect").await.unwrap_err().error,
        "403:denied_by_security_policy:subscribe_denied"
    );

    let running = Running::start(&server);
    let mut client = running.client().await;
    client.subscribe("/chat/a").await;
    client.publish("/chat/a", json!("are you there?")).await;
    assert_eq!(client.heard().await["data"], "are you there?");
    let heard = bot.next().await.unwrap();
    assert_eq!(
        (&**heard.channel(), heard.message().data_as::<String>().unwrap().as_str()),
        ("/chat/a", "are you there?")
    );
    bot.publish("/chat/a", "yes").await.unwrap();
    assert_eq!(client.heard().await["data"], "yes");

    // A session that is abandoned at the same time does expire; the local one stays.
    let http = reqwest_handshake(&running).await;
    while server.session(&http.as_str().into()).is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!bot.session().ended());
    // Nobody takes it over by its id.
    client.id = bot.session().client_id().to_string();
    assert_eq!(client.publish("/chat/a", json!(1)).await["error"], "402::session_unknown");

    let session = Arc::clone(bot.session());
    bot.disconnect().await;
    assert!(session.ended() && server.session(session.client_id()).is_none());
}

async fn reqwest_handshake(running: &Running) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = r#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]"#;
    let reply = client.post(running.url()).body(body).send().await.unwrap().text().await.unwrap();
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    reply[0]["clientId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_local_session_that_is_not_read_is_ended_by_its_bound_unless_a_listener_gives_messages_up() {
    struct GiveUp;
    impl SessionListener for GiveUp {
        fn queue_full(&self, _: &LiveSession, _: &Delivery) -> Flow {
            Flow::Veto
        }
    }
    let queue = QueueLimits { max_messages: 2, max_bytes: 1 << 20, overflow: Overflow::Disconnect };
    let options = Options { queue, ..Options::default() };
    let settings = ServerSettings { session: SessionOptions::same(options), ..ServerSettings::default() };
    let server = Server::builder(settings).build();
    let (lazy, tolerant) = (server.local_session("a").await.unwrap(), server.local_session("b").await.unwrap());
    tolerant.session().add_listener(GiveUp);
    for bot in [&lazy, &tolerant] {
        bot.subscribe("/a").await.unwrap();
    }
    let channel = server.channel("/a").unwrap();
    for n in 0..5 {
        channel.publish(n).await.unwrap();
    }
    assert!(lazy.session().ended() && lazy.next().await.is_none());
    let read = |bot: &bayeux_server::LocalSession| bot.try_next().map(|m| m.message().data_as::<u32>().unwrap());
    assert_eq!((read(&tolerant), read(&tolerant), read(&tolerant)), (Some(0), Some(1), None));
    channel.publish(7).await.unwrap();
    assert_eq!(read(&tolerant), Some(7));
}

#[tokio::test]
async fn a_publish_on_a_pattern_reaches_those_who_subscribed_to_it_and_to_deeper_ones() {
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    for pattern in ["/a/*", "/**", "/a/x"] {
        client.subscribe(pattern).await;
    }
    assert_eq!(client.publish("/a/*", json!(1)).await["successful"], true);
    assert_eq!(client.heard().await, json!({"channel":"/a/*","data":1}));
    client.heard_nothing().await;
}

#[tokio::test]
async fn subscribers_get_the_publishers_words_but_for_its_id_client_id_and_advice() {
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    client.subscribe("/a").await;
    client
        .ask(json!({"channel":"/a/","data":1,"ext":null,"advice":{"reconnect":"none"},"subscription":"/y","own":[1]}))
        .await;
    assert_eq!(client.heard().await, json!({"channel":"/a/","data":1,"ext":null,"subscription":"/y","own":[1]}));
}

#[tokio::test]
async fn a_message_on_a_lazy_channel_waits_for_one_that_is_not() {
    let options = Options { max_lazy_timeout: std::time::Duration::from_secs(3600), ..Options::default() };
    let settings = ServerSettings { session: SessionOptions::same(options), ..ServerSettings::default() };
    let server = Server::builder(settings).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    for channel in ["/lazy/a", "/soon", "/urgent"] {
        client.subscribe(channel).await;
    }
    server.channel("/lazy/**").unwrap().set_lazy(true);
    server.channel("/soon").unwrap().set_lazy_timeout(std::time::Duration::from_millis(20));
    assert!(server.channel("/soon").unwrap().is_lazy());
    server.channel("/lazy/a").unwrap().publish(1).await.unwrap();
    assert_eq!(server.sessions()[0].waiting().0, 1, "it wakes nobody");
    server.channel("/urgent").unwrap().publish(2).await.unwrap();
    assert_eq!((client.heard().await["data"].clone(), client.heard().await["data"].clone()), (json!(1), json!(2)));
    // By itself it goes when its time is over.
    server.channel("/soon").unwrap().publish(3).await.unwrap();
    assert_eq!(client.heard().await["data"], 3);
}

#[tokio::test]
async fn a_sessions_heartbeat_is_its_held_connect() {
    struct Heart(UnboundedSender<String>);
    impl SessionListener for Heart {
        fn suspended(&self, _: &LiveSession, timeout: std::time::Duration) {
            let _ = self.0.send(format!("held for {} s at most", timeout.as_secs_f64().round()));
        }
        fn resumed(&self, _: &LiveSession) {
            let _ = self.0.send("answered".into());
        }
    }
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    client.subscribe("/a").await; // the connect before it is held by now
    let (sender, mut beats) = unbounded_channel();
    server.sessions()[0].add_listener(Heart(sender));
    client.say(json!({"channel":"/meta/connect","connectionType":"websocket"})).await;
    assert_eq!(beats.recv().await.unwrap(), "held for 20 s at most");
    client.ask(json!({"channel":"/meta/disconnect"})).await;
    assert_eq!(beats.recv().await.unwrap(), "answered");
}
