//! One exchange of long-polling or callback-polling: messages in, and in the one response the messages that wait for
//! the session and the replies; a connect may be held until there is something to say.

use super::cookie;
use crate::browsers::Seat;
use crate::process::{self, Answer, Begins, Context};
use crate::server::{Server, random_cookie};
use crate::session::{LiveSession, PollEnd};
use ::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use bayeux::message::{ClientAdvice, Message};
use bayeux::reply::{Advice, Reconnect, Reply};
use bayeux::session::{Connect, EndReason, Session, Ticket, unknown_session};
use bytes::Bytes;
use futures_util::future::join_all;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

struct Hold {
    ticket: Ticket,
    until: Instant,
    end: oneshot::Receiver<PollEnd>,
    _seat: Option<Seat>,
}

pub(super) async fn exchange(
    server: Server,
    mut context: Context,
    messages: Vec<Message>,
    callback: Option<String>,
) -> Response {
    let is = |channel: &str| messages.first().is_some_and(|m| m.channel.as_deref() == Some(channel));
    let mut set_cookie = None;
    if is("/meta/handshake") && context.browser.is_none() {
        context.browser = Some(random_cookie());
        let cookie = &server.settings().browser_cookie;
        set_cookie =
            context.browser.as_ref().and_then(|value| cookie::set(cookie, value, context.secure, context.cross_site));
    }
    let alone = messages.len() == 1;
    let session = messages.first().and_then(|first| process::find_session(&server, &context, first));
    // Whatever this exchange causes for its own session goes out in its own response.
    let mut batch = session.clone().filter(|_| !(alone && is("/meta/connect"))).map(|s| Batch::open(&server, s));

    let processed = process::envelope(&server, &context, session, messages).await;
    // The headers hold on to the buffer that the request was read into: not for as long as a poll is held.
    context.headers = Arc::default();
    let session = processed.session;
    let mut replies: Vec<Pin<Box<dyn Future<Output = Reply> + Send>>> = Vec::new();
    let mut hold = None;
    let mut connected = false;
    for answer in processed.answers {
        match answer {
            Answer::Reply(reply) => {
                // Also one that is refused: what waits for a session that was disconnected goes with it.
                connected |= reply.channel.as_deref() == Some("/meta/connect");
                replies.push(Box::pin(std::future::ready(reply)));
            }
            Answer::Wait(wait) => {
                // A broker may take its time: messages and connects of the session do not wait for it.
                batch = None;
                replies.push(wait);
            }
            Answer::Connect { reply, advice, ack } => {
                let asked = Asked { advice, ack, alone };
                let (reply, held) = connect(&server, &context, session.as_ref(), reply, asked);
                connected = true;
                hold = hold.or(held);
                replies.push(Box::pin(std::future::ready(reply)));
            }
        }
    }
    server.flusher().kick();
    let mut replies = join_all(replies).await;
    let mut superseded = false;
    if let (Some(hold), Some(session)) = (hold, &session) {
        match wait(&server, hold, session).await {
            PollEnd::Messages => {}
            // A session that is swept away under its held connect (`max_processing`) goes without a word, as in CometD.
            PollEnd::Superseded | PollEnd::Ended(EndReason::Expired) => superseded = true,
            PollEnd::Draining => set_advice(&mut replies, Advice::new(Reconnect::Retry, server.drain_interval())),
            PollEnd::Ended(EndReason::Disconnected | EndReason::Server) => {
                for reply in &mut replies {
                    reply.advice.get_or_insert(Advice::none()).reconnect = Reconnect::None;
                }
            }
            PollEnd::Ended(EndReason::Overflow | EndReason::Gap) => {
                replies = replies.into_iter().map(|reply| reply.refuse(unknown_session())).collect();
            }
        }
    }
    if superseded {
        return server.settings().http(context.carrier).duplicate_connect_status.into_response();
    }
    process::finish_replies(&server, session.as_deref(), &mut replies);
    let mut body = Body::new(callback.as_deref());
    let mut replies = replies.into_iter();
    if let (true, Some(mut reply), Some(session)) =
        (processed.handshaken, replies.as_slice().first().cloned(), &session)
    {
        replies.next();
        let messages = session.welcome(&mut reply);
        body.push(|out| reply.write(out));
        messages.iter().for_each(|delivery| body.push(|out| out.extend_from_slice(delivery.json())));
    }
    if let Some(session) = &session {
        if connected {
            let positions = server.listener().positions(session, None);
            let (messages, batch) = session.take_for_connect();
            messages.iter().for_each(|delivery| body.push(|out| out.extend_from_slice(delivery.json())));
            let mut replies = replies.as_mut_slice().iter_mut();
            if let Some(reply) = replies.find(|reply| reply.channel.as_deref() == Some("/meta/connect")) {
                reply.close_batch(batch);
                reply.tell_positions(positions);
                reply.tell_dropped(session.with(Session::take_untold));
            }
        } else {
            session.take(context.carrier, |delivery| body.push(|out| out.extend_from_slice(delivery.json())));
        }
        if connected || processed.handshaken {
            session.replied(Instant::now());
        }
    }
    replies.for_each(|reply| body.push(|out| reply.write(out)));
    drop(batch);

    let begins = Some(processed.begins).filter(|begins| !begins.is_empty());
    let mut response = body.finish(begins);
    if let Some(cookie) = set_cookie.filter(|_| processed.handshaken) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if server.leaving() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a client says with its connect.
struct Asked {
    advice: Option<ClientAdvice>,
    ack: Option<u64>,
    alone: bool,
}

fn connect(
    server: &Server,
    context: &Context,
    session: Option<&Arc<LiveSession>>,
    mut reply: Reply,
    asked: Asked,
) -> (Reply, Option<Hold>) {
    let Some(session) = session else { return (reply.refuse(unknown_session()), None) };
    let seat = |cookie| server.browsers().sit(context.carrier, cookie, session.key(), context.max_sessions);
    let seat = context.browser.as_ref().map(seat);
    let crowded = matches!(seat, Some(None));
    let Asked { advice, ack, alone } = asked;
    let connect = Connect { carrier: context.carrier, alone, crowded, advice, ack };
    match session.connect_poll(Instant::now(), &connect) {
        // A disconnect further on in its envelope: the connect was good when it came.
        Err(_) if !alone => (reply, None),
        Err(refusal) => (reply.refuse(refusal), None),
        Ok((outcome, held)) => {
            reply.advice = outcome.advice;
            if let Some(advice) = reply.advice.as_mut().filter(|advice| advice.multiple_clients) {
                match server.settings().http(context.carrier).multi_session_interval {
                    Duration::ZERO => {
                        advice.reconnect = Reconnect::None;
                        reply.fail();
                    }
                    interval => advice.interval = Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
                }
            }
            let hold =
                held.zip(outcome.hold).map(|(end, (ticket, until))| Hold { ticket, until, end, _seat: seat.flatten() });
            (reply, hold)
        }
    }
}

/// Waits for the held connect's end. Dropped while waiting (the client went away), it lets the connect go.
async fn wait(server: &Server, hold: Hold, session: &Arc<LiveSession>) -> PollEnd {
    struct LetGo<'a>(&'a Server, &'a LiveSession, Ticket);
    impl Drop for LetGo<'_> {
        fn drop(&mut self) {
            self.0.stats().polls_held.dec();
            self.1.release(self.2, Instant::now());
        }
    }
    server.stats().polls_held.inc();
    let _suspended = session.suspend(hold.until.saturating_duration_since(Instant::now()));
    let _let_go = LetGo(server, session, hold.ticket);
    if server.leaving() {
        return PollEnd::Draining; // it began to drain between the check and the hold
    }
    match tokio::time::timeout_at(hold.until.into(), hold.end).await {
        Ok(Ok(end)) => end,
        // The time is over, or another transport took the session.
        Ok(Err(_)) | Err(_) => PollEnd::Messages,
    }
}

fn set_advice(replies: &mut [Reply], advice: Advice) {
    for reply in replies {
        reply.advice = Some(advice.clone());
    }
}

/// An open batch of a session.
struct Batch {
    server: Server,
    session: Arc<LiveSession>,
}

impl Batch {
    fn open(server: &Server, session: Arc<LiveSession>) -> Self {
        session.start_batch();
        Batch { server: server.clone(), session }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.session.end_batch(self.server.flusher());
        self.server.flusher().kick();
    }
}

/// The body of a response: an array, in a call of the callback if there is one.
struct Body {
    out: Vec<u8>,
    empty: bool,
    callback: bool,
}

impl Body {
    fn new(callback: Option<&str>) -> Self {
        let mut out = Vec::with_capacity(256);
        if let Some(callback) = callback {
            out.extend_from_slice(callback.as_bytes());
            out.push(b'(');
        }
        out.push(b'[');
        Body { out, empty: true, callback: callback.is_some() }
    }

    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write(&mut self.out);
    }

    /// The response. `begins`: what begins when it is on its way.
    fn finish(mut self, begins: Option<Begins>) -> Response {
        self.out.push(b']');
        let content_type = if self.callback {
            self.out.push(b')');
            "text/javascript;charset=UTF-8"
        } else {
            "application/json"
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        match begins {
            None => (headers, self.out).into_response(),
            Some(begins) => {
                let out = Bytes::from(self.out);
                let body = futures_util::stream::once(async move {
                    let _begins = begins; // dropped when the body is asked for more
                    Ok::<_, Infallible>(out)
                });
                (headers, axum::body::Body::from_stream(body)).into_response()
            }
        }
    }
}
