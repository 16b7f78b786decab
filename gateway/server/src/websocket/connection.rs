//! One WebSocket from its upgrade to its end.
//!
//! The task reads frames, has their envelopes processed one after the other, and keeps the outcomes that are still
//! awaited. It writes replies; deliveries are written by the flusher, or by this task where only it can (TLS).

mod clock;
mod end;
mod life;

use super::deflate;
use super::frame::{self, Decoder, Event, Limits, Violation, close_code};
use super::io::{self, Progress, Tls};
use super::outlet::{Held, Outlet};
use crate::listener::Stream;
use crate::process::{self, Answer, Begins, Context, Processed};
use crate::server::Server;
use crate::session::{LiveSession, Suspended};
use bayeux::error;
use bayeux::message::{self, ClientAdvice};
use bayeux::reply::{Advice, Reconnect, Refusal, Reply};
use bayeux::session::{Carrier, Connect, Ticket, unknown_session};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Messages up to this size, in bytes, are copied out of the buffer that they were read into.
const COPIED: usize = 2_048;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Connection {
    server: Server,
    outlet: Arc<Outlet>,
    context: Arc<Context>,
    tls: Option<Tls>,
    buffer: BytesMut,
    decoder: Decoder,
    session: Option<Arc<LiveSession>>,
    processing: Option<Boxed<Processed>>,
    awaited: FuturesUnordered<Boxed<(Vec<Reply>, Begins)>>,
    held: Option<(Ticket, Option<Suspended>)>,
    /// The held connect's time, or the time by which there must be a session.
    due: Option<Instant>,
    /// When something came or went last, as far as was looked.
    active: Instant,
    /// Set to the earlier of what is due and the end of idleness.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The server is to close, and why: it does when all is answered.
    closing: Option<(u16, String)>,
    /// The close frame is said; nothing more is read or answered.
    closed: bool,
}

/// Drives the connection until it is closed. `early`: what the peer sent behind its upgrade request; `compresses`: both
/// sides have agreed that messages may be compressed.
pub(crate) async fn drive(
    server: Server,
    stream: Stream,
    early: Bytes,
    headers: Arc<::http::HeaderMap>,
    compresses: bool,
) {
    let (plain, tls) = match stream {
        Stream::Plain(stream, _) => (Some(stream), None),
        Stream::Tls(stream) => (None, Some(stream)),
    };
    let limits =
        Limits { max_message_size: server.options(Carrier::WebSocket).max_message_size, rsv1_allowed: compresses };
    let timeout = server.settings().handshake_timeout;
    // Even empty, it may hold on to the whole buffer that the request was read into.
    let buffer = BytesMut::from(&early[..]);
    drop(early);
    let per_frame = server.settings().websocket.messages_per_frame;
    let outlet = Arc::new(Outlet::new(plain, server.next_lane(), compresses, per_frame));
    let mut connection = Connection {
        context: Arc::new(Context {
            carrier: Carrier::WebSocket,
            headers,
            browser: None,
            secure: false,
            cross_site: false,
            max_sessions: -1,
            outlet: Some(Arc::clone(&outlet)),
            local: None,
        }),
        outlet,
        tls,
        buffer,
        decoder: Decoder::new(limits),
        session: None,
        processing: None,
        awaited: FuturesUnordered::new(),
        held: None,
        due: None,
        active: Instant::now(),
        timer: None,
        closing: None,
        closed: false,
        server,
    };
    connection.server.stats().websockets.inc();
    connection.wake_at(Some(Instant::now() + timeout));
    connection.run().await;
}

impl Connection {
    async fn run(&mut self) {
        loop {
            self.read_frames();
            self.obey();
            if self.outlet.dead() {
                break;
            }
            let idle = self.processing.is_none() && self.awaited.is_empty();
            if self.server.leaving() && self.session.is_some() {
                self.close(close_code::GOING_AWAY, "draining");
            }
            if let (Some((code, reason)), true) = (&self.closing, idle) {
                self.outlet.push_close(frame::close_frame(*code, reason));
                self.outlet.flush();
                self.closed = true;
            }
            if self.closed {
                break;
            }
            let outlet = Arc::clone(&self.outlet);
            let may_read = self.may_go_on();
            let (tls, buffer) = (&mut self.tls, &mut self.buffer);
            tokio::select! {
                io = std::future::poll_fn(|cx| io::poll(&outlet, tls, buffer, may_read, cx)) => match io {
                    Progress::Read => self.active = Instant::now(),
                    Progress::Writable => { outlet.unblock(); outlet.flush(); }
                    Progress::Closed => break,
                },
                () = outlet.woken() => {}
                done = async { match self.processing.as_mut() { Some(p) => p.await, None => std::future::pending().await } } => {
                    self.processing = None;
                    self.processed(done);
                }
                Some((replies, begins)) = self.awaited.next(), if !self.awaited.is_empty() => {
                    self.send(replies);
                    drop(begins);
                }
                () = async { match self.timer.as_mut() { Some(t) => t.await, None => std::future::pending().await } } => {
                    self.look_at_the_clock();
                }
            }
        }
        self.last_words().await;
    }

    /// The next frame may be dealt with: the one before is, and neither outcomes nor replies pile up.
    fn may_go_on(&self) -> bool {
        self.closing.is_none()
            && !self.closed
            && self.processing.is_none()
            && self.awaited.len() < self.server.settings().max_in_flight
            && !self.outlet.congested()
    }

    /// Cuts the buffer into frames, up to the first whose processing takes time.
    fn read_frames(&mut self) {
        while self.may_go_on() {
            match self.decoder.decode(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(event)) => self.event(event),
                Err(violation) => self.violated(violation),
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.buffer = BytesMut::new(); // an idle connection keeps no buffer
        }
    }

    fn violated(&mut self, violation: Violation) {
        self.server.stats().malformed.inc();
        self.close(violation.code, violation.reason);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Text(text) => self.envelope(text.into_bytes()),
            Event::Compressed { text: true, payload } => {
                match deflate::inflate(&payload, self.server.options(Carrier::WebSocket).max_message_size) {
                    Ok(text) => self.envelope(text.into_bytes()),
                    Err(violation) => self.violated(violation),
                }
            }
            Event::Ping(payload) => {
                self.outlet.push(frame::pong_frame(&payload));
                self.outlet.flush();
            }
            Event::Close(code) => self.closed_by_peer(code.map(|(code, _)| code)),
            Event::Pong(_) | Event::Binary(_) | Event::Compressed { .. } => {} // as CometD: ignored
        }
    }

    fn envelope(&mut self, body: Bytes) {
        // What a held connect or a subscription keeps of a small message shall not keep the whole read buffer.
        let body = if body.len() <= COPIED { Bytes::copy_from_slice(&body) } else { body };
        let messages = match message::parse(&body) {
            Ok(messages) if !messages.is_empty() => messages,
            _ => {
                self.server.stats().malformed.inc();
                let reply = Reply::to(&message::Message::default()).refuse(Refusal::new(error::JSON_INVALID));
                self.send(vec![reply]);
                self.close(close_code::INTERNAL, error::JSON_INVALID);
                return;
            }
        };
        if self.session.as_ref().is_some_and(|session| session.ended()) {
            self.session = None; // it may begin again with a handshake on this socket
        }
        let (server, context) = (self.server.clone(), Arc::clone(&self.context));
        let session = match &self.session {
            Some(session) => Some(Arc::clone(session)),
            None if server.settings().websocket.require_handshake_per_connection => None,
            None => messages.first().and_then(|first| process::find_session(&server, &context, first)),
        };
        let mut processing: Boxed<Processed> =
            Box::pin(async move { process::envelope(&server, &context, session, messages).await });
        // Most envelopes take no time: then nothing is kept.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match processing.as_mut().poll(&mut cx) {
            Poll::Ready(done) => self.processed(done),
            Poll::Pending => self.processing = Some(processing),
        }
    }

    fn processed(&mut self, done: Processed) {
        if let Some(session) = &done.session
            && self.session.as_ref().is_none_or(|current| current.key() != session.key())
        {
            if let Some(before) = self.session.take() {
                self.succeeded(before);
            }
            self.session = Some(Arc::clone(session));
            if !session.ended() {
                self.wake_at(None);
                session.attach(&self.outlet);
                self.outlet.carry(Some(Arc::clone(session)));
            }
        }
        if done.handshaken {
            return self.handshaken(done.answers);
        }
        let alone = done.answers.len() == 1;
        let mut replies = Vec::new();
        let mut waits: Vec<Boxed<Reply>> = Vec::new();
        for answer in done.answers {
            if let Answer::Reply(reply) = &answer {
                self.send_last_words_before(reply);
            }
            match answer {
                Answer::Reply(reply) if waits.is_empty() => replies.push(reply),
                Answer::Reply(reply) => waits.push(Box::pin(std::future::ready(reply))),
                Answer::Wait(wait) => waits.push(wait),
                Answer::Connect { reply, advice, ack } => {
                    if let Some(reply) = self.connect(reply, advice, ack, alone) {
                        match waits.is_empty() {
                            true => replies.push(reply),
                            false => waits.push(Box::pin(std::future::ready(reply))),
                        }
                    }
                }
            }
        }
        self.server.flusher().kick();
        self.send_what_waited();
        if waits.is_empty() {
            self.send(replies);
        } else {
            self.awaited.push(Box::pin(async move {
                replies.extend(join_all(waits).await);
                (replies, done.begins)
            }));
        }
    }

    /// A connect: its reply if it is to be answered now.
    fn connect(
        &mut self,
        mut reply: Reply,
        advice: Option<ClientAdvice>,
        ack: Option<u64>,
        alone: bool,
    ) -> Option<Reply> {
        let Some(session) = self.session.clone() else { return Some(reply.refuse(unknown_session())) };
        let now = Instant::now();
        let connect = Connect { carrier: Carrier::WebSocket, alone: true, crowded: false, advice, ack };
        let outcome = match session.connect_socket(now, &connect, &self.outlet) {
            Ok(outcome) => outcome,
            // A disconnect further on in its envelope: the connect was good when it came.
            Err(_) if !alone && session.with(|s| s.disconnected()) => {
                reply.advice.get_or_insert(Advice::none());
                return Some(reply);
            }
            Err(refusal) => return Some(reply.refuse(refusal)),
        };
        // Messages that came while nothing carried the session.
        self.server.flusher().mark(&self.outlet);
        reply.advice = outcome.advice;
        self.outlet.control().held = None; // an older connect is dropped silently, as CometD does
        self.held = None;
        self.wake_at(outcome.hold.map(|(_, until)| until));
        match outcome.hold {
            Some((ticket, until)) if !self.server.leaving() => {
                self.held = Some((ticket, session.suspend(until.saturating_duration_since(now))));
                self.outlet.control().held = Some(Held { ticket, until, reply });
                None
            }
            _ => {
                if let Some((ticket, _)) = outcome.hold {
                    session.release(ticket, now);
                    reply.advice = Some(Advice::new(Reconnect::Retry, self.server.drain_interval()));
                }
                Some(self.connected(&session, reply))
            }
        }
    }

    /// Does what others asked of this socket.
    fn obey(&mut self) {
        let (ended, draining, release) = {
            let mut control = self.outlet.control();
            (std::mem::take(&mut control.ended), std::mem::take(&mut control.draining), control.release.take())
        };
        if let (Some(ticket), Some(session)) = (release, self.session.clone()) {
            let held = self.outlet.control().held.take_if(|held| held.ticket == ticket);
            if let Some(held) = held {
                self.held = None;
                self.wake_at(None);
                let reply = self.connected(&session, held.reply);
                self.send(vec![reply]);
            }
        }
        for (key, reason) in ended {
            if self.session.as_ref().is_none_or(|session| session.key() == key) {
                self.session_ended(reason);
            } else {
                self.outlet.forget_former(key);
            }
        }
        if let (true, Some(session)) = (draining, self.session.clone())
            && let Some(reply) = self.let_go(&session, |_| true)
        {
            let mut reply = self.connected(&session, reply);
            reply.advice = Some(Advice::new(Reconnect::Retry, self.server.drain_interval()));
            self.send(vec![reply]);
        }
    }

    /// Replies of one envelope go in one frame.
    fn send(&self, mut replies: Vec<Reply>) {
        process::finish_replies(&self.server, self.session.as_deref(), &mut replies);
        if replies.is_empty() {
            return;
        }
        let mut json = Vec::with_capacity(96 * replies.len());
        json.push(b'[');
        for (i, reply) in replies.iter().enumerate() {
            if i > 0 {
                json.push(b',');
            }
            reply.write(&mut json);
        }
        json.push(b']');
        self.outlet.push(self.outlet.text_frame(&json));
        self.outlet.flush();
    }
}
