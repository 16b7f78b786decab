//! A chat server that embeds `bayeux-server` and uses every concept once.
//!
//! ```sh
//! cargo run -p bayeux-server --example embedded              # http://127.0.0.1:8080/cometd, until Ctrl-C
//! cargo run -p bayeux-server --example embedded -- --port 9000 --seconds 60
//! ```
//!
//! Clients handshake with `ext.name`. They talk on `/chat/**`; `/announce` is the server's; `/service/who` says who is in
//! a room; `/admin/**` is for `root`.

use bayeux::channel::{ChannelError, ChannelName};
use bayeux::delivery::Delivery;
use bayeux::message::Message;
use bayeux::reply::{Advice, Reconnect, Refusal, Reply};
use bayeux::session::EndReason;
use bayeux_server::hooks::{
    Attempt, ChannelListener, DataFilter, Eventually, Extension, Filters, Flow, Grant, Handshake, NoMarkup, NoScripts,
    Operation, Policy, RegexFilter, ServerListener, SessionExtension, SessionListener, Verdict, authorizer,
};
use bayeux_server::{ChannelSetup, Extensions, Identity, LiveSession, Server, ServerSettings, http, listener};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The security policy: a name is enough, and asking takes its time.
struct Names;

impl Policy for Names {
    fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
        if handshake.local {
            return Ok(Identity { user: Some("server".into()), claims: None }).into();
        }
        Eventually::later(async move {
            tokio::time::sleep(Duration::from_millis(5)).await; // a directory is asked
            match handshake.message.ext_string("name") {
                Some(name) if !name.is_empty() => Ok(Identity { user: Some(name.into()), claims: None }),
                _ => Err(Refusal::new("403::handshake_denied")
                    .with_advice(Advice::new(Reconnect::None, 0))
                    .with_ext("hint", r#""say ext.name""#)),
            }
        })
    }

    fn create<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        // Rooms are one level deep.
        match attempt.channel.segments().count() > 2 && !attempt.channel.is_wild() {
            true => Err(attempt.denied_for("no_rooms_in_rooms")).into(),
            false => Ok(()).into(),
        }
    }
}

/// A server extension: signs what clients publish, and counts what it sees.
#[derive(Default)]
struct Signature {
    seen: AtomicU64,
}

impl Extension for Signature {
    fn incoming(&self, _: Option<&Arc<LiveSession>>, message: &mut Message) -> Flow {
        self.seen.fetch_add(1, Ordering::Relaxed);
        message.remove_field("shout"); // a field that we do not want in deliveries
        Flow::Pass
    }
    fn outgoing(&self, from: Option<&Arc<LiveSession>>, _: Option<&LiveSession>, message: &mut Message) -> Flow {
        if let Some(user) = from.and_then(|from| from.identity().user.as_deref()) {
            message.set_ext("from", user);
        }
        Flow::Pass
    }
    fn reply(&self, _: Option<&LiveSession>, reply: &mut Reply) -> Flow {
        if reply.channel.as_deref() == Some("/meta/handshake") {
            reply.set_ext("server", "\"embedded\"".into());
        }
        Flow::Pass
    }
}

/// A session extension: who is called "quiet" gets everything in lower case, on a copy of its own.
struct Whisper;

impl SessionExtension for Whisper {
    fn outgoing(&self, _: Option<&Arc<LiveSession>>, _: &LiveSession, message: &mut Message) -> Flow {
        if let Some(mut data) = message.data_as::<Value>()
            && let Some(text) = data["text"].as_str().map(str::to_lowercase)
        {
            data["text"] = text.into();
            message.set_data(&data);
        }
        Flow::Pass
    }
}

/// A session listener: counts what was queued, in an attribute of the session.
struct Counting;

impl SessionListener for Counting {
    fn queued(&self, _: Option<&Arc<LiveSession>>, session: &LiveSession, _: &Delivery) {
        if let Some(count) = session.attribute::<AtomicU64>("queued") {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A server listener: prepares sessions and channels.
struct House;

impl ServerListener for House {
    fn configure_channel(&self, channel: &ChannelName, setup: &mut ChannelSetup) {
        if channel.as_str().starts_with("/chat/") {
            setup.attribute("members", AtomicU64::new(0));
            setup.listener(Members);
        }
    }
    fn session_added(&self, session: &Arc<LiveSession>, _: &Message) {
        session.set_attribute("queued", AtomicU64::new(0));
        session.add_listener(Counting);
        if session.identity().user.as_deref() == Some("quiet") {
            session.add_extension(Whisper);
            session.set_broadcast_to_publisher(false);
        }
    }
    fn session_removed(&self, session: &LiveSession, reason: EndReason) {
        println!("{:?} has left: {reason:?}", session.identity().user);
    }
}

/// A channel listener: knows how many are in a room.
struct Members;

impl ChannelListener for Members {
    fn subscribed(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        println!("{:?} is in {channel}", session.identity().user);
    }
    fn unsubscribed(&self, session: &LiveSession, channel: &ChannelName) {
        println!("{:?} has left {channel}", session.identity().user);
    }
}

/// `/service/who`: answers its caller alone, after a while, and keeps nobody else waiting.
struct Who(Server);

impl ChannelListener for Who {
    fn message<'a>(
        &'a self,
        from: Option<&'a Arc<LiveSession>>,
        _: &'a ChannelName,
        message: &'a mut Message,
    ) -> Eventually<'a, Flow> {
        let Some(caller) = from else { return Flow::Veto.into() };
        Eventually::later(async move {
            let room = message.data_as::<String>().and_then(|room| self.0.channel(room).ok());
            match room {
                Some(room) => {
                    let names: Vec<String> = room
                        .subscribers()
                        .iter()
                        .filter_map(|s| Some(s.identity().user.as_ref()?.to_string()))
                        .collect();
                    caller.answer(message, names);
                }
                None => caller.answer_failure(message, "no such room"),
            }
            Flow::Pass
        })
    }
}

/// A data filter of our own: no messages without text.
struct HasText;

impl DataFilter for HasText {
    fn filter(
        &self,
        _: Option<&Arc<LiveSession>>,
        _: &ChannelName,
        data: &mut Value,
    ) -> Result<(), bayeux_server::hooks::Abort> {
        match data["text"].is_string() {
            true => Ok(()),
            false => Err(bayeux_server::hooks::Abort("no text".into())),
        }
    }
}

/// The server, with all that belongs to it.
pub fn build() -> Result<Server, Box<dyn std::error::Error>> {
    let settings = ServerSettings {
        extensions: Extensions { timestamp: true, ..Extensions::default() },
        ..ServerSettings::default()
    };
    let server = Server::builder(settings).policy(Names).extension(Signature::default()).listener(House).build();
    let rules = RegexFilter::new([("(?i)darn", Some("****")), ("(?i)buy .*", None)])?;
    let filters = Filters::new().with(HasText).with(NoScripts::default()).with(NoMarkup).with(rules);
    server.channel("/chat/**")?.add_listener(filters);
    server.channel("/service/who")?.add_listener(Who(server.clone()));

    // Authorizers: the gate wants a grant for everything below /admin; root has it; nobody publishes announcements.
    let admin = server.channel("/admin/**")?;
    admin.add_authorizer(Grant::none());
    admin.add_authorizer(authorizer(|attempt| match attempt.session.identity().user.as_deref() {
        Some("root") => Verdict::Grant,
        _ => Verdict::Ignore,
    }));
    server.create_channel("/announce", |setup| {
        setup.persistent(true).lazy(true).broadcast_to_publisher(false);
        setup.authorizer(authorizer(|attempt| match (attempt.operation, attempt.session.is_local()) {
            (Operation::Publish, false) => Verdict::Deny("the_servers_own".into()),
            _ => Verdict::Grant,
        }));
    })?;
    Ok(server)
}

/// A local session: a bot that greets whoever says hello.
pub async fn bot(server: Server) -> Result<(), Refusal> {
    let bot = server.local_session("bot").await?;
    bot.subscribe("/chat/*").await?;
    while let Some(heard) = bot.next().await {
        let text = heard.message().data_as::<Value>().and_then(|data| Some(data["text"].as_str()?.to_owned()));
        if text.as_deref() == Some("hello bot") {
            bot.publish(heard.channel(), json!({"text": "hello yourself"})).await?;
        }
    }
    Ok(())
}

/// The server's own publishes: to all, and to each alone.
pub async fn announce(server: &Server, text: &str) -> Result<u64, ChannelError> {
    for session in server.sessions() {
        let note = Message::new("/note", &json!({"text": format!("an announcement follows: {text}")}));
        session.deliver(Arc::new(Delivery::of(&note)));
    }
    Ok(server.channel("/announce")?.publish(json!({"text": text})).await.unwrap_or(0))
}

/// The value behind `--name`.
fn flag(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = u16::try_from(flag("--port").unwrap_or(8080))?;
    let server = build()?;
    let socket = listener::bind(([127, 0, 0, 1], port).into())?;
    println!("serving on http://{}/cometd", socket.local_addr()?);
    let stop = CancellationToken::new();
    let listening = listener::Listening {
        tls: None,
        max_connections: 10_000,
        stats: Arc::clone(server.stats()),
        stop: stop.clone(),
    };
    let serving = tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
    tokio::spawn(bot(server.clone()));
    let seconds = flag("--seconds").map_or(Duration::MAX, Duration::from_secs);
    let mut tick = tokio::time::interval(Duration::from_secs(30));
    let ticking = async {
        loop {
            tick.tick().await;
            let _ = announce(&server, "still here").await;
        }
    };
    tokio::select! {
        () = ticking => {}
        () = tokio::time::sleep(seconds) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    server.drain();
    stop.cancel();
    serving.await?;
    Ok(())
}
