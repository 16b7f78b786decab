//! Extensions, channel listeners and data filters: who sees a message, changes it, or has it deleted.
#![allow(clippy::unwrap_used)]

mod kit;

use bayeux::channel::{ChannelName, Class};
use bayeux::message::Message;
use bayeux::reply::Reply;
use bayeux_server::hooks::{
    ChannelListener, Eventually, Extension, Filters, Flow, NoMarkup, RegexFilter, ServerListener, SessionExtension,
    on_message,
};
use bayeux_server::{Extensions, LiveSession, Server, ServerSettings};
use kit::Running;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Marks what comes in and goes out, and will not have the word "forbidden".
struct Stamp(&'static str);

impl Extension for Stamp {
    fn incoming(&self, _: Option<&Arc<LiveSession>>, message: &mut Message) -> Flow {
        if message.data_as::<String>().is_some_and(|text| text == "forbidden") {
            return Flow::Veto;
        }
        let seen = message.field("in").and_then(|raw| serde_json::from_slice::<String>(raw).ok()).unwrap_or_default();
        message.set_field("in", &format!("{seen}{}", self.0));
        Flow::Pass
    }
    fn outgoing(&self, _: Option<&Arc<LiveSession>>, _: Option<&LiveSession>, message: &mut Message) -> Flow {
        let seen: String = message.ext_string("out").unwrap_or_default();
        message.set_ext("out", &format!("{seen}{}", self.0));
        Flow::Pass
    }
    fn reply(&self, _: Option<&LiveSession>, reply: &mut Reply) -> Flow {
        reply.set_ext(self.0, "\"was here\"".into());
        Flow::Pass
    }
}

#[tokio::test]
async fn extensions_see_what_comes_in_in_their_order_and_what_goes_out_in_reverse_and_may_veto() {
    let server = Server::builder(ServerSettings::default()).extension(Stamp("a")).extension(Stamp("b")).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    assert_eq!(client.subscribe("/x").await["ext"], json!({"a": "was here", "b": "was here"}));
    assert_eq!(client.publish("/x", json!({"n": 1.0})).await["successful"], true);
    assert_eq!(client.heard().await, json!({"channel":"/x","data":{"n":1.0},"in":"ab","ext":{"out":"ba"}}));
    let reply = client.publish("/x", json!("forbidden")).await;
    assert_eq!((&reply["successful"], &reply["error"]), (&json!(false), &json!("404::message_deleted")));
    client.heard_nothing().await;

    // What the server delivers to one session passes them too.
    let session = server.sessions().remove(0);
    session.deliver(Arc::new(bayeux::delivery::Delivery::of(&Message::new("/to/you", &7))));
    assert_eq!(client.heard().await, json!({"channel":"/to/you","data":7,"ext":{"out":"ba"}}));
}

#[tokio::test]
async fn an_extension_can_be_taken_away_while_the_server_runs() {
    let server = Server::builder(ServerSettings::default()).build();
    let id = server.add_extension(Stamp("a"));
    let running = Running::start(&server);
    let mut client = running.client().await;
    assert_eq!(client.subscribe("/x").await["ext"]["a"], "was here");
    assert!(server.remove(id) && !server.remove(id));
    assert_eq!(client.subscribe("/x").await["ext"], Value::Null);
}

/// What a session with the attribute `level` may not see is left out.
struct Redact;

impl SessionExtension for Redact {
    fn incoming(&self, _: &Arc<LiveSession>, message: &mut Message) -> Flow {
        match message.channel.as_deref() == Some("/mute") {
            true => Flow::Veto,
            false => Flow::Pass,
        }
    }
    fn outgoing(&self, from: Option<&Arc<LiveSession>>, session: &LiveSession, message: &mut Message) -> Flow {
        let Some(mut data) = message.data_as::<serde_json::Map<String, Value>>() else { return Flow::Veto };
        if data.remove("secret").is_some() {
            data.insert("for".into(), json!(*session.attribute::<String>("level").unwrap()));
            message.set_data(&data);
            assert!(from.is_some(), "the publisher is known");
        }
        Flow::Pass
    }
}

struct RedactAll;

impl ServerListener for RedactAll {
    fn session_added(&self, session: &Arc<LiveSession>, handshake: &Message) {
        if let Some(level) = handshake.ext_string("level") {
            session.set_attribute("level", level);
            session.add_extension(Redact);
        }
    }
}

#[tokio::test]
async fn a_session_with_an_extension_gets_its_own_copy_and_the_others_share_theirs() {
    let server = Server::builder(ServerSettings::default()).listener(RedactAll).build();
    let running = Running::start(&server);
    let mut low = running.client_with(json!({"level": "low"})).await.unwrap();
    let mut all = running.client().await;
    for client in [&mut low, &mut all] {
        assert_eq!(client.subscribe("/news").await["successful"], true);
    }
    all.publish("/news", json!({"secret": 1, "open": 2})).await;
    assert_eq!(low.heard().await["data"], json!({"open": 2, "for": "low"}));
    assert_eq!(all.heard().await["data"], json!({"secret": 1, "open": 2}));
    all.publish("/news", json!("no object")).await;
    assert_eq!(all.heard().await["data"], "no object");
    low.heard_nothing().await;
    assert_eq!(low.publish("/mute", json!(1)).await["error"], "404::message_deleted");
    assert_eq!(all.publish("/mute", json!(1)).await["successful"], true);
}

#[tokio::test]
async fn listeners_hear_from_the_root_to_the_channel_and_change_what_subscribers_get() {
    let server = Server::builder(ServerSettings::default()).build();
    for pattern in ["/a/b", "/**", "/a/*", "/a/**"] {
        server.channel(pattern).unwrap().on_message(move |_, channel, message| {
            if channel.class() == Class::Meta {
                return Flow::Pass; // `/**` reaches them too
            }
            let mut path: Vec<String> = message.data_as().unwrap();
            path.push(pattern.to_owned());
            message.set_data(&path);
            Flow::Pass
        });
    }
    let last = server.channel("/a/b").unwrap();
    let veto = last.on_message(|from, _, _| if from.is_some() { Flow::Veto } else { Flow::Pass });
    let running = Running::start(&server);
    let mut client = running.client().await;
    client.subscribe("/a/b").await;
    assert_eq!(client.publish("/a/b", json!([])).await["error"], "404::message_deleted");
    last.publish(["server"]).await.unwrap();
    assert_eq!(client.heard().await["data"], json!(["server", "/**", "/a/**", "/a/*", "/a/b"]));
    assert!(last.remove(veto));
    client.publish("/a/b", json!([])).await;
    assert_eq!(client.heard().await["data"], json!(["/**", "/a/**", "/a/*", "/a/b"]));
}

#[tokio::test]
async fn a_listener_of_a_meta_channel_may_veto_a_subscription() {
    let server = Server::builder(ServerSettings::default()).build();
    server.channel("/meta/subscribe").unwrap().on_message(|_, _, message| {
        let closed = message.subscriptions().is_some_and(|names| names.iter().any(|name| name == "/closed"));
        if closed { Flow::Veto } else { Flow::Pass }
    });
    let running = Running::start(&server);
    let mut client = running.client().await;
    assert_eq!(client.subscribe("/closed").await["error"], "404::message_deleted");
    assert_eq!(client.subscribe("/open").await["successful"], true);
}

/// Passes a message when it is told to.
struct Slow(Arc<Notify>);

impl ChannelListener for Slow {
    fn message<'a>(
        &'a self,
        _: Option<&'a Arc<LiveSession>>,
        _: &'a ChannelName,
        message: &'a mut Message,
    ) -> Eventually<'a, Flow> {
        Eventually::later(async move {
            self.0.notified().await;
            message.set_field("late", &true);
            Flow::Pass
        })
    }
}

#[tokio::test]
async fn a_slow_listener_keeps_nobody_waiting_but_its_sender() {
    let server = Server::builder(ServerSettings::default()).build();
    let go = Arc::new(Notify::new());
    server.channel("/slow").unwrap().add_listener(Slow(Arc::clone(&go)));
    let running = Running::start(&server);
    let (mut patient, mut quick) = (running.client().await, running.client().await);
    quick.subscribe("/slow").await;
    quick.subscribe("/quick").await;
    let waits = patient.say(json!({"channel":"/slow","data":1})).await;
    let behind = patient.say(json!({"channel":"/quick","data":2})).await;
    assert_eq!(quick.publish("/quick", json!(3)).await["successful"], true);
    assert_eq!(quick.heard().await["data"], 3);
    go.notify_one();
    assert_eq!(patient.reply(&waits).await["successful"], true);
    assert_eq!(patient.reply(&behind).await["successful"], true);
    assert_eq!(quick.heard().await, json!({"channel":"/slow","data":1,"late":true}));
    assert_eq!(quick.heard().await["data"], 2);
}

#[tokio::test]
async fn a_service_is_a_listener_that_answers_its_caller() {
    let server = Server::builder(ServerSettings::default()).build();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    server.channel("/service/square").unwrap().add_listener(on_message(move |from, _, message| {
        let n: i64 = message.data_as().unwrap();
        seen.lock().unwrap().push(n);
        if let Some(caller) = from {
            caller.answer(message, n * n);
        }
        Flow::Pass
    }));
    let running = Running::start(&server);
    let mut client = running.client().await;
    let id = client.say(json!({"channel":"/service/square","data":12})).await;
    assert_eq!(client.reply(&id).await["successful"], true);
    assert_eq!(client.heard().await, json!({"channel":"/service/square","id":id,"successful":true,"data":144}));
    assert_eq!(*asked.lock().unwrap(), [12]);
}

#[tokio::test]
async fn filters_rewrite_or_refuse_what_is_published() {
    let server = Server::builder(ServerSettings::default()).build();
    let rules = RegexFilter::new([("(?i)darn", Some("****")), ("buy .* now", None)]).unwrap();
    server.channel("/chat/**").unwrap().add_listener(Filters::new().with(NoMarkup).with(rules));
    let running = Running::start(&server);
    let mut client = running.client().await;
    client.subscribe("/chat/room").await;
    client.publish("/chat/room", json!({"text": ["<b>Darn</b>", 1]})).await;
    assert_eq!(client.heard().await["data"], json!({"text": ["&lt;b&gt;****&lt;/b&gt;", 1]}));
    for refused in [json!({"text": "buy this now"}), json!(null)] {
        assert_eq!(client.publish("/chat/room", refused).await["error"], "404::message_deleted");
    }
    client.heard_nothing().await;
}

#[tokio::test]
async fn the_timestamp_extension_dates_everything_as_cometd_does() {
    let extensions = Extensions { timestamp: true, ..Extensions::default() };
    let server = Server::builder(ServerSettings { extensions, ..ServerSettings::default() }).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    let reply = client.subscribe("/a").await;
    client.publish("/a", json!(1)).await;
    for message in [reply, client.heard().await] {
        let stamp = message["timestamp"].as_str().unwrap_or_else(|| panic!("{message}"));
        let words: Vec<&str> = stamp.split(' ').collect();
        assert_eq!(words.len(), 6, "{stamp}");
        assert!(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&words[0]), "{stamp}");
        assert_eq!((words[2].len(), words[3].len(), words[4], words[5].len()), (2, 8, "UTC", 4), "{stamp}");
    }
}
