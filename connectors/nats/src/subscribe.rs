//! Subscriptions: each is one task, which ends with its guard, its sink or the connector.

use crate::api::Api;
use crate::config::Plan;
use crate::link::Link;
use async_nats::Message;
use connector::{Event, FilterToken, Inbound, Place, Ready, Start, SubscribeError, Subscription, TopicFilter};
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot, watch};

mod core;
mod jetstream;
mod look;
mod progress;
mod pull;
mod reader;
mod start;

/// Told once, when the start of a subscription is resolved.
type Tell = oneshot::Sender<Result<Ready, SubscribeError>>;

/// What is subscribed to.
#[derive(Debug, Clone)]
struct Wanted {
    filter: TopicFilter,
    /// The filter as NATS writes it.
    subject: String,
}

impl Wanted {
    fn new(filter: TopicFilter) -> Result<Self, SubscribeError> {
        let syntax = &crate::topic::SYNTAX;
        for token in &filter.tokens {
            if let FilterToken::Literal(literal) = token {
                let whole =
                    (syntax.check)(literal).and(if literal.contains('.') { Err("it holds a dot") } else { Ok(()) });
                whole.map_err(|why| SubscribeError::FilterInvalid(format!("token {literal:?}: {why}")))?;
            }
        }
        if filter.tokens.is_empty() && !filter.rest {
            return Err(SubscribeError::FilterInvalid("it names no subject".into()));
        }
        let subject = filter.native(syntax, "*", ">");
        Ok(Wanted { filter, subject })
    }

    /// NATS has wildcards for whole tokens only; the rest of the filter is applied here.
    fn matches(&self, subject: &str) -> bool {
        self.filter.matches(subject, &crate::topic::SYNTAX)
    }

    /// The first token may be any, so that inboxes and API calls would match.
    fn open_at_first(&self) -> bool {
        !matches!(self.filter.tokens.first(), Some(FilterToken::Literal(_)))
    }
}

/// What all subscriptions of a connector share.
pub(crate) struct Subscriptions {
    link: Link,
    plan: Plan,
    /// With JetStream: its API, and the number of changes of streams that the server told.
    streams: Option<(Api, watch::Receiver<u64>)>,
}

impl Subscriptions {
    pub(crate) fn new(plan: &Plan, link: Link, api: Option<Api>) -> Self {
        let streams = api.map(|api| {
            let (changes, receiver) = watch::channel(0);
            let closed = link.closed().clone();
            let link = link.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = jetstream::watch_streams(&link, &changes) => {}
                    () = closed.cancelled() => {}
                }
            });
            (api, receiver)
        });
        Subscriptions { link, plan: plan.clone(), streams }
    }

    /// See [`connector::Connector::subscribe`].
    pub(crate) fn begin(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError> {
        if self.link.closed().is_cancelled() {
            return Err(SubscribeError::Closed);
        }
        let wanted = Wanted::new(filter)?;
        // A child ends with the connector as well.
        let end = self.link.closed().child_token();
        let (ready, receiver) = oneshot::channel();
        let until = (end.clone(), sink.clone());
        let task: connector::BoxFuture<'static, ()> = match &self.streams {
            None if start != Start::Live => return Err(SubscribeError::NoLog),
            None => Box::pin(core::run(self.link.clone(), self.plan.clone(), wanted, sink, ready)),
            Some((api, changes)) => {
                let connected = self.link.current().is_ok();
                let called = SystemTime::now();
                let (api, clock_offset) = (api.clone(), None);
                let reading = jetstream::Reading { api, wanted, sink, start, called, connected, clock_offset };
                Box::pin(jetstream::run(reading, changes.clone(), self.plan.discover_every, ready))
            }
        };
        tokio::spawn(async move {
            let (end, sink) = until;
            tokio::select! {
                () = task => {}
                () = end.cancelled() => {}
                () = sink.closed() => {}
            }
        });
        Ok(Subscription::new(receiver, end.drop_guard()))
    }
}

/// A message as a record.
fn record(message: Message, place: Option<Place>) -> Inbound {
    Inbound {
        topic: message.subject.as_str().into(),
        partition: None,
        key: None,
        payload: Some(message.payload),
        headers: crate::headers::from_nats(message.headers.as_ref()),
        timestamp: place.as_ref().and_then(|place| place.at),
        place,
        redelivered: false,
        retained: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(tokens: &[&str], rest: bool) -> TopicFilter {
        let token = |t: &&str| match t.split_once('{') {
            None => FilterToken::Literal((*t).to_owned()),
            Some((prefix, suffix)) => FilterToken::Wild { prefix: prefix.into(), suffix: suffix.replace('}', "") },
        };
        TopicFilter { tokens: tokens.iter().map(token).collect(), rest }
    }

    #[test]
    fn a_filter_becomes_a_subject_with_wildcards() {
        for (tokens, rest, subject) in [
            (&["orders", "eu"] as &[&str], false, "orders.eu"),
            (&["orders", "{}"], false, "orders.*"),
            (&["orders", "shop-{}"], true, "orders.*.>"),
            (&[], true, ">"),
        ] {
            assert_eq!(Wanted::new(filter(tokens, rest)).unwrap().subject, subject);
        }
        let wanted = Wanted::new(filter(&["orders", "shop-{}"], false)).unwrap();
        assert!(wanted.matches("orders.shop-7") && !wanted.matches("orders.bank-7"));
    }

    #[test]
    fn a_filter_that_nats_cannot_take_is_refused() {
        for tokens in [&["a", ""] as &[&str], &["a b"], &["*"], &["a", ">"], &["a.b"], &[]] {
            let refused = Wanted::new(filter(tokens, false));
            assert!(matches!(refused, Err(SubscribeError::FilterInvalid(_))), "{tokens:?}");
        }
    }
}
