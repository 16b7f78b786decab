//! Connector: MQTT 5.
//!
//! One connection, one task (`link`, and `live` for each connection) that alone drives the client library's event loop. Around it four plain
//! structures without I/O say what to do next:
//!
//! - `publish`: the bounded line of records to be published. A record leaves it when the broker has acknowledged it,
//!   when it is withdrawn at its deadline, or when that deadline passes.
//! - `subscribe`: which filters are wanted and by whom, and who gets an incoming message.
//! - `parked`: messages for readers whose queue is full.
//! - `inflow`: which incoming messages are still to be acknowledged, and which one is a resend of one already seen.
//!
//! Every connection gets a fresh event loop. What was sent and not acknowledged goes back to the head of the line and is
//! sent again as a new packet before anything newer: the library's own resend loses the order once packet ids wrap,
//! and loses everything when the broker has forgotten the session. At QoS 1 a broker treats both alike.
//!
//! Rules of MQTT that shape all this: a PUBACK below 0x80 is the broker's promise; the broker has at most
//! `receive_maximum` unacknowledged messages under way to us, which is what bounds the queues behind slow readers; a
//! subscription identifier tells for which filter a copy was sent, so that overlapping filters double nothing.

mod config;
mod connector;
mod ids;
mod inflow;
mod link;
mod live;
mod parked;
mod publish;
mod reason;
mod subscribe;
mod tls;
mod topic;

#[cfg(test)]
mod tests;

pub use config::{Plan, Settings};
pub use connector::MqttFactory;
pub use topic::SYNTAX;
