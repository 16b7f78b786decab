//! Connector: NATS, core and JetStream.
//!
//! | | core | JetStream (`jetstream: true`) |
//! |---|---|---|
//! | a publish is confirmed when | it was handed to the connected socket | the stream has stored it (PubAck) |
//! | while NATS is away, a publish | fails at once | waits in line until its deadline, then fails |
//! | places | none | the stream is the log, the message's sequence its number there |
//! | a slow reader | loses what its buffer cannot hold, counted | makes the connector wait |
//! | a subscription is ready when | the server has taken it | each of its streams has a consumer for it |
//!
//! Core NATS delivers at most once: what was handed to the socket is lost when the connection dies before the server
//! has read it, and what is published while a subscriber's connection is down never reaches it.
//!
//! With JetStream, "surely not stored" is taken literally: a record fails with [`connector::PublishError::Unavailable`]
//! only while it is still in the connector's own line, or when the server has said no. Once it was handed to the
//! client, a lost connection or a missing answer is [`connector::PublishError::OutcomeUnknown`].
//!
//! Streams are read by consumers of the connector's own, without acknowledgements: a stream with the retention
//! `workqueue` or `interest` would lose messages by that or to that, so a subscription to it is refused. What a stream's
//! limits remove before a slow reader comes to it is counted in [`dropped`](connector::Connector::dropped). Nothing is
//! published to inboxes or to the subjects of NATS itself (`$…`, but for `$KV.…`), whatever the topic's values are.
//!
//! A stream's end is told ([`connector::Event::Reached`]) once a reader has come to it, and later by the server's
//! heartbeats, which say every two idle seconds how far the consumer has looked: also past messages of other subjects.
//! A place told so while messages of others go by has no time, so that a stream made anew is not known by it alone.
//!
//! The way of a publish: [`Connector::publish`](connector::Connector::publish) checks it and puts it in the line
//! (`publish.rs`), one task hands the line to the client in order, another collects the answers, which arrive through
//! the connector's inbox (`link.rs`). The way back: one task per subscription (`subscribe/core.rs`), and for JetStream
//! one per stream that holds the subjects (`subscribe/jetstream.rs`, `subscribe/start.rs`, `subscribe/reader.rs`).
//!
//! The account needs, besides the subjects themselves, its inbox (`_INBOX.>` or the setting `inbox_prefix`) and, for
//! JetStream, `$JS.API.>` and `$JS.EVENT.ADVISORY.STREAM.>` (without the latter new streams are found a little later).

mod api;
mod auth;
mod config;
mod headers;
mod inbox;
mod link;
mod nats;
mod position;
mod publish;
mod subscribe;
mod topic;

pub use config::{NatsFactory, Plan, Settings};
pub use topic::SYNTAX;
